// Owns anonymous pipes. pipe2(2)
import { O_CLOEXEC } from './constants.ts';
import { mapAnonymous } from './memory.ts';
import { syscall } from './syscall.ts';

const scratch = mapAnonymous(4096);

export interface Pipe {
  readonly read: number;
  readonly write: number;
}

/** Both ends close on exec and block: O_NONBLOCK would be seen by whoever else has the same end. */
export function createPipe(): Pipe {
  syscall('pipe2', scratch.address, O_CLOEXEC);
  return { read: scratch.buffer.readInt32LE(0), write: scratch.buffer.readInt32LE(4) };
}
