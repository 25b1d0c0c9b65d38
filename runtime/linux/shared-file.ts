// Owns a file that is memory: mapped so that stores outlive the process that made them, locked by one process at a time.
import fs from 'node:fs';
import { SyscallError } from './errno.ts';
import { type Memory, mapShared } from './memory.ts';
import { trySyscall } from './syscall.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;
const EWOULDBLOCK = 11;
const EOPNOTSUPP = 95;

export interface SharedFile {
  readonly memory: Memory;
  /**
   * Gives a range its pages. Touching a page that a full tmpfs cannot provide is SIGBUS, which ends the process: reserve before touching
   * and meet ENOSPC as an error instead. fallocate(2)
   */
  reserve(offset: number, bytes: number): void;
  /** Makes every byte zero again. */
  clear(): void;
  /** Gives up the lock; the mapping stays until the process ends. */
  close(): void;
}

/** Maps `bytes` of `path` (sparse where unused); undefined when another process has it locked. mmap(2), flock(2) */
export function openSharedFile(path: string, bytes: number): SharedFile | undefined {
  const fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
  try {
    const locked = trySyscall('flock', fd, LOCK_EX | LOCK_NB);
    if (locked === -EWOULDBLOCK) {
      fs.closeSync(fd);
      return undefined;
    }
    if (locked < 0) throw new SyscallError('flock', [fd, LOCK_EX | LOCK_NB], -locked);
    // Only ever grown: a longer file is another version's, and its owner decides what becomes of it.
    if (fs.fstatSync(fd).size < bytes) fs.ftruncateSync(fd, bytes);
    return {
      memory: mapShared(fd, bytes),
      reserve: (offset, length) => {
        const result = trySyscall('fallocate', fd, 0, offset, length);
        if (result < 0 && result !== -EOPNOTSUPP) throw new SyscallError('fallocate', [fd, 0, offset, length], -result);
      },
      clear: () => {
        fs.ftruncateSync(fd, 0);
        fs.ftruncateSync(fd, bytes);
      },
      close: () => {
        // Closing alone would not do: the mapping keeps the open file, and with it the lock.
        trySyscall('flock', fd, LOCK_UN);
        fs.closeSync(fd);
      },
    };
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}
