// Owns errno names and their plain words, and SyscallError. Numbers are the generic Linux ones, equal on x86_64 and aarch64.
import os from 'node:os';

const names = new Map<number, string>(Object.entries(os.constants.errno).map(([name, number]) => [number, name]));
// errno(3) values that Node does not list.
for (const [number, name] of [
  [15, 'ENOTBLK'],
  [26, 'ETXTBSY'],
  [38, 'ENOSYS'],
  [95, 'EOPNOTSUPP'],
  [105, 'ENOBUFS'],
  [116, 'ESTALE'],
  [117, 'EUCLEAN'],
  [122, 'EDQUOT'],
  [524, 'ENOTSUPP'],
] as const)
  names.set(number, name);

const words: Record<string, string> = {
  EPERM: 'operation not permitted',
  ENOENT: 'no such file or directory',
  ESRCH: 'no such process',
  EINTR: 'interrupted',
  EIO: 'input/output error',
  ENXIO: 'no such device or address',
  E2BIG: 'argument list too long',
  ENOEXEC: 'exec format error',
  EBADF: 'bad file descriptor',
  ECHILD: 'no child processes',
  EAGAIN: 'resource temporarily unavailable',
  ENOMEM: 'out of memory',
  EACCES: 'permission denied',
  EBUSY: 'device or resource busy',
  EEXIST: 'file exists',
  EXDEV: 'cross-device link',
  ENODEV: 'no such device',
  ENOTDIR: 'not a directory',
  EISDIR: 'is a directory',
  EINVAL: 'invalid argument',
  ENFILE: 'too many open files in system',
  EMFILE: 'too many open files',
  ENOTTY: 'inappropriate ioctl for device',
  ETXTBSY: 'text file busy',
  EFBIG: 'file too large',
  ENOSPC: 'no space left on device',
  EROFS: 'read-only file system',
  EMLINK: 'too many links',
  EPIPE: 'broken pipe',
  ERANGE: 'out of range',
  ENAMETOOLONG: 'file name too long',
  ENOSYS: 'not implemented by this kernel',
  ENOTEMPTY: 'directory not empty',
  ELOOP: 'too many symbolic links',
  EOPNOTSUPP: 'not supported',
  EADDRINUSE: 'address in use',
  EADDRNOTAVAIL: 'address not available',
  ENETUNREACH: 'network unreachable',
  ENOBUFS: 'no buffer space',
  ETIMEDOUT: 'timed out',
  ECONNREFUSED: 'connection refused',
};

/** The name of an errno number, such as "ENOENT"; "errno 999" when unknown. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `errno ${errno}`;
}

/** "ENOENT (no such file or directory)" */
export function describeErrno(errno: number): string {
  const code = errnoName(errno);
  return words[code] === undefined ? code : `${code} (${words[code]})`;
}

/** A system call that the kernel refused. `code` is the errno name; branch on it, never on the message. */
export class SyscallError extends Error {
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;

  constructor(syscall: string, args: readonly unknown[], errno: number) {
    super(`${syscall}(${args.map(render).join(', ')}): ${describeErrno(errno)}`);
    this.name = 'SyscallError';
    this.syscall = syscall;
    this.errno = errno;
    this.code = errnoName(errno);
  }
}

function render(arg: unknown): string {
  if (typeof arg === 'string') return JSON.stringify(arg);
  if (typeof arg === 'number' || typeof arg === 'bigint') return String(arg);
  return '*';
}

/** True when `error` is a SyscallError or Node system error with one of these errno names. */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? '');
}
