// Changes what limits running processes: all of a plan or nothing of it. On v1 a controller that the cgroup has not joined yet is joined,
// its processes with it.
import fs from 'node:fs';
import path from 'node:path';
import { hasCode } from '../linux/errno.ts';
import { createCgroup, directoryOf, openCgroup, updateCgroup } from './apply.ts';
import type { Cgroup, CgroupHost, CgroupPlan, CgroupWrite } from './cgroup.ts';
import { readProcs } from './processes.ts';

/** Processes that fork while they are moved: their children are found in the next round. */
const MOVE_ROUNDS = 20;

/**
 * Writes a plan to the cgroup at a path. When the kernel refuses one value, what was written before it is written back, and the error says
 * what was refused; a value that cannot be written back either is named too.
 */
export async function changeCgroup(host: CgroupHost, cgroupPath: string, plan: CgroupPlan): Promise<void> {
  const cgroup = await joinControllers(host, openCgroup(host, cgroupPath), plan);
  const before = await readValues(host, cgroup, plan.writes);
  try {
    await updateCgroup(host, cgroup, plan);
  } catch (error) {
    try {
      await updateCgroup(host, cgroup, { ...plan, writes: before });
    } catch (undone) {
      throw new AggregateError([error, undone], 'change a cgroup, and change it back', { cause: error });
    }
    throw error;
  }
}

async function joinControllers(host: CgroupHost, cgroup: Cgroup, plan: CgroupPlan): Promise<Cgroup> {
  const missing = plan.controllers.filter((controller) => cgroup.v1Dirs[controller] === undefined);
  if (missing.length === 0) return cgroup;
  const pids = () => readProcs(cgroup);
  const joined = await createCgroup(host, cgroup.path, { writes: [], controllers: missing, unexpressed: [] });
  for (const directory of new Set(missing.flatMap((controller) => joined.v1Dirs[controller] ?? []))) await moveAll(pids, directory);
  return joined;
}

async function moveAll(pids: () => Promise<number[]>, directory: string): Promise<void> {
  const moved = new Set<number>();
  for (let round = 0; round < MOVE_ROUNDS; round++) {
    const rest = (await pids()).filter((pid) => !moved.has(pid));
    if (rest.length === 0) return;
    for (const pid of rest) {
      moved.add(pid);
      try {
        await fs.promises.writeFile(path.join(directory, 'cgroup.procs'), String(pid));
      } catch (error) {
        if (!hasCode(error, 'ESRCH')) throw new Error(`move process ${pid} to cgroup ${directory}`, { cause: error });
      }
    }
  }
}

/** What the plan's files hold now, in a form that can be written. */
async function readValues(host: CgroupHost, cgroup: Cgroup, writes: readonly CgroupWrite[]): Promise<CgroupWrite[]> {
  const values = await Promise.all(
    writes.map(async (write) => {
      const text = await fs.promises
        .readFile(path.join(directoryOf(cgroup, host, write.controller), write.file), 'utf8')
        .catch(() => undefined);
      // A file of one line per device is not a value to write back whole.
      const value = text?.trim();
      return value === undefined || value === '' || value.includes('\n') ? [] : [{ ...write, value }];
    }),
  );
  return values.flat();
}
