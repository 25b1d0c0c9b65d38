// Owns the lock of a root-dir: one daemon at a time works on it. The lock is flock(2), so it dies with its holder.
import fs from 'node:fs';
import path from 'node:path';
import { trySyscall } from './linux/syscall.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;

export interface RootLock {
  release(): void;
}

/** Locks `rootDir` for this process. Throws one sentence naming the holder's pid when another daemon has it. */
export function lockRootDir(rootDir: string): RootLock {
  fs.mkdirSync(rootDir, { recursive: true, mode: 0o711 });
  const file = path.join(rootDir, 'lock');
  const fd = fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
  if (trySyscall('flock', fd, LOCK_EX | LOCK_NB) < 0) {
    const holder = fs.readFileSync(file, 'utf8').trim();
    fs.closeSync(fd);
    throw new Error(`${rootDir} is in use by the tskubelet with pid ${holder || 'unknown'}; stop it or choose another --root-dir`);
  }
  fs.ftruncateSync(fd);
  fs.writeSync(fd, `${process.pid}\n`, 0);
  return { release: () => fs.closeSync(fd) };
}
