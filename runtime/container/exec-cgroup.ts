// Owns the cgroup of an exec session: a cgroup2 directory below the container's for it alone, so that all that it started can be killed at
// once. No controller is enabled in it. While the session is open a file in the container's run directory names it: what is found there
// by another daemon was cut off, and is ended.
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { hasCode } from '../linux/errno.ts';
import { killCgroup } from '../process/process-tree.ts';

export interface SessionCgroup {
  readonly cgroup: string;
  /** After the session. What a command left running that nobody killed stays, and goes with the container. */
  remove(options: { readonly killed: boolean }): Promise<void>;
}

const PREFIX = 'exec-';
/** How long killed processes may take to be gone. */
const KILLED_MS = 5000;
const POLL_MS = 10;

let sessions = 0;

/** Undefined without cgroup2. */
export function makeSessionCgroup(runDir: string, parent: string | undefined): SessionCgroup | undefined {
  if (parent === undefined) return undefined;
  // Unlike any of an earlier daemon's, whose leftovers may still be there.
  const name = `${PREFIX}${process.pid}-${Date.now().toString(36)}-${++sessions}`;
  const cgroup = path.join(parent, name);
  const file = path.join(runDir, name);
  fs.writeFileSync(file, cgroup);
  try {
    fs.mkdirSync(cgroup);
  } catch (error) {
    fs.rmSync(file, { force: true });
    throw error;
  }
  return {
    cgroup,
    remove: async ({ killed }) => {
      const gone = removeWhenEmpty(cgroup);
      // Nobody waits for children that end a moment after a command that ended by itself.
      if (killed) await gone;
      fs.rmSync(file, { force: true });
    },
  };
}

/** After a restart of the daemon: ends the sessions that an earlier one had open. */
export async function endCutSessions(runDir: string): Promise<void> {
  const names = (await fs.promises.readdir(runDir)).filter((name) => name.startsWith(PREFIX));
  await Promise.all(
    names.map(async (name) => {
      const file = path.join(runDir, name);
      const cgroup = await fs.promises.readFile(file, 'utf8');
      // Half written: it was not made yet.
      if (path.basename(cgroup) === name) {
        await killCgroup(cgroup).catch((error: unknown) => {
          if (!hasCode(error, 'ENOENT')) throw error;
        });
        await removeWhenEmpty(cgroup);
      }
      await fs.promises.rm(file, { force: true });
    }),
  );
}

async function removeWhenEmpty(cgroup: string): Promise<void> {
  const deadline = performance.now() + KILLED_MS;
  for (;;) {
    try {
      await fs.promises.rmdir(cgroup);
      return;
    } catch (error) {
      if (!hasCode(error, 'EBUSY') || performance.now() >= deadline) return;
      await delay(POLL_MS, undefined, { ref: false });
    }
  }
}
