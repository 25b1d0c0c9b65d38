// Owns the questions whether this kernel can map the owners of a file system, and whether it can run containers as an unprivileged root.
import fs from 'node:fs';
import os from 'node:os';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_RECURSIVE,
  MOUNT_ATTR_BYTES,
  MOUNT_ATTR_IDMAP,
  OPEN_TREE_CLOEXEC,
  OPEN_TREE_CLONE,
} from '../linux/constants.ts';
import { errnoName } from '../linux/errno.ts';
import { mapAnonymous } from '../linux/memory.ts';
import { syscall, trySyscall } from '../linux/syscall.ts';
import type { Events } from './events.ts';
import { killPauseProcess, startPause } from './pause.ts';

/** overlayfs takes mapped layers since Linux 5.19. */
const MAPPED_LAYERS = [5, 19] as const;
const PROBE_MAPPING = [{ containerId: 0, hostId: 65_536, size: 65_536 }];

const attributes = mapAnonymous(4096);

/** Asks the kernel with a mount that is attached nowhere and goes again. 0, or -errno. */
export function tryIdmap(source: string, userns: number): number {
  const tree = syscall('open_tree', AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
  try {
    attributes.buffer.fill(0, 0, MOUNT_ATTR_BYTES);
    attributes.buffer.writeBigUInt64LE(BigInt(MOUNT_ATTR_IDMAP), 0);
    attributes.buffer.writeBigUInt64LE(BigInt(userns), 24);
    return trySyscall('mount_setattr', tree, '', AT_EMPTY_PATH | AT_RECURSIVE, attributes.address, MOUNT_ATTR_BYTES);
  } finally {
    fs.closeSync(tree);
  }
}

/** Undefined when they can, else why not. `directory`: where the images' layers are. */
export async function findUserNamespaceObstacle(events: Events, recordId: number, directory: string): Promise<string | undefined> {
  const [major = 0, minor = 0] = os.release().split('.').map(Number);
  if (major < MAPPED_LAYERS[0] || (major === MAPPED_LAYERS[0] && minor < MAPPED_LAYERS[1]))
    return `Linux ${os.release()} cannot mount an overlay on id-mapped layers: 5.19 is the first that can`;
  let pid: number;
  try {
    const namespaces = { net: 'host', ipc: 'host', uts: 'host', pid: 'host', user: 'new' } as const;
    const spec = { namespaces, hostname: '', sysctls: {}, cgroup: { v1Procs: [] }, uidMappings: PROBE_MAPPING, gidMappings: PROBE_MAPPING };
    ({ pid } = await startPause(spec, { events, recordId, name: 'probe' }));
  } catch (error) {
    return `a user namespace cannot be made: ${error instanceof Error ? error.message : String(error)}`;
  }
  const userns = fs.openSync(`/proc/${pid}/ns/user`, 'r');
  try {
    const result = tryIdmap(directory, userns);
    return result === 0 ? undefined : `the file system of ${directory} cannot be id-mapped (${errnoName(-result)})`;
  } finally {
    fs.closeSync(userns);
    await killPauseProcess(pid);
  }
}
