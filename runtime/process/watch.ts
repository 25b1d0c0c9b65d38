// Owns the slow, sure way of noticing that a process has ended: one ppoll(2) over all pidfds per second. The fast way is a record in the
// event FIFO; this is for shims and pause processes that are killed and send none.
import { findEnded, reapEnded } from '../linux/pidfd.ts';

const INTERVAL_MS = 1000;

const watched = new Map<number, () => void>();
let timer: NodeJS.Timeout | undefined;

/** Calls `ended` once the process behind `pidfd` has ended (and is reaped, if it is our child). The pidfd must stay open until then. */
export function watchPidfd(pidfd: number, ended: () => void): () => void {
  watched.set(pidfd, ended);
  timer ??= setInterval(check, INTERVAL_MS).unref();
  return () => {
    watched.delete(pidfd);
    if (watched.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

function check(): void {
  for (const pidfd of findEnded([...watched.keys()])) {
    const ended = watched.get(pidfd);
    if (ended === undefined) continue;
    watched.delete(pidfd);
    reapEnded(pidfd);
    ended();
  }
}
