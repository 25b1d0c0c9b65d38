// What the pump's tests share: a run-dir on a tmpfs, a keeper that is an ordinary process, a container's FIFOs with a holder in the
// shim's stead, and a strict reading of the log.
import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { makeFifo, openFifoToHold } from '../../linux/pipe.ts';
import type { Logger } from '../../logger.ts';
import type { StreamName } from '../cri-format.ts';
import type { OutputStream } from '../pump.ts';

export interface LogEntry {
  readonly fields: object;
  readonly message: string;
}

export interface Rig {
  readonly runDir: string;
  readonly logDir: string;
  readonly warnings: LogEntry[];
  readonly logger: Logger;
  startKeeper(stagingFd: number): Promise<number>;
  keepers(): number[];
  /** Makes the FIFOs of a container and holds them, as its shim does. */
  container(id: string, names?: readonly StreamName[]): Container;
  remove(): void;
}

export interface Container {
  readonly streams: OutputStream[];
  readonly logPath: string;
  readonly stdout: string;
  readonly stderr: string;
  /** Writes whole, waiting for the pump when the pipe is full. */
  write(text: string | Buffer, name?: StreamName): Promise<void>;
  /** Closes the shim's descriptors. */
  letGo(): void;
}

export function makeRig(): Rig {
  const tmpfs = fs.existsSync('/dev/shm') ? '/dev/shm' : os.tmpdir();
  const runDir = fs.mkdtempSync(path.join(tmpfs, 'tsk-pump-'));
  const logDir = fs.mkdtempSync(path.join(os.tmpdir(), 'tsk-logs-'));
  const warnings: LogEntry[] = [];
  const children: ChildProcess[] = [];
  const held: number[] = [];
  const logger: Logger = {
    debug: () => {},
    info: () => {},
    warn: (fields, message) => warnings.push({ fields, message }),
    error: (fields, message) => warnings.push({ fields, message }),
  };
  return {
    runDir,
    logDir,
    warnings,
    logger,
    startKeeper: async (stagingFd) => {
      const child = spawn('sleep', ['600'], { stdio: ['ignore', 'ignore', 'ignore', stagingFd], detached: true });
      child.unref();
      children.push(child);
      return child.pid!;
    },
    keepers: () => children.map(({ pid }) => pid!),
    container: (id, names = ['stdout', 'stderr']) => {
      const dir = path.join(runDir, id);
      fs.mkdirSync(dir);
      const logPath = path.join(logDir, id, '0.log');
      const ends = new Map<StreamName, number>();
      for (const name of names) {
        makeFifo(path.join(dir, name), 0o600);
        ends.set(name, openFifoToHold(path.join(dir, name)));
      }
      held.push(...ends.values());
      return {
        logPath,
        stdout: path.join(dir, 'stdout'),
        stderr: path.join(dir, 'stderr'),
        streams: names.map((name) => ({ containerId: id, name, fifoPath: path.join(dir, name), logPath })),
        write: (text, name = 'stdout') => writeAll(ends.get(name)!, Buffer.from(text)),
        letGo: () => {
          for (const fd of ends.values()) {
            fs.closeSync(fd);
            held.splice(held.indexOf(fd), 1);
          }
        },
      };
    },
    remove: () => {
      for (const child of children) child.kill('SIGKILL');
      for (const fd of held) fs.closeSync(fd);
      fs.rmSync(runDir, { recursive: true, force: true });
      fs.rmSync(logDir, { recursive: true, force: true });
    },
  };
}

async function writeAll(fd: number, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += fs.writeSync(fd, bytes, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}

/** The content of a log, chunks of long lines joined, per stream; throws at anything that is not a CRI log line. */
export function readStreams(...files: string[]): Record<StreamName, string> {
  const content = { stdout: '', stderr: '' };
  for (const file of files) {
    const text = fs.existsSync(file) ? fs.readFileSync(file, 'latin1') : '';
    if (text !== '' && !text.endsWith('\n')) throw new Error(`${file} ends within a line`);
    for (const line of text.split('\n').slice(0, -1)) {
      const match = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) ([PF]) (.*)$/s.exec(line);
      if (match === null) throw new Error(`${file}: malformed line ${JSON.stringify(line.slice(0, 200))}`);
      content[match[1] as StreamName] += `${match[3]}${match[2] === 'F' ? '\n' : ''}`;
    }
  }
  return content;
}

/** Waits until `read` gives something that `accept` likes; fails with the last thing seen. */
export async function poll<T>(read: () => T, accept: (value: T) => boolean, timeoutMs = 20_000): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const value = read();
    if (accept(value)) return value;
    if (Date.now() > deadline) throw new Error(`not reached in ${timeoutMs} ms, last seen: ${JSON.stringify(value)?.slice(0, 500)}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
