// Owns the wall clock in nanoseconds: Node's Date has milliseconds. clock_gettime(2)
import { mapAnonymous } from './memory.ts';
import { syscall } from './syscall.ts';

const CLOCK_REALTIME = 0;
const timespec = mapAnonymous(4096);

export interface WallClock {
  seconds: number;
  nanoseconds: number;
}

/** Reads the wall clock into `target`. */
export function readWallClock(target: WallClock): WallClock {
  syscall('clock_gettime', CLOCK_REALTIME, timespec.address);
  // struct timespec { s64 tv_sec; s64 tv_nsec; }, both within 2^53.
  target.seconds = timespec.buffer.readUInt32LE(0) + timespec.buffer.readInt32LE(4) * 2 ** 32;
  target.nanoseconds = timespec.buffer.readUInt32LE(8);
  return target;
}
