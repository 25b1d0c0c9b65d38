// Owns finding the processes that an earlier daemon on this run-dir left: by the event FIFO that they hold, which nobody else can open.
import fs from 'node:fs';
import { hasCode } from '../linux/errno.ts';
import { openPidfd, sendSignal, waitEnded } from '../linux/pidfd.ts';
import { FD } from '../program/records.ts';
import { identify, isAlive, type ProcessIdentity } from '../state/process-identity.ts';
import type { Events } from './events.ts';

const SIGKILL = 9;
const END_MS = 5000;

export interface OurProcess {
  readonly kind: 'shim' | 'pause';
  /** The container's or sandbox' id. */
  readonly name: string;
  readonly identity: ProcessIdentity;
}

/** argv of an image, as findOurProcesses reads it back. */
export function processTitle(kind: OurProcess['kind'], name: string): readonly string[] {
  return [`tskubelet-${kind}`, name];
}

/** Every shim and pause process that writes to this event FIFO. */
export function findOurProcesses(events: Events): readonly OurProcess[] {
  const fifo = fs.fstatSync(events.fd);
  return fs
    .readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .flatMap((entry) => {
      const pid = Number(entry);
      if (pid === process.pid) return [];
      try {
        const held = fs.statSync(`/proc/${entry}/fd/${FD.events}`);
        if (!held.isFIFO() || held.ino !== fifo.ino || held.dev !== fifo.dev) return [];
        const [title = '', name = ''] = fs.readFileSync(`/proc/${entry}/cmdline`, 'utf8').split('\0');
        const kind = title === 'tskubelet-shim' ? 'shim' : title === 'tskubelet-pause' ? 'pause' : undefined;
        const identity = identify(pid);
        return kind === undefined || identity === undefined ? [] : [{ kind, name, identity }];
      } catch (error) {
        // It ended meanwhile, or has no such descriptor.
        if (hasCode(error, 'ENOENT', 'ESRCH', 'EACCES')) return [];
        throw error;
      }
    });
}

/** SIGKILL; gone is success. A container's init lives on without its shim. */
export async function killOurProcess({ identity }: OurProcess): Promise<void> {
  let pidfd: number;
  try {
    pidfd = openPidfd(identity.pid);
  } catch (error) {
    if (hasCode(error, 'ESRCH', 'EINVAL')) return;
    throw error;
  }
  try {
    if (!isAlive(identity)) return;
    sendSignal(pidfd, SIGKILL);
    await waitEnded(pidfd, END_MS);
  } finally {
    fs.closeSync(pidfd);
  }
}
