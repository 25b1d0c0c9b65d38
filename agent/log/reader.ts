// Owns reading a container's log as `logs` and containerLogs show it: all generations, a tail, and following across rotation until the
// container has ended.
import fs from 'node:fs';
import path from 'node:path';
import { type AssembleOptions, Assembler } from './assemble.ts';
import type { LogStream } from './cri-log.ts';
import { closeAll, type Generation, inodeOf, openGenerations, openSuccessors } from './generations.ts';
import { findTail } from './tail.ts';

export interface LogReadOptions {
  /** Goes on with what is written later, until `ended` or `signal`. */
  readonly follow?: boolean;
  /** The last so many lines; absent: all, those of rotated files that are still there included. */
  readonly tailLines?: number;
  readonly limitBytes?: number;
  readonly sinceSeconds?: number;
  /** Nanoseconds since the epoch. Together with sinceSeconds the later time counts. */
  readonly sinceTime?: bigint;
  readonly timestamps?: boolean;
  /** Absent: both. */
  readonly stream?: LogStream;
  /** Aborted once the container has ended and its output is in the log: a follower then ends when it has read everything. */
  readonly ended?: AbortSignal;
  /** Ends the reading at once. */
  readonly signal?: AbortSignal;
}

const BLOCK_BYTES = 64 * 1024;
/** For file systems without inotify, and changes that it does not tell of. */
const POLL_MS = 1000;

/** The log at `logPath`, in pieces of no particular size. Throws ENOENT when there is none. */
export async function* readContainerLog(logPath: string, options: LogReadOptions = {}): AsyncGenerator<Buffer> {
  const generations = await openGenerations(logPath);
  // All that are open; those read to their end are closed and leave.
  const open = new Set(generations);
  const close = async (generation: Generation) => {
    open.delete(generation);
    await generation.close();
  };
  const changes = options.follow ? watchFolder(path.dirname(logPath)) : undefined;
  try {
    const { tailLines, stream, signal } = options;
    const start = tailLines === undefined ? { index: 0, offset: 0, skipLines: 0 } : await findTail(generations, tailLines, stream);
    const assembler = new Assembler({ ...planAssembly(options, Date.now()), skipLines: start.skipLines });
    const shown = new Set(generations.map(({ name }) => name));
    const queue = generations.slice(start.index);
    for (const generation of generations.slice(0, start.index)) await close(generation);
    const block = Buffer.alloc(BLOCK_BYTES);
    let position = start.offset;
    const isOver = () => assembler.isFull || signal?.aborted === true;

    while (!isOver()) {
      const current = queue[0]!;
      // Asked before reading: what was written before the end is then read.
      const isEnding = !options.follow || options.ended?.aborted === true;
      const isRotated = queue.length > 1 || (isEnding && !options.follow ? false : await wasRotated(logPath, current));
      if ((await current.size()) < position) {
        position = 0;
        assembler.dropFragment();
      }
      while (!isOver()) {
        const bytes = await current.read(block, position);
        if (bytes === 0) break;
        position += bytes;
        const output = assembler.push(block.subarray(0, bytes));
        if (output.length > 0) yield output;
      }
      if (isOver()) break;
      if (isRotated) {
        if (queue.length === 1) {
          const successors = await openSuccessors(logPath, current, shown);
          for (const successor of successors) {
            open.add(successor);
            shown.add(successor.name);
          }
          queue.push(...successors);
          // Rotated again at this moment, and not opened: the next round looks again.
          if (successors.length === 0) continue;
        }
        queue.shift();
        await close(current);
        position = 0;
        assembler.dropFragment();
        continue;
      }
      if (isEnding) {
        const output = assembler.end();
        if (output.length > 0) yield output;
        break;
      }
      await changes?.next([options.ended, signal]);
    }
  } finally {
    changes?.close();
    await closeAll([...open]);
  }
}

/** What of the options concerns single lines. */
export function planAssembly(options: LogReadOptions, nowMs: number): AssembleOptions {
  const { sinceSeconds, sinceTime, stream, timestamps, limitBytes } = options;
  const bySeconds = sinceSeconds === undefined ? undefined : BigInt(Math.round(nowMs - sinceSeconds * 1000)) * 1_000_000n;
  const since = bySeconds === undefined || (sinceTime !== undefined && sinceTime > bySeconds) ? sinceTime : bySeconds;
  return { since, stream, timestamps, limitBytes };
}

/** Between rename and reopen the path is absent: the old file is still the one that is written. */
async function wasRotated(logPath: string, current: Generation): Promise<boolean> {
  const inode = await inodeOf(logPath);
  return inode !== undefined && inode !== current.inode;
}

interface Changes {
  /** Resolves at the next change (or the last one that nobody waited for), at an abort, and after POLL_MS. */
  next(signals: readonly (AbortSignal | undefined)[]): Promise<void>;
  close(): void;
}

/** The folder, as a rotated file's successor is another inode (inotify(7) watches inodes). */
function watchFolder(folder: string): Changes {
  let changed = false;
  let wake: (() => void) | undefined;
  const notice = () => {
    changed = true;
    wake?.();
  };
  let watcher: fs.FSWatcher | undefined;
  try {
    watcher = fs.watch(folder, notice);
    // The folder vanished, or the watches ran out: the poll goes on.
    watcher.on('error', () => watcher?.close());
  } catch {
    watcher = undefined;
  }
  return {
    next: async (signals) => {
      if (!changed && !signals.some((signal) => signal?.aborted)) {
        const { promise, resolve } = Promise.withResolvers<void>();
        const timer = setTimeout(resolve, POLL_MS);
        wake = resolve;
        for (const signal of signals) signal?.addEventListener('abort', notice, { once: true });
        await promise;
        clearTimeout(timer);
        wake = undefined;
        for (const signal of signals) signal?.removeEventListener('abort', notice);
      }
      changed = false;
    },
    close: () => watcher?.close(),
  };
}
