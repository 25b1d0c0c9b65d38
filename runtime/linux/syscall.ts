// Owns the one way into the kernel: syscall(2) through koffi. Wrappers with the calls' own names stand in the files beside it.
import koffi from 'koffi';
import { SyscallError } from './errno.ts';
import { mapAnonymous } from './memory.ts';
import { type SyscallName, syscallNumber } from './numbers.ts';

const libc = koffi.load('libc.so.6');
// glibc's syscall() is variadic in C; on x86_64 and aarch64 a fixed prototype of seven longs has the same ABI, and can be called async.
const call = libc.func('long syscall(long n, long a, long b, long c, long d, long e, long f)');

/** Strings become C strings for the time of the call; numbers, bigints and addresses are passed as they are. */
export type Arg = number | bigint | string;

const EINTR = 4;
const SCRATCH_BYTES = 64 * 1024;
const scratch = mapAnonymous(SCRATCH_BYTES);

function place(args: readonly Arg[]): (number | bigint)[] {
  let used = 0;
  const placed: (number | bigint)[] = [];
  for (let i = 0; i < 6; i++) {
    const arg = args[i] ?? 0;
    if (typeof arg !== 'string') {
      placed.push(arg);
      continue;
    }
    if (arg.includes('\0')) throw new Error(`a NUL byte in ${JSON.stringify(arg)}`);
    const length = Buffer.byteLength(arg);
    if (used + length + 1 > SCRATCH_BYTES) throw new Error('system call arguments exceed 64 KiB');
    scratch.buffer.write(arg, used);
    scratch.buffer[used + length] = 0;
    placed.push(scratch.address + used);
    used += length + 1;
  }
  return placed;
}

/** One system call, EINTR retried. Returns -errno where syscall() would throw: for calls whose failure is an ordinary answer. */
export function trySyscall(name: SyscallName, ...args: Arg[]): number {
  const [a, b, c, d, e, f] = place(args);
  const number = syscallNumber(name);
  for (;;) {
    const result = Number(call(number, a, b, c, d, e, f));
    if (result !== -1) return result;
    const errno = koffi.errno();
    if (errno !== EINTR) return -errno;
  }
}

/** One system call, EINTR retried; throws SyscallError with every argument. */
export function syscall(name: SyscallName, ...args: Arg[]): number {
  const result = trySyscall(name, ...args);
  if (result < 0) throw new SyscallError(name, args, -result);
  return result;
}

/**
 * A system call on a libuv pool thread, for the few that must wait (epoll_pwait). Never for calls that change the calling thread's
 * state (setns, unshare). Numbers and addresses only: the scratch area is the main thread's. Resolves to -errno on failure.
 */
export function waitSyscall(name: SyscallName, ...args: (number | bigint)[]): Promise<number> {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = args;
  return new Promise((resolve, reject) => {
    call.async(syscallNumber(name), a, b, c, d, e, f, (error: Error | null, result: number | bigint) => {
      if (error !== null) reject(error);
      else resolve(Number(result) === -1 ? -koffi.errno() : Number(result));
    });
  });
}
