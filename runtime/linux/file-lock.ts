// Owns flock(2) as other programs wait for it too: exclusive, gone with its holder. Waiting is done on a pool thread, by one of this
// process at a time for each file.
import fs from 'node:fs';
import { SyscallError } from './errno.ts';
import { waitSyscall } from './syscall.ts';

const LOCK_EX = 2;
const waiting = new Map<string, Promise<unknown>>();

/** Runs the work while this process, and this call alone, holds the lock of a file, which is made if missing. */
export async function withFileLock<T>(file: string, work: () => Promise<T>): Promise<T> {
  const before = waiting.get(file) ?? Promise.resolve();
  const mine = before.then(() => locked(file, work));
  const settled = mine.catch(() => undefined);
  waiting.set(file, settled);
  try {
    return await mine;
  } finally {
    if (waiting.get(file) === settled) waiting.delete(file);
  }
}

async function locked<T>(file: string, work: () => Promise<T>): Promise<T> {
  const fd = fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
  try {
    const result = await waitSyscall('flock', fd, LOCK_EX);
    if (result < 0) throw new SyscallError('flock', [file, LOCK_EX], -result);
    return await work();
  } finally {
    fs.closeSync(fd);
  }
}
