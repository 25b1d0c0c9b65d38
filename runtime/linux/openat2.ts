// openat2(2): paths that somebody else may change meanwhile, resolved by the kernel within bounds.
import { mapAnonymous } from './memory.ts';
import { trySyscall } from './syscall.ts';

/** linux/openat2.h */
export const RESOLVE_NO_MAGICLINKS = 0x02;
export const RESOLVE_BENEATH = 0x08;

const EAGAIN = -11;
const TRIES = 16;
// struct open_how { u64 flags, mode, resolve; }
const OPEN_HOW_BYTES = 24;
const how = mapAnonymous(4096);

/** A descriptor, or -errno: EXDEV for a path that leads out of `directory` with RESOLVE_BENEATH. */
export function openat2(directory: number, path: string, { flags, resolve }: { readonly flags: number; readonly resolve: number }): number {
  how.buffer.writeBigUInt64LE(BigInt(flags), 0);
  how.buffer.writeBigUInt64LE(0n, 8);
  how.buffer.writeBigUInt64LE(BigInt(resolve), 16);
  for (let tries = 1; ; tries++) {
    const result = trySyscall('openat2', directory, path, how.address, OPEN_HOW_BYTES);
    // Something on the way to ".." was renamed meanwhile: the kernel asks for another try.
    if (result !== EAGAIN || tries === TRIES) return result;
  }
}
