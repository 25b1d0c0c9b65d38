// Makes, changes and removes cgroups. Creating is synchronous: mkdir and a write each cost about 15 µs, a turn through the thread pool
// ten times that. Changing and removing are not: lowering memory.max reclaims, rmdir waits for the last process.
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { hasCode } from '../linux/errno.ts';
import type { Cgroup, CgroupHost, CgroupPlan, CgroupWrite } from './cgroup.ts';
import { controllerVersion } from './plan.ts';

/** Enabled for every cgroup below ours, so that usage can be read also where nothing is limited. */
const COUNTED = ['cpu', 'memory', 'pids', 'io'];

function assertPath(cgroup: string): void {
  if (path.posix.normalize(cgroup) !== cgroup || !cgroup.startsWith('/') || (cgroup.endsWith('/') && cgroup !== '/'))
    throw new Error(`cgroup path "${cgroup}" is not absolute and plain`);
}

/** "/a/b/c" → ["/a", "/a/b", "/a/b/c"] */
function lineage(cgroup: string): string[] {
  const parts = cgroup.split('/').filter(Boolean);
  return parts.map((_, index) => `/${parts.slice(0, index + 1).join('/')}`);
}

function makeDirectory(directory: string): boolean {
  try {
    fs.mkdirSync(directory);
    return true;
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return false;
    throw new Error(`create cgroup ${directory}`, { cause: error });
  }
}

function enable(directory: string, controllers: readonly string[]): void {
  const enabled = fs.readFileSync(path.join(directory, 'cgroup.subtree_control'), 'utf8').trim().split(' ');
  const missing = controllers.filter((controller) => !enabled.includes(controller));
  if (missing.length === 0) return;
  try {
    fs.writeFileSync(path.join(directory, 'cgroup.subtree_control'), missing.map((controller) => `+${controller}`).join(' '));
  } catch (error) {
    // cgroup2 forbids processes beside children ("no internal processes"); the real root alone is exempt.
    const reason = hasCode(error, 'EBUSY')
      ? `cgroup ${directory} holds processes itself, and cgroup2 then limits none of its children; move them into a child of it`
      : `enable ${missing.join(', ')} below cgroup ${directory}`;
    throw new Error(reason, { cause: error });
  }
}

function createUnified(mountpoint: string, host: CgroupHost, cgroup: string, plan: CgroupPlan): string {
  const needed = plan.writes.map(({ controller }) => controller);
  const controllers = host.unifiedControllers.filter(
    (controller) => needed.includes(controller) || (host.mode === 'unified' && COUNTED.includes(controller)),
  );
  const directories = [mountpoint, ...lineage(cgroup).map((ancestor) => path.join(mountpoint, ancestor))];
  directories.forEach((directory, level) => {
    if (level > 0) makeDirectory(directory);
    // The cgroup itself gets processes, so only its ancestors pass controllers on.
    if (level < directories.length - 1) enable(directory, controllers);
  });
  return path.join(mountpoint, cgroup);
}

// A new v1 cpuset is empty and takes no process before it has CPUs and memory nodes.
function inheritCpuset(directory: string): void {
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    if (fs.readFileSync(path.join(directory, file), 'utf8').trim() !== '') continue;
    fs.writeFileSync(path.join(directory, file), fs.readFileSync(path.join(directory, '..', file), 'utf8').trim());
  }
}

function createV1(mountpoint: string, cgroup: string, cpuset: boolean): string {
  for (const ancestor of lineage(cgroup)) {
    const directory = path.join(mountpoint, ancestor);
    makeDirectory(directory);
    if (cpuset) inheritCpuset(directory);
  }
  return path.join(mountpoint, cgroup);
}

/**
 * v1 controllers that a cgroup uses: those of its plan, and those where its parent has a directory, since a limit of the parent holds
 * only for processes below it. Where there is no cgroup2 at all one hierarchy at least must list the processes.
 */
function v1Controllers(host: CgroupHost, cgroup: string, plan: CgroupPlan): string[] {
  const parent = path.posix.dirname(cgroup);
  const used = Object.keys(host.v1).filter(
    (controller) =>
      plan.controllers.includes(controller) ||
      (parent !== '/' && fs.existsSync(path.join(host.v1[controller] ?? '', parent, 'cgroup.procs'))),
  );
  if (used.length > 0 || host.unified !== undefined) return used;
  return ['freezer', 'pids', 'memory', 'cpu'].filter((controller) => host.v1[controller] !== undefined).slice(0, 1);
}

/** Where a controller's files of a cgroup are. */
export function directoryOf(cgroup: Cgroup, host: CgroupHost, controller: string): string {
  const directory = controller === 'cgroup' || controllerVersion(host, controller) === 2 ? cgroup.unifiedDir : cgroup.v1Dirs[controller];
  if (directory === undefined) throw new Error(`cgroup ${cgroup.path} has no ${controller} controller`);
  return directory;
}

function failedWrite(cgroup: Cgroup, write: CgroupWrite, cause: unknown): Error {
  return new Error(`write "${write.value}" to ${write.file} of cgroup ${cgroup.path}`, { cause });
}

/**
 * Creates a cgroup (or takes the one that is there) and writes its plan. What was made stays when a write fails: the caller, who noted
 * the path before, removes it.
 */
