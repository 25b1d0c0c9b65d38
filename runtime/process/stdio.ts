// Owns a container's stdio FIFOs. Its shim holds every one of them open, so that output waits while no daemon runs, a writer gets no
// SIGPIPE, and stdin ends only when it is told to.
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { makeFifo, openFifoToFill } from '../linux/pipe.ts';
import type { Descriptors } from './descriptors.ts';

export interface StdioOptions {
  readonly stdin: boolean;
  /** Host ids of the container's user: it may open /dev/stdout again by name. */
  readonly uid: number;
  readonly gid: number;
}

const { O_RDONLY, O_WRONLY, O_RDWR, O_NONBLOCK } = fs.constants;

const END_STDIN = 'end-stdin';

/** Makes `dir`/stdin (when asked for), stdout and stderr; and the FIFO by which the shim is told to end stdin. */
export async function createStdio(dir: string, { stdin, uid, gid }: StdioOptions): Promise<void> {
  for (const name of stdin ? ['stdin', 'stdout', 'stderr'] : ['stdout', 'stderr']) {
    const fifo = path.join(dir, name);
    makeFifo(fifo, 0o600);
    fs.chmodSync(fifo, 0o600); // whatever the umask
    fs.chownSync(fifo, uid, gid);
  }
  if (stdin) makeFifo(path.join(dir, END_STDIN), 0o600);
}

/** Makes the shim close its write end of stdin: the container reads the end once every other writer has closed. Repeatable. */
export function endStdin(dir: string): void {
  const fd = openFifoToFill(path.join(dir, END_STDIN));
  try {
    fs.writeSync(fd, '1');
  } finally {
    fs.closeSync(fd);
  }
}

/** A stream into the container's stdin. Its end is not stdin's. */
export function openStdin(dir: string): net.Socket {
  return new net.Socket({ fd: openFifoToFill(path.join(dir, 'stdin')), readable: false, writable: true });
}

/** The container's ends and the shim's, each with an open file description of its own: O_NONBLOCK belongs to the description. */
export function placeStdio(descriptors: Descriptors, dir: string, stdin: boolean): void {
  for (const [name, keeper] of [
    ['stdout', 'keepStdout'],
    ['stderr', 'keepStderr'],
  ] as const) {
    const fifo = path.join(dir, name);
    descriptors.place(descriptors.open(fifo, O_RDWR | O_NONBLOCK), keeper);
    descriptors.place(descriptors.open(fifo, O_WRONLY), name);
  }
  if (!stdin) {
    descriptors.place(descriptors.null, 'stdin');
    return;
  }
  const fifo = path.join(dir, 'stdin');
  // Opening one end of a FIFO waits for the other: both ends are held for the moment.
  const both = descriptors.open(fifo, O_RDWR | O_NONBLOCK);
  descriptors.place(descriptors.open(`/proc/self/fd/${both}`, O_RDONLY), 'stdin');
  descriptors.place(descriptors.open(fifo, O_WRONLY), 'keepStdin');
  descriptors.place(descriptors.open(path.join(dir, END_STDIN), O_RDWR | O_NONBLOCK), 'endStdin');
}
