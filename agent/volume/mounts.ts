// Owns the mounts that the agent makes on the host: a tmpfs for an emptyDir in memory. Its directory below pods/<uid>, made before
// the mount, names the owner, so that a later start can undo what a killed agent left.
import fs from 'node:fs/promises';
import path from 'node:path';
import { MNT_DETACH, MS_NODEV, MS_NOSUID, MS_PRIVATE } from '../../runtime/linux/constants.ts';
import { hasCode } from '../../runtime/linux/errno.ts';
import { syscall } from '../../runtime/linux/syscall.ts';

/** umount2(2) */
export const UMOUNT_NOFOLLOW = 8;

/** Mount points at or below a directory, deepest first. mountinfo writes space, tab, newline and backslash in octal: proc(5). */
export function parseMountPoints(mountinfo: string, below: string): readonly string[] {
  return mountinfo
    .split('\n')
    .map((line) =>
      (line.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))),
    )
    .filter((point) => point === below || point.startsWith(`${below}/`))
    .reverse();
}

export async function mountPointsBelow(directory: string): Promise<readonly string[]> {
  return parseMountPoints(await fs.readFile('/proc/self/mountinfo', 'utf8'), await realPath(directory));
}

/** mountinfo knows no symbolic links. */
async function realPath(directory: string): Promise<string> {
  try {
    return await fs.realpath(directory);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return path.resolve(directory);
    throw error;
  }
}

export interface TmpfsOptions {
  readonly sizeBytes: bigint | undefined;
  /** User and group of its root directory; the host's root unless said otherwise. */
  readonly owner?: number;
}

/** Idempotent: a directory that is a mount point already stays as it is. */
export async function ensureTmpfs(directory: string, { sizeBytes, owner = 0 }: TmpfsOptions): Promise<void> {
  if ((await mountPointsBelow(directory)).includes(await realPath(directory))) return;
  const options = ['mode=0777', `uid=${owner}`, `gid=${owner}`, ...(sizeBytes === undefined ? [] : [`size=${sizeBytes}`])];
  try {
    // Secrets that a pod keeps in memory shall not end on the disk; Linux 6.4 has the option.
    mountTmpfs(directory, [...options, 'noswap']);
  } catch (error) {
    if (!hasCode(error, 'EINVAL')) throw error;
    mountTmpfs(directory, options);
  }
  // Under a shared root a later mount in it would show up in every container that binds its parent.
  syscall('mount', 'none', directory, '', MS_PRIVATE, 0);
}

function mountTmpfs(directory: string, options: readonly string[]): void {
  syscall('mount', 'tmpfs', directory, 'tmpfs', MS_NOSUID | MS_NODEV, options.join(','));
}

/** Unmounts everything at or below a directory. Absent is success. */
export async function unmountBelow(directory: string): Promise<void> {
  for (const point of await mountPointsBelow(directory)) {
    try {
      syscall('umount2', point, MNT_DETACH | UMOUNT_NOFOLLOW);
    } catch (error) {
      if (!hasCode(error, 'EINVAL', 'ENOENT')) throw error;
    }
  }
}
