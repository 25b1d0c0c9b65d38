// Owns giving a cgroup2 directory to an unprivileged owner, who may then make cgroups below it and move its own processes among them.
import fs from 'node:fs';
import path from 'node:path';
import { hasCode } from '../linux/errno.ts';

/** What the kernel itself says is safe to give away, one name a line. Documentation/admin-guide/cgroup-v2.rst, "Model of Delegation" */
const DELEGATABLE = '/sys/kernel/cgroup/delegate';
const BEFORE_LINUX_4_15 = ['cgroup.procs', 'cgroup.threads', 'cgroup.subtree_control'];

export async function delegateCgroup(directory: string, { uid, gid }: { readonly uid: number; readonly gid: number }): Promise<void> {
  await fs.promises.chown(directory, uid, gid);
  await Promise.all(
    (await delegatableFiles()).map(async (name) => {
      try {
        await fs.promises.chown(path.join(directory, name), uid, gid);
      } catch (error) {
        // Files of controllers that are not enabled here.
        if (!hasCode(error, 'ENOENT')) throw error;
      }
    }),
  );
}

async function delegatableFiles(): Promise<readonly string[]> {
  try {
    return (await fs.promises.readFile(DELEGATABLE, 'utf8')).split('\n').filter(Boolean);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return BEFORE_LINUX_4_15;
    throw error;
  }
}
