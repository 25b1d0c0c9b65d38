// Owns measuring a directory tree: blocks on disk and inodes, hard links counted once, without holding the event loop.
import fs from 'node:fs';
import path from 'node:path';
import { hasCode } from '../linux/errno.ts';

const AT_ONCE = 16;

export interface TreeUsage {
  readonly usedBytes: bigint;
  readonly inodesUsed: bigint;
}

/** What vanishes while it is measured is not counted; an absent tree uses nothing. */
export async function measureTree(root: string): Promise<TreeUsage> {
  let blocks = 0;
  let inodes = 0;
  const linked = new Set<number>();

  async function measure(file: string): Promise<boolean> {
    const stat = await fs.promises.lstat(file).catch(ignoreAbsent);
    if (stat === undefined) return false;
    if (stat.nlink > 1 && !stat.isDirectory()) {
      if (linked.has(stat.ino)) return false;
      linked.add(stat.ino);
    }
    blocks += stat.blocks;
    inodes++;
    return stat.isDirectory();
  }

  const directories = (await measure(root)) ? [root] : [];
  for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
    const names = (await fs.promises.readdir(directory).catch(ignoreAbsent)) ?? [];
    for (let i = 0; i < names.length; i += AT_ONCE) {
      const files = names.slice(i, i + AT_ONCE).map((name) => path.join(directory ?? '', name));
      const areDirectories = await Promise.all(files.map(measure));
      directories.push(...files.filter((_, at) => areDirectories[at]));
    }
  }
  return { usedBytes: BigInt(blocks) * 512n, inodesUsed: BigInt(inodes) };
}

function ignoreAbsent(error: unknown): undefined {
  if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
  throw error;
}
