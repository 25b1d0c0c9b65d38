// Owns epoll(7): one set of descriptors, waited for on one libuv pool thread, so that an idle node costs no wake-up.
import { SyscallError } from './errno.ts';
import { mapAnonymous } from './memory.ts';
import { syscall, trySyscall, waitSyscall } from './syscall.ts';

const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;
const EPOLLIN = 1;
const EPOLLONESHOT = 1 << 30;
const EFD_NONBLOCK = 0o4000;
const CLOEXEC = 0o2000000;
const ENOENT = 2;
const EINTR = 4;
const EBADF = 9;

// struct epoll_event { u32 events; u64 data; }: packed on x86_64 alone.
const EVENT_BYTES = process.arch === 'x64' ? 12 : 16;
const DATA_OFFSET = process.arch === 'x64' ? 4 : 8;
const MAX_EVENTS = 64;

export interface Epoll {
  /** Calls `ready` once when `fd` can be read or its other side hung up; then only after the next `arm`. */
  add(fd: number, ready: () => void): void;
  arm(fd: number): void;
  /** Before `fd` is closed. */
  remove(fd: number): void;
  close(): Promise<void>;
}

export function openEpoll(): Epoll {
  const epfd = syscall('epoll_create1', CLOEXEC);
  const wakefd = syscall('eventfd2', 0, EFD_NONBLOCK | CLOEXEC);
  const events = mapAnonymous(4096);
  const control = mapAnonymous(4096);
  const callbacks = new Map<number, () => void>();
  let closing = false;

  const ctl = (operation: number, fd: number, flags: number): number => {
    control.buffer.writeUInt32LE(flags, 0);
    control.buffer.writeUInt32LE(fd, DATA_OFFSET);
    control.buffer.writeUInt32LE(0, DATA_OFFSET + 4);
    return trySyscall('epoll_ctl', epfd, operation, fd, control.address);
  };
  const must = (operation: number, fd: number, flags: number) => {
    const result = ctl(operation, fd, flags);
    if (result < 0) throw new SyscallError('epoll_ctl', [epfd, operation, fd], -result);
  };
  const wake = () => {
    control.buffer.writeBigUInt64LE(1n, 64);
    trySyscall('write', wakefd, control.address + 64, 8);
  };

  const loop = async () => {
    while (!closing) {
      const count = await waitSyscall('epoll_pwait', epfd, events.address, MAX_EVENTS, -1, 0, 8);
      if (count < 0 && count !== -EINTR) throw new SyscallError('epoll_pwait', [epfd], -count);
      for (let i = 0; i < count; i++) callbacks.get(events.buffer.readInt32LE(i * EVENT_BYTES + DATA_OFFSET))?.();
    }
  };

  must(EPOLL_CTL_ADD, wakefd, EPOLLIN);
  // exit() joins libuv's threads: without the wake-up a process that ends while one waits here would hang for ever.
  process.on('exit', wake);
  const done = loop();

  return {
    add: (fd, ready) => {
      callbacks.set(fd, ready);
      must(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLONESHOT);
    },
    arm: (fd) => must(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT),
    remove: (fd) => {
      callbacks.delete(fd);
      const result = ctl(EPOLL_CTL_DEL, fd, 0);
      if (result < 0 && result !== -ENOENT && result !== -EBADF) throw new SyscallError('epoll_ctl', [epfd, EPOLL_CTL_DEL, fd], -result);
    },
    close: async () => {
      if (closing) return done;
      closing = true;
      process.off('exit', wake);
      wake();
      await done;
      syscall('close', wakefd);
      syscall('close', epfd);
    },
  };
}