export async function createCgroup(host: CgroupHost, cgroupPath: string, plan: CgroupPlan): Promise<Cgroup> {
  assertPath(cgroupPath);
  if (host.mode === 'none') throw new Error(`create cgroup ${cgroupPath}: no cgroup hierarchy is mounted on this host`);
  const v1Dirs: Record<string, string> = {};
  for (const controller of v1Controllers(host, cgroupPath, plan)) {
    const mountpoint = host.v1[controller];
    if (mountpoint !== undefined) v1Dirs[controller] = createV1(mountpoint, cgroupPath, controller === 'cpuset');
  }
  const unifiedDir = host.unified === undefined ? undefined : createUnified(host.unified, host, cgroupPath, plan);
  const cgroup = { path: cgroupPath, unifiedDir, v1Dirs };
  await write(cgroup, host, plan.writes, async (file, value) => fs.writeFileSync(file, value));
  return cgroup;
}

/** Writes a plan to an existing cgroup. A controller that the cgroup has not joined is an error: its processes are elsewhere. */
export async function updateCgroup(host: CgroupHost, cgroup: Cgroup, plan: CgroupPlan): Promise<void> {
  await write(cgroup, host, plan.writes, (file, value) => fs.promises.writeFile(file, value));
}

/**
 * Some v1 files bind each other: memory.limit_in_bytes ≤ memory.memsw.limit_in_bytes, quota / period ≤ the parent's. Which one must
 * come first depends on whether the limit rises or falls, and the kernel knows: what it refuses with EINVAL is tried again at the end.
 */
async function write(
  cgroup: Cgroup,
  host: CgroupHost,
  writes: readonly CgroupWrite[],
  writeFile: (file: string, value: string) => Promise<void>,
): Promise<void> {
  const again: CgroupWrite[] = [];
  const attempt = async (entry: CgroupWrite, last: boolean) => {
    try {
      await writeFile(path.join(directoryOf(cgroup, host, entry.controller), entry.file), entry.value);
    } catch (error) {
      if (last || !hasCode(error, 'EINVAL')) throw failedWrite(cgroup, entry, error);
      again.push(entry);
    }
  };
  for (const entry of writes) await attempt(entry, false);
  for (const entry of [...again]) await attempt(entry, true);
}

/** The cgroup at a path as it is in the kernel now: for state read back after a restart. */
export function openCgroup(host: CgroupHost, cgroupPath: string): Cgroup {
  assertPath(cgroupPath);
  const at = (mountpoint: string | undefined) => {
    const directory = mountpoint === undefined ? undefined : path.join(mountpoint, cgroupPath);
    return directory !== undefined && fs.existsSync(directory) ? directory : undefined;
  };
  const v1Dirs: Record<string, string> = {};
  for (const [controller, mountpoint] of Object.entries(host.v1)) {
    const directory = at(mountpoint);
    if (directory !== undefined) v1Dirs[controller] = directory;
  }
  return { path: cgroupPath, unifiedDir: at(host.unified), v1Dirs };
}

/** Each directory once: co-mounted controllers (cpu,cpuacct) share theirs. */
export function directoriesOf(cgroup: Cgroup): string[] {
  return [...new Set([...(cgroup.unifiedDir === undefined ? [] : [cgroup.unifiedDir]), ...Object.values(cgroup.v1Dirs)])];
}

/** How the process is placed: the directory for CLONE_INTO_CGROUP and the v1 cgroup.procs files to write "0" to. */
export function procsFiles(cgroup: Cgroup): { readonly unified?: string; readonly v1Procs: readonly string[] } {
  const v1Procs = [...new Set(Object.values(cgroup.v1Dirs))].map((directory) => path.join(directory, 'cgroup.procs'));
  return cgroup.unifiedDir === undefined ? { v1Procs } : { unified: cgroup.unifiedDir, v1Procs };
}

/** Names of the cgroups directly below a directory; none when it is gone. */
export async function childrenOf(directory: string): Promise<string[]> {
  try {
    const entries = await fs.promises.readdir(directory, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENODEV')) return [];
    throw error;
  }
}

/**
 * Removes a cgroup and all below it in every hierarchy, waiting for processes that are still ending until the deadline. Absent is
 * success. Kills nothing.
 */
export async function removeCgroup(cgroup: Cgroup, options: { readonly timeoutMs?: number } = {}): Promise<void> {
  const deadline = Date.now() + (options.timeoutMs ?? 5000);
  await Promise.all(directoriesOf(cgroup).map((directory) => removeTree(directory, deadline)));
}

async function removeTree(directory: string, deadline: number): Promise<void> {
  for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, 100)) {
    for (const child of await childrenOf(directory)) await removeTree(path.join(directory, child), deadline);
    try {
      return await fs.promises.rmdir(directory);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return;
      if (!hasCode(error, 'EBUSY')) throw new Error(`remove cgroup ${directory}`, { cause: error });
      if (Date.now() >= deadline) throw new Error(`remove cgroup ${directory}: ${await occupants(directory)}`, { cause: error });
    }
    await delay(pauseMs);
  }
}

async function occupants(directory: string): Promise<string> {
  const procs = await fs.promises.readFile(path.join(directory, 'cgroup.procs'), 'utf8').catch(() => '');
  const pids = procs.split('\n').filter(Boolean);
  return pids.length === 0 ? 'still in use' : `still holds process ${pids.slice(0, 5).join(', ')}`;
}
