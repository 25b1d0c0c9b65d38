// Notices OOM kills while they happen, so that memory.oom.group can be kept on v1 hosts too, where the kernel kills one process and
// leaves the rest.
import fs from 'node:fs';
import type { Cgroup } from './cgroup.ts';
import { oomCounterFile, oomKills } from './stats.ts';

/**
 * v1 tells of an OOM by an eventfd only (cgroup.event_control), which Node cannot wait for; so its counters are read, all by one timer
 * that runs only while such a cgroup is watched. A read costs about 10 µs.
 */
const V1_PERIOD_MS = 250;

interface Watched {
  readonly cgroup: Cgroup;
  seen: number;
  readonly onOom: (kills: number) => void;
}

const v1Watched = new Set<Watched>();
let timer: NodeJS.Timeout | undefined;

function check(watched: Watched): void {
  const kills = oomKills(watched.cgroup);
  if (kills <= watched.seen) return;
  watched.seen = kills;
  watched.onOom(kills);
}

export interface OomWatch {
  close(): void;
}

/** Calls `onOom` with the new count after each kill, those since the cgroup's creation included. Does not keep the process alive. */
export function oomWatch(cgroup: Cgroup, onOom: (kills: number) => void): OomWatch {
  const watched: Watched = { cgroup, seen: 0, onOom };
  const file = oomCounterFile(cgroup);
  if (file === undefined) return { close: () => {} };
  if (cgroup.v1Dirs.memory === undefined) return watchEvents(file, watched);
  v1Watched.add(watched);
  timer ??= setInterval(() => v1Watched.forEach(check), V1_PERIOD_MS).unref();
  return {
    close() {
      v1Watched.delete(watched);
      if (v1Watched.size > 0) return;
      clearInterval(timer);
      timer = undefined;
    },
  };
}

// cgroup2 raises a modify event on memory.events at each change (Documentation/admin-guide/cgroup-v2.rst).
function watchEvents(file: string, watched: Watched): OomWatch {
  const watcher = fs.watch(file, { persistent: false }, () => check(watched));
  // The file goes with its cgroup: nothing more to see.
  watcher.on('error', () => watcher.close());
  check(watched);
  return { close: () => watcher.close() };
}
