// Owns the lock of a directory: one daemon at a time works on it. The lock is flock(2), so it dies with its holder.
import fs from 'node:fs';
import path from 'node:path';
import { trySyscall } from './linux/syscall.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;

export interface DirectoryLock {
  release(): void;
}

/** Locks `directory`, which the flag names, for this process. Throws one sentence naming the holder's pid when another one has it. */
export function lockDirectory(directory: string, flag: '--root-dir' | '--run-dir'): DirectoryLock {
  fs.mkdirSync(directory, { recursive: true, mode: 0o711 });
  const file = path.join(directory, 'lock');
  const fd = fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
  if (trySyscall('flock', fd, LOCK_EX | LOCK_NB) < 0) {
    const holder = fs.readFileSync(file, 'utf8').trim();
    fs.closeSync(fd);
    throw new Error(`${directory} is in use by the tskubelet with pid ${holder || 'unknown'}; stop it or choose another ${flag}`);
  }
  fs.ftruncateSync(fd);
  fs.writeSync(fd, `${process.pid}\n`, 0);
  return { release: () => fs.closeSync(fd) };
}
