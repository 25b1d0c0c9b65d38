// Owns the check that the file systems of id-mapped mounts can be mapped: told by create, with the reason, and not by a step of the start.
import fs from 'node:fs';
import { failedPrecondition } from '../errors.ts';
import { EINVAL } from '../linux/constants.ts';
import { SyscallError } from '../linux/errno.ts';
import { tryIdmap } from '../process/id-mapping.ts';
import type { ContainerSpec } from '../program/spec.ts';

export function checkIdMappedMounts({ mounts }: ContainerSpec, pausePid: number | undefined): void {
  const mapped = mounts.flatMap((mount) => (mount.kind === 'bind' && mount.idmapped ? [mount] : []));
  if (mapped.length === 0 || pausePid === undefined) return;
  const userns = fs.openSync(`/proc/${pausePid}/ns/user`, 'r');
  try {
    for (const { source, target } of mapped) {
      const result = tryIdmap(source, userns);
      if (result === -EINVAL)
        throw failedPrecondition(
          `mount of ${target}: this kernel cannot map the owners of the file system of ${source}: give the volume another file system, or the pod the host's users`,
        );
      if (result < 0) throw new SyscallError('mount_setattr', [source, 'idmap'], -result);
    }
  } finally {
    fs.closeSync(userns);
  }
}
