// The processes of a cgroup: listed, killed, frozen.
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { hasCode } from '../linux/errno.ts';
import { childrenOf, directoriesOf } from './apply.ts';
import type { Cgroup } from './cgroup.ts';

const FREEZE_TIMEOUT_MS = 2000;
const KILL_TIMEOUT_MS = 10_000;

/** PIDs (as this process sees them) in a cgroup and all below it. Zombies are not listed by cgroup2. Empty when it is gone. */
export async function readProcs(cgroup: Cgroup): Promise<number[]> {
  const directory = directoriesOf(cgroup)[0];
  return directory === undefined ? [] : readTree(directory);
}

async function readTree(directory: string): Promise<number[]> {
  let text = '';
  try {
    text = await fs.promises.readFile(path.join(directory, 'cgroup.procs'), 'utf8');
  } catch (error) {
    // EOPNOTSUPP: a threaded cgroup2, whose processes its domain lists.
    if (!hasCode(error, 'ENOENT', 'ENODEV', 'EOPNOTSUPP', 'ENOTSUP')) throw error;
  }
  const below = await Promise.all((await childrenOf(directory)).map((child) => readTree(path.join(directory, child))));
  return [...new Set([...text.split('\n').filter(Boolean).map(Number), ...below.flat()])];
}

/** Sends SIGKILL to all processes of a cgroup and below. Absent is success; whoever waits for them sees them end. */
export async function killCgroup(cgroup: Cgroup): Promise<void> {
  if (cgroup.unifiedDir !== undefined) {
    try {
      // cgroup.kill (Linux 5.14) takes the whole tree at once, processes that fork meanwhile included.
      await fs.promises.writeFile(path.join(cgroup.unifiedDir, 'cgroup.kill'), '1');
      return;
    } catch (error) {
      if (hasCode(error, 'ENODEV')) return;
      if (!hasCode(error, 'ENOENT', 'EACCES')) throw new Error(`kill cgroup ${cgroup.path}`, { cause: error });
    }
  }
  await killEach(cgroup);
}

/** The same for one directory of whichever version. */
export async function killDirectory(directory: string): Promise<void> {
  try {
    // Not to be created: v1 has no such file.
    await fs.promises.writeFile(path.join(directory, 'cgroup.kill'), '1', { flag: 'r+' });
  } catch (error) {
    if (hasCode(error, 'ENODEV')) return;
    if (!hasCode(error, 'ENOENT', 'EACCES')) throw new Error(`kill cgroup ${directory}`, { cause: error });
    const freezer = fs.existsSync(path.join(directory, 'freezer.state'));
    await killEach({ path: directory, unifiedDir: undefined, v1Dirs: { [freezer ? 'freezer' : 'v1']: directory } });
  }
}

// Without cgroup.kill: the freezer, where there is one, keeps them from forking; else signal until none is left.
async function killEach(cgroup: Cgroup): Promise<void> {
  const freezer = cgroup.v1Dirs.freezer;
  if (freezer !== undefined) await setFreezerState(freezer, 'FROZEN');
  const deadline = Date.now() + KILL_TIMEOUT_MS;
  for (;;) {
    const pids = await readProcs(cgroup);
    for (const pid of pids) signal(pid);
    if (freezer !== undefined) await setFreezerState(freezer, 'THAWED');
    if (pids.length === 0) return;
    if (Date.now() >= deadline) throw new Error(`kill cgroup ${cgroup.path}: processes ${pids.slice(0, 5).join(', ')} do not end`);
    await delay(5);
  }
}

function signal(pid: number): void {
  // 0 stands for a process of an outer PID namespace, which we cannot name.
  if (pid <= 0) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!hasCode(error, 'ESRCH')) throw error;
  }
}

/** Stops all processes of a cgroup and returns when they stand. */
export async function freezeCgroup(cgroup: Cgroup): Promise<void> {
  await setFrozen(cgroup, true);
}

/** Lets the processes of a frozen cgroup run on. */
export async function thawCgroup(cgroup: Cgroup): Promise<void> {
  await setFrozen(cgroup, false);
}

async function setFrozen(cgroup: Cgroup, frozen: boolean): Promise<void> {
  const { unifiedDir } = cgroup;
  const freezer = cgroup.v1Dirs.freezer;
  if (unifiedDir !== undefined) {
    await fs.promises.writeFile(path.join(unifiedDir, 'cgroup.freeze'), frozen ? '1' : '0');
    await until(cgroup, async () =>
      (await fs.promises.readFile(path.join(unifiedDir, 'cgroup.events'), 'utf8')).includes(`frozen ${frozen ? 1 : 0}`),
    );
  } else if (freezer !== undefined) {
    const state = frozen ? 'FROZEN' : 'THAWED';
    await setFreezerState(freezer, state);
    await until(cgroup, async () => (await fs.promises.readFile(path.join(freezer, 'freezer.state'), 'utf8')).trim() === state);
  } else throw new Error(`freeze cgroup ${cgroup.path}: neither cgroup2 nor the v1 freezer is there`);
}

async function setFreezerState(directory: string, state: 'FROZEN' | 'THAWED'): Promise<void> {
  try {
    await fs.promises.writeFile(path.join(directory, 'freezer.state'), state);
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'ENODEV')) throw error;
  }
}

async function until(cgroup: Cgroup, reached: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + FREEZE_TIMEOUT_MS;
  while (!(await reached())) {
    if (Date.now() >= deadline) throw new Error(`cgroup ${cgroup.path} does not change between frozen and running`);
    await delay(2);
  }
}
