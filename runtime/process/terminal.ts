// Owns copies of a terminal's master. The shim keeps the one that counts: closing a copy hangs up on nobody.
import fs from 'node:fs';
import { type Readable, Writable } from 'node:stream';
import tty from 'node:tty';
import { hasCode } from '../linux/errno.ts';
import { copyDescriptor } from '../linux/pidfd.ts';
import { duplicate, setNonBlocking } from '../linux/pipe.ts';
import { setWindowSize } from '../linux/terminal.ts';
import { FD } from '../program/records.ts';

export { duplicate, setWindowSize };

const MIN_PAUSE_MS = 1;
const MAX_PAUSE_MS = 64;

/** The caller's to close. */
export function copyTerminal(shimPidfd: number): number {
  return copyDescriptor(shimPidfd, FD.terminal);
}

/**
 * What comes out of a terminal; destroying it closes the descriptor. When nobody has the terminal open any more it ends, as a pipe would:
 * read(2) says EIO. Writing is not for it: libuv waits in write(2) on a master, and a program that reads no keys would stop the daemon.
 */
export function openTerminalOutput(master: number): Readable {
  const stream = new tty.ReadStream(master);
  stream.on('error', () => stream.destroy());
  return stream;
}

/** The keyboard of a terminal: what the program does not read yet waits here, and then with whoever writes. Owns its descriptor. */
export class TerminalInput extends Writable {
  readonly #master: number;
  #retry: NodeJS.Timeout | undefined;

  constructor(master: number) {
    super({ decodeStrings: true });
    this.#master = master;
    setNonBlocking(master);
    this.on('error', () => undefined);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#writeFrom(chunk, MIN_PAUSE_MS, done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#retry);
    fs.closeSync(this.#master);
    done(error);
  }

  #writeFrom(chunk: Buffer, pauseMs: number, done: (error?: Error | null) => void): void {
    let written = 0;
    try {
      while (written < chunk.length) written += fs.writeSync(this.#master, chunk, written);
    } catch (error) {
      if (!hasCode(error, 'EAGAIN')) {
        done(error as Error);
        return;
      }
    }
    if (written === chunk.length) {
      done();
      return;
    }
    const next = written > 0 ? MIN_PAUSE_MS : Math.min(pauseMs * 2, MAX_PAUSE_MS);
    this.#retry = setTimeout(() => this.#writeFrom(chunk.subarray(written), next, done), pauseMs);
  }
}

export function closeTerminal(master: number): void {
  fs.closeSync(master);
}
