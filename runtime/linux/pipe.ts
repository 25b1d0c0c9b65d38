// Owns FIFOs and pipes as the log pump needs them: made, opened without waiting, sized, measured, moved between without a copy.
// fifo(7), pipe(7), splice(2).
import { SyscallError } from './errno.ts';
import { mapAnonymous } from './memory.ts';
import { syscall, trySyscall } from './syscall.ts';

const AT_FDCWD = -100;
const S_IFIFO = 0o010000;
const EEXIST = 17;
const EBUSY = 16;
const EPERM = 1;
const EAGAIN = 11;
const EIO = 5;
const O_WRONLY = 1;
const F_GETFL = 3;
const F_SETFL = 4;
const O_RDWR = 2;
const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;
const F_DUPFD_CLOEXEC = 1030;
const F_SETPIPE_SZ = 1031;
const F_GETPIPE_SZ = 1032;
const FIONREAD = 0x541b;
const SPLICE_F_MOVE = 1;
const SPLICE_F_NONBLOCK = 2;

const scratch = mapAnonymous(4096);

/** Makes a FIFO; one that is there already is kept. mkfifo(3) */
export function makeFifo(path: string, mode: number): void {
  const result = trySyscall('mknodat', AT_FDCWD, path, S_IFIFO | mode, 0);
  if (result < 0 && result !== -EEXIST) throw new SyscallError('mknodat', [AT_FDCWD, path, S_IFIFO | mode], -result);
}

/** Opens a FIFO for reading; needs no writer. O_NONBLOCK: neither the open nor a read waits. */
export function openFifoToRead(path: string): number {
  return syscall('openat', AT_FDCWD, path, O_NONBLOCK | O_CLOEXEC, 0);
}

/** Opens both ends of a FIFO, so that its content lives as long as this descriptor (a Linux extension, fifo(7)). */
export function openFifoToHold(path: string): number {
  return syscall('openat', AT_FDCWD, path, O_RDWR | O_NONBLOCK | O_CLOEXEC, 0);
}

/** Opens a FIFO for writing; throws ENXIO when nobody has it open for reading. */
export function openFifoToFill(path: string): number {
  return syscall('openat', AT_FDCWD, path, O_WRONLY | O_NONBLOCK | O_CLOEXEC, 0);
}

/** Another descriptor of the same open file. F_DUPFD_CLOEXEC */
export function duplicate(fd: number): number {
  return syscall('fcntl', fd, F_DUPFD_CLOEXEC, 3);
}

export function setNonBlocking(fd: number): void {
  syscall('fcntl', fd, F_SETFL, syscall('fcntl', fd, F_GETFL) | O_NONBLOCK);
}

/**
 * Asks for a capacity and returns the one that the pipe has. Refusals are ordinary: EBUSY when the content is larger than the target,
 * EPERM beyond /proc/sys/fs/pipe-max-size.
 */
export function setPipeCapacity(fd: number, bytes: number): number {
  const result = trySyscall('fcntl', fd, F_SETPIPE_SZ, bytes);
  if (result === -EBUSY || result === -EPERM) return syscall('fcntl', fd, F_GETPIPE_SZ);
  if (result < 0) throw new SyscallError('fcntl', [fd, F_SETPIPE_SZ, bytes], -result);
  return result;
}

/** How many bytes wait in a pipe, or in a terminal's master. */
export function bytesInPipe(fd: number): number {
  syscall('ioctl', fd, FIONREAD, scratch.address);
  return scratch.buffer.readInt32LE(0);
}

/** Moves up to `bytes` from one pipe into another without waiting: the number moved, 0 at the end of the input, undefined when none wait. */
export function movePipe(from: number, to: number, bytes: number): number | undefined {
  const moved = trySyscall('splice', from, 0, to, 0, bytes, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (moved === -EAGAIN) return undefined;
  if (moved < 0) throw new SyscallError('splice', [from, 0, to, 0, bytes], -moved);
  return moved;
}

/**
 * Moves a terminal's output from its (non-blocking) master into a pipe: the number of bytes, undefined when none wait or the pipe is
 * full, 'closed' while nobody has the terminal open.
 */
export function moveFromTerminal(master: number, to: number, bytes: number): number | 'closed' | undefined {
  const moved = trySyscall('splice', master, 0, to, 0, bytes, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (moved === -EAGAIN) return undefined;
  if (moved === -EIO || moved === 0) return 'closed';
  if (moved < 0) throw new SyscallError('splice', [master, 0, to, 0, bytes], -moved);
  return moved;
}
