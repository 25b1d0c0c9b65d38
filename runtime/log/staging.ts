// Owns the staging pipe and the process that keeps it: a pipe forgets its content when its last holder closes, and the daemon may be
// killed while bytes are in it. So the keeper, which does nothing else, holds it too.
//
// The keeper is started and replaced only while this process holds the pipe. When both died at once, what was staged is gone: at most one
// batch of one stream, reported with its name and the number of bytes. The journal notes which keeper held the pipe, so that a new daemon
// can tell the pipe that it left from a new one.
import fs from 'node:fs';
import type { Epoll } from '../linux/epoll.ts';
import { hasCode } from '../linux/errno.ts';
import { openPidfd, reapEnded, sendSignal, waitEnded } from '../linux/pidfd.ts';
import { bytesInPipe, makeFifo, openFifoToHold, setPipeCapacity } from '../linux/pipe.ts';
import type { Logger } from '../logger.ts';
import { identify, isAlive, type ProcessIdentity } from '../state/process-identity.ts';
import { type Journal, MAX_BATCH_BYTES } from './journal.ts';

/** Starts a process that holds `stagingFd` until it is killed, and gives its pid. */
export type StartKeeper = (stagingFd: number) => Promise<number>;

const SIGKILL = 9;
const END_MS = 1000;
const RETRY_MS = 1000;
const DISCARD_BYTES = 64 * 1024;

export interface StagingOptions {
  readonly path: string;
  readonly journal: Journal;
  readonly startKeeper: StartKeeper;
  readonly logger: Logger;
}

export class Staging {
  readonly fd: number;
  /** The keeper that the journal names still holds the pipe: what an earlier process staged is still in it. */
  readonly isSamePipe: boolean;
  private readonly options: StagingOptions;
  private pidfd: number | undefined;
  private epoll: Epoll | undefined;
  private retry: NodeJS.Timeout | undefined;
  private closed = false;

  constructor(options: StagingOptions) {
    this.options = options;
    makeFifo(options.path, 0o600);
    this.fd = openFifoToHold(options.path);
    const capacity = setPipeCapacity(this.fd, MAX_BATCH_BYTES);
    if (capacity < MAX_BATCH_BYTES) {
      fs.closeSync(this.fd);
      throw new Error(`the log staging pipe got ${capacity} bytes; raise /proc/sys/fs/pipe-max-size to ${MAX_BATCH_BYTES}`);
    }
    const { keeper } = options.journal;
    this.isSamePipe = keeper !== undefined && isAlive(keeper);
  }

  /** Throws away bytes that no batch accounts for: the journal was removed by hand. Returns how many. */
  discard(): number {
    const bytes = bytesInPipe(this.fd);
    const sink = Buffer.alloc(DISCARD_BYTES);
    for (let left = bytes; left > 0; ) left -= fs.readSync(this.fd, sink);
    return bytes;
  }

  /** Sees to it that a keeper holds the pipe, from now on. */
  async keep(epoll: Epoll): Promise<void> {
    this.epoll = epoll;
    const { keeper } = this.options.journal;
    if (keeper === undefined || !this.watch(keeper)) await this.replace();
  }

  /** Gives the pipe up; the keeper stays, unless it is told to end because nothing can be staged any more. */
  async close(endKeeper: boolean): Promise<void> {
    this.closed = true;
    clearTimeout(this.retry);
    if (endKeeper && this.pidfd !== undefined) {
      this.options.journal.keeper = undefined;
      sendSignal(this.pidfd, SIGKILL);
      await waitEnded(this.pidfd, END_MS);
    }
    this.unwatch();
    fs.closeSync(this.fd);
  }

  private async replace(): Promise<void> {
    const { journal, startKeeper } = this.options;
    journal.keeper = undefined;
    const pid = await startKeeper(this.fd);
    const keeper = identify(pid);
    if (keeper === undefined || !this.watch(keeper)) throw new Error(`the keeper of the log staging pipe (pid ${pid}) ended at once`);
    journal.keeper = keeper;
  }

  private watch(keeper: ProcessIdentity): boolean {
    let pidfd: number;
    try {
      pidfd = openPidfd(keeper.pid);
    } catch (error) {
      if (hasCode(error, 'ESRCH', 'EINVAL')) return false;
      throw error;
    }
    // After the open: the pid can no longer become another process behind it.
    if (!isAlive(keeper)) {
      fs.closeSync(pidfd);
      return false;
    }
    this.pidfd = pidfd;
    this.epoll?.add(pidfd, () => void this.restore());
    return true;
  }

  private unwatch(): void {
    if (this.pidfd === undefined) return;
    this.epoll?.remove(this.pidfd);
    fs.closeSync(this.pidfd);
    this.pidfd = undefined;
  }

  private async restore(): Promise<void> {
    if (this.closed) return;
    const { logger } = this.options;
    if (this.pidfd !== undefined) reapEnded(this.pidfd);
    this.unwatch();
    logger.warn({}, 'the keeper of the log staging pipe ended; starting another one');
    try {
      await this.replace();
    } catch (error) {
      logger.error({ err: error }, 'start the keeper of the log staging pipe; trying again');
      if (!this.closed) this.retry = setTimeout(() => void this.restore(), RETRY_MS);
    }
  }
}
