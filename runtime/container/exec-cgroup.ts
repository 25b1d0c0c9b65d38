// Owns the cgroup of an exec session: a directory below the container's for it alone, so that all that it started can be killed at once. In
// cgroup2 where that is mounted, else in one of the hierarchies of v1. No controller is enabled in it. While the session is open a file in
// the container's run directory names it: what is found there by another daemon was cut off, and is ended.
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { procsFiles } from '../cgroup/apply.ts';
import type { Cgroup } from '../cgroup/cgroup.ts';
import { killDirectory } from '../cgroup/processes.ts';
import { hasCode } from '../linux/errno.ts';
import type { CgroupPlacement } from '../program/spec.ts';

export interface SessionCgroup {
  readonly directory: string;
  /** Where the session's first process goes: there, and where the container's processes are. */
  readonly placement: CgroupPlacement;
  /** After the session. What a command left running that nobody killed stays, and goes with the container. */
  remove(options: { readonly killed: boolean }): Promise<void>;
}

const PREFIX = 'exec-';
/** How long killed processes may take to be gone. */
const KILLED_MS = 5000;
const FIRST_POLL_MS = 10;
const LAST_POLL_MS = 30_000;

let sessions = 0;

/** Undefined without cgroups. */
export function makeSessionCgroup(runDir: string, container: Cgroup): SessionCgroup | undefined {
  const parent = chooseParent(container);
  if (parent === undefined) return undefined;
  // Unlike any of an earlier daemon's, whose leftovers may still be there.
  const name = `${PREFIX}${process.pid}-${Date.now().toString(36)}-${++sessions}`;
  const directory = path.join(parent, name);
  const file = path.join(runDir, name);
  fs.writeFileSync(file, directory);
  try {
    fs.mkdirSync(directory);
  } catch (error) {
    fs.rmSync(file, { force: true });
    throw error;
  }
  return {
    directory,
    placement: planPlacement(procsFiles(container), parent, directory),
    remove: async ({ killed }) => {
      const gone = removeWhenEmpty(directory);
      // Nobody waits for the children of a command that ended by itself.
      if (killed) await Promise.race([gone, delay(KILLED_MS, undefined, { ref: false })]);
      fs.rmSync(file, { force: true });
    },
  };
}

/** Of v1 the freezer keeps a tree from forking while it is killed. A new cpuset takes no process: that one is left alone. */
function chooseParent({ unifiedDir, v1Dirs }: Cgroup): string | undefined {
  const order = ['freezer', 'pids', ...Object.keys(v1Dirs).filter((controller) => controller !== 'cpuset')];
  const found = order.map((controller) => v1Dirs[controller]).find((directory) => directory !== undefined && directory !== v1Dirs.cpuset);
  return unifiedDir ?? found;
}

function planPlacement({ unified, v1Procs }: CgroupPlacement, parent: string, directory: string): CgroupPlacement {
  if (unified === parent) return { unified: directory, v1Procs };
  const own = path.join(parent, 'cgroup.procs');
  return { v1Procs: v1Procs.map((file) => (file === own ? path.join(directory, 'cgroup.procs') : file)) };
}

/** After a restart of the daemon: ends the sessions that an earlier one had open. */
export async function endCutSessions(runDir: string): Promise<void> {
  const names = (await fs.promises.readdir(runDir)).filter((name) => name.startsWith(PREFIX));
  await Promise.all(
    names.map(async (name) => {
      const file = path.join(runDir, name);
      const directory = await fs.promises.readFile(file, 'utf8');
      // Half written: it was not made yet.
      if (path.basename(directory) === name) {
        await killDirectory(directory);
        await Promise.race([removeWhenEmpty(directory), delay(KILLED_MS, undefined, { ref: false })]);
      }
      await fs.promises.rm(file, { force: true });
    }),
  );
}

/** Resolves when it is gone: at the latest with the container. A probe's child may live for long, and probes come for ever. */
async function removeWhenEmpty(cgroup: string): Promise<void> {
  const startedMs = performance.now();
  for (;;) {
    try {
      await fs.promises.rmdir(cgroup);
      return;
    } catch (error) {
      if (!hasCode(error, 'EBUSY')) return;
      // Noticed a tenth of its life late.
      const pollMs = Math.min(Math.max(FIRST_POLL_MS, (performance.now() - startedMs) / 10), LAST_POLL_MS);
      await delay(pollMs, undefined, { ref: false });
    }
  }
}
