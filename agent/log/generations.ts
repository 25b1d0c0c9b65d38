// Owns the files of one log: the one that is written, and what rotation made of its predecessors: `0.log.20250101-000000`, later
// compressed to `….gz`. Each is opened once, so that renaming and removing it afterwards does no harm.
import fs from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { hasCode } from '../../runtime/linux/errno.ts';

/** The kubelet's rotation: the time of the rotation, and .gz for all but the newest. */
const suffixPattern = /^\.(\d{8}-\d{6})(\.gz)?$/;
const HEAD_BYTES = 128;
const OPEN_TRIES = 10;
const gunzip = promisify(zlib.gunzip);

export interface Generation {
  /** The file's name without .gz: the same before and after compression. */
  readonly name: string;
  readonly inode: bigint;
  /** Bytes of log lines, compressed or not. */
  size(): Promise<number>;
  /** Reads into `target` from `position`; 0 at the end. */
  read(target: Buffer, position: number): Promise<number>;
  close(): Promise<void>;
}

export async function openGeneration(file: string): Promise<Generation> {
  const handle = await fs.open(file);
  try {
    const { ino } = await handle.stat({ bigint: true });
    const name = path.basename(file).replace(/\.gz$/, '');
    const close = () => handle.close();
    if (!file.endsWith('.gz')) {
      return {
        name,
        inode: ino,
        size: async () => (await handle.stat()).size,
        read: async (target, position) => (await handle.read(target, 0, target.length, position)).bytesRead,
        close,
      };
    }
    let content: Promise<Buffer> | undefined;
    const load = () => {
      content ??= handle.readFile().then((compressed) => gunzip(compressed));
      return content;
    };
    return {
      name,
      inode: ino,
      size: async () => (await load()).length,
      read: async (target, position) => (await load()).copy(target, 0, position),
      close,
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** The rotated files of a log, oldest first; of a plain file and its compressed copy the plain one. */
export function planRotated(base: string, names: readonly string[]): string[] {
  const chosen = new Map<string, string>();
  for (const name of names) {
    const match = name.startsWith(base) ? suffixPattern.exec(name.slice(base.length)) : null;
    if (match === null) continue;
    const time = match[1]!;
    if (match[2] === undefined || !chosen.has(time)) chosen.set(time, name);
  }
  return [...chosen].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, name]) => name);
}

async function listRotated(logPath: string): Promise<string[]> {
  const folder = path.dirname(logPath);
  return planRotated(path.basename(logPath), await fs.readdir(folder)).map((name) => path.join(folder, name));
}

export async function inodeOf(file: string): Promise<bigint | undefined> {
  try {
    return (await fs.stat(file, { bigint: true })).ino;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/**
 * Opens all generations, oldest first, the current one last. A rotation meanwhile would leave a gap or show a file twice: the current
 * file is opened first, and all is done again when it is not the current one any more at the end.
 */
export async function openGenerations(logPath: string): Promise<Generation[]> {
  for (let attempt = 1; ; attempt++) {
    const opened: Generation[] = [];
    try {
      const current = await openGeneration(logPath);
      opened.push(current);
      const rotated: Generation[] = [];
      for (const file of await listRotated(logPath)) {
        const generation = await openGeneration(file);
        opened.push(generation);
        rotated.push(generation);
      }
      const seen = await inodeOf(logPath);
      if (seen === current.inode || seen === undefined) return [...rotated.filter(({ inode }) => inode !== current.inode), current];
    } catch (error) {
      await closeAll(opened);
      // Compressed or removed between the listing and the opening; the log itself may be absent for good.
      if (!hasCode(error, 'ENOENT') || attempt >= OPEN_TRIES || (await inodeOf(logPath)) === undefined) throw error;
      continue;
    }
    await closeAll(opened);
    if (attempt >= OPEN_TRIES) throw new Error(`${logPath} is rotated faster than it can be opened`);
  }
}

export async function closeAll(generations: readonly Generation[]): Promise<void> {
  for (const generation of generations) await generation.close();
}

/** The beginning of the first line: its nanoseconds make it the file's mark, which compression keeps. */
async function headOf(generation: Generation): Promise<string> {
  const head = Buffer.alloc(HEAD_BYTES);
  return head.toString('latin1', 0, await generation.read(head, 0));
}

/** What comes after `current` now that it was rotated, the newest last; rotated files named in `shown` came before it. */
export async function openSuccessors(logPath: string, current: Generation, shown: ReadonlySet<string>): Promise<Generation[]> {
  const generations = await openGenerations(logPath);
  const head = await headOf(current);
  let index = generations.findIndex(({ inode }) => inode === current.inode);
  for (let i = 0; index < 0 && i < generations.length; i++) if ((await headOf(generations[i]!)) === head) index = i;
  const after = generations.filter((generation, i) => (index < 0 ? !shown.has(generation.name) : i > index));
  await closeAll(generations.filter((generation) => !after.includes(generation)));
  return after;
}
