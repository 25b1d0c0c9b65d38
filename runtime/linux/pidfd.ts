// Owns processes by pidfd: a handle that never means another process. pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2), waitid(2)
import fs from 'node:fs';
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import { ESRCH, P_PIDFD, WEXITED, WNOHANG } from './constants.ts';
import { SyscallError } from './errno.ts';
import { mapAnonymous } from './memory.ts';
import { syscall, trySyscall } from './syscall.ts';

const POLLIN = 1;
const POLLFD_BYTES = 8;
const MAX_POLLED = 8192;
const SIGINFO_BYTES = 128;
/** Since Linux 6.13; the exit status since 6.15. include/uapi/linux/pidfd.h */
const PIDFD_GET_INFO = 0xc050ff0b;
const PIDFD_INFO_EXIT = 8n;
const PIDFD_INFO_EXIT_AT = 60;

const scratch = mapAnonymous(MAX_POLLED * POLLFD_BYTES + 4096);
const EXTRA = MAX_POLLED * POLLFD_BYTES;

export function openPidfd(pid: number): number {
  return syscall('pidfd_open', pid, 0);
}

/** True when it was sent; false when the process is gone. */
export function sendSignal(pidfd: number, signal: number): boolean {
  const result = trySyscall('pidfd_send_signal', pidfd, signal, 0, 0);
  if (result === -ESRCH) return false;
  if (result < 0) throw new SyscallError('pidfd_send_signal', [pidfd, signal], -result);
  return true;
}

/** A copy of another process' descriptor, close-on-exec. Needs ptrace rights over it. */
export function copyDescriptor(pidfd: number, fd: number): number {
  return syscall('pidfd_getfd', pidfd, fd, 0);
}

/** The pid that a pidfd stands for, in our PID namespace; undefined when it is gone. */
export function pidOf(pidfd: number): number | undefined {
  const pid = /^Pid:\s*(-?\d+)$/m.exec(fs.readFileSync(`/proc/self/fdinfo/${pidfd}`, 'latin1'))?.[1];
  return pid === undefined || Number(pid) <= 0 ? undefined : Number(pid);
}

/** Which of these processes have ended. One call, and it does not wait. */
export function findEnded(pidfds: readonly number[]): readonly number[] {
  const ended: number[] = [];
  for (let start = 0; start < pidfds.length; start += MAX_POLLED) {
    const batch = pidfds.slice(start, start + MAX_POLLED);
    for (const [i, pidfd] of batch.entries()) {
      scratch.buffer.writeInt32LE(pidfd, i * POLLFD_BYTES);
      scratch.buffer.writeUInt32LE(POLLIN, i * POLLFD_BYTES + 4);
    }
    scratch.buffer.fill(0, EXTRA, EXTRA + 16); // a timeout of zero
    syscall('ppoll', scratch.address, batch.length, scratch.address + EXTRA, 0, 8);
    ended.push(...batch.filter((_, i) => (scratch.buffer.readUInt16LE(i * POLLFD_BYTES + 6) & POLLIN) !== 0));
  }
  return ended;
}

/** Takes the exit status of a child that has ended; what is not our child is its own parent's to reap. */
export function reapEnded(pidfd: number): void {
  scratch.buffer.fill(0, EXTRA, EXTRA + SIGINFO_BYTES);
  trySyscall('waitid', P_PIDFD, pidfd, scratch.address + EXTRA, WEXITED | WNOHANG, 0);
}

/** Resolves when the process has ended (and is reaped, if it is our child); false when it has not within `timeoutMs`. */
export async function waitEnded(pidfd: number, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  for (let pauseMs = 0; findEnded([pidfd]).length === 0; pauseMs = Math.min(pauseMs + 1, 20)) {
    if (performance.now() > deadline) return false;
    await (pauseMs === 0 ? nextTurn() : delay(pauseMs));
  }
  reapEnded(pidfd);
  return true;
}

/** The raw wait status of a process that has ended, child or not; undefined where the kernel does not keep it. */
export function exitStatusOf(pidfd: number): number | undefined {
  const info = scratch.buffer.subarray(EXTRA, EXTRA + 128);
  info.fill(0);
  info.writeBigUInt64LE(PIDFD_INFO_EXIT, 0);
  if (trySyscall('ioctl', pidfd, PIDFD_GET_INFO, scratch.address + EXTRA) < 0) return undefined;
  if ((info.readBigUInt64LE(0) & PIDFD_INFO_EXIT) === 0n) return undefined;
  return info.readInt32LE(PIDFD_INFO_EXIT_AT);
}
