// Owns measuring a directory tree: blocks on disk and inodes, hard links counted once. Small trees are measured here and now, between
// other work; large ones in a thread.
import fs from 'node:fs';
import path from 'node:path';
import { hasCode } from '../linux/errno.ts';

/** What a container that writes little has at most: so many calls cost less than a thread. */
const SMALL_ENTRIES = 256;

export interface TreeUsage {
  readonly usedBytes: bigint;
  readonly inodesUsed: bigint;
}

class Tally {
  #blocks = 0;
  #inodes = 0;
  readonly #linked = new Set<number>();

  /** True for a directory whose content is to be counted too. */
  add(stat: fs.Stats | undefined): boolean {
    if (stat === undefined) return false;
    const isDirectory = stat.isDirectory();
    if (stat.nlink > 1 && !isDirectory) {
      if (this.#linked.has(stat.ino)) return false;
      this.#linked.add(stat.ino);
    }
    this.#blocks += stat.blocks;
    this.#inodes++;
    return isDirectory;
  }

  get usage(): TreeUsage {
    return { usedBytes: BigInt(this.#blocks) * 512n, inodesUsed: BigInt(this.#inodes) };
  }
}

/** Blocks the thread. What vanishes while it is measured is not counted; an absent tree uses nothing. */
export function measureTree(root: string): TreeUsage {
  const tally = new Tally();
  const look = (file: string) => tally.add(unlessAbsent(() => fs.lstatSync(file, { throwIfNoEntry: false })));
  const directories = look(root) ? [root] : [];
  for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
    const from = directory;
    for (const name of unlessAbsent(() => fs.readdirSync(from)) ?? []) {
      const file = path.join(directory, name);
      if (look(file)) directories.push(file);
    }
  }
  return tally.usage;
}

/** The same without blocking; undefined when the tree turns out to be a large one. */
export async function measureSmallTree(root: string): Promise<TreeUsage | undefined> {
  const tally = new Tally();
  const look = async (file: string) => tally.add(await fs.promises.lstat(file).catch(ignoreAbsent));
  const directories = (await look(root)) ? [root] : [];
  let entries = 0;
  for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
    const names = (await fs.promises.readdir(directory).catch(ignoreAbsent)) ?? [];
    entries += names.length;
    if (entries > SMALL_ENTRIES) return undefined;
    for (const name of names) {
      const file = path.join(directory, name);
      if (await look(file)) directories.push(file);
    }
  }
  return tally.usage;
}

function unlessAbsent<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    return ignoreAbsent(error);
  }
}

function ignoreAbsent(error: unknown): undefined {
  if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
  throw error;
}
