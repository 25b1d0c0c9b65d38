// Owns mknodat(2), which node:fs does not have. Paths are bytes: file names need not be UTF-8.
import { SyscallError } from './errno.ts';
import { type Memory, mapAnonymous } from './memory.ts';
import { trySyscall } from './syscall.ts';

const AT_FDCWD = -100;
const PATH_LIMIT_BYTES = 4096;

export const S_IFIFO = 0o010000;
export const S_IFCHR = 0o020000;
export const S_IFBLK = 0o060000;

let memory: Memory | undefined;

/** dev_t as the kernel takes it from user space (linux/kdev_t.h, new_encode_dev): 12 bits of major, 20 of minor. */
export function encodeDevice(major: number, minor: number): number {
  if (major < 0 || major >= 2 ** 12 || minor < 0 || minor >= 2 ** 20)
    throw new Error(`the device number ${major}:${minor} is out of range`);
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

/** Makes a FIFO or a device node; `mode` has the S_IF type and the permissions (umask applies). */
export function makeNode(path: string | Buffer, mode: number, device = 0): void {
  const bytes = typeof path === 'string' ? Buffer.from(path) : path;
  if (bytes.length >= PATH_LIMIT_BYTES || bytes.includes(0))
    throw new Error(`the path ${JSON.stringify(bytes.toString().slice(0, 64))}… is not one`);
  memory ??= mapAnonymous(PATH_LIMIT_BYTES);
  bytes.copy(memory.buffer);
  memory.buffer[bytes.length] = 0;
  const result = trySyscall('mknodat', AT_FDCWD, memory.address, mode, device);
  if (result < 0) throw new SyscallError('mknodat', [AT_FDCWD, bytes.toString(), mode, device], -result);
}
