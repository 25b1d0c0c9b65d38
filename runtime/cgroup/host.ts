// Owns what this host offers: where each cgroup controller is mounted, and whether it may be used.
import fs from 'node:fs';
import path from 'node:path';
import type { CgroupHost } from './cgroup.ts';
import { findHierarchies, type Hierarchy, parseMountInfo, parseProcCgroup, pathBelowMount } from './mounts.ts';

/** What is read from the kernel; computeCgroupHost decides on it alone. */
export interface CgroupFacts {
  readonly mountInfo: string;
  /** cgroup.controllers at the mount point of cgroup2. */
  readonly unifiedControllers: string;
  /** False for a mount point that this process may not write to, whatever its mount options say. */
  readonly mayWrite: (mountpoint: string) => boolean;
  readonly swapAccounting: boolean;
}

/** Decides mode and mount points. A named hierarchy (name=systemd) limits nothing and is left out. */
export function computeCgroupHost(facts: CgroupFacts): CgroupHost {
  const hierarchies = findHierarchies(parseMountInfo(facts.mountInfo));
  const unified = hierarchies.find(({ version }) => version === 2);
  const v1: Record<string, string> = {};
  const used: Hierarchy[] = unified === undefined ? [] : [unified];
  for (const hierarchy of hierarchies) {
    if (hierarchy.version !== 1) continue;
    const controllers = hierarchy.controllers.filter((name) => !name.startsWith('name='));
    if (controllers.length > 0) used.push(hierarchy);
    for (const controller of controllers) v1[controller] = hierarchy.mountpoint;
  }
  const legacy = Object.keys(v1).length > 0;
  return {
    mode: unified === undefined ? (legacy ? 'legacy' : 'none') : legacy ? 'hybrid' : 'unified',
    ...(unified === undefined ? {} : { unified: unified.mountpoint }),
    unifiedControllers: unified === undefined ? [] : facts.unifiedControllers.split(/\s+/).filter((name) => name !== ''),
    v1,
    writable: used.length > 0 && used.every(({ writable, mountpoint }) => writable && facts.mayWrite(mountpoint)),
    swapAccounting: facts.swapAccounting,
  };
}

/** Reads this host. Cheap enough for every start; the mounts of a running node do not change. */
export function detectCgroupHost(): CgroupHost {
  const mountInfo = fs.readFileSync('/proc/self/mountinfo', 'utf8');
  const hierarchies = findHierarchies(parseMountInfo(mountInfo));
  const unified = hierarchies.find(({ version }) => version === 2);
  const memory = hierarchies.find(({ controllers }) => controllers.includes('memory'));
  return computeCgroupHost({
    mountInfo,
    unifiedControllers: unified === undefined ? '' : fs.readFileSync(path.join(unified.mountpoint, 'cgroup.controllers'), 'utf8'),
    mayWrite,
    // v1 shows it in the file that would be written; cgroup2's root has no memory files, there CONFIG_SWAP decides (and /proc/swaps).
    swapAccounting: fs.existsSync(memory === undefined ? '/proc/swaps' : path.join(memory.mountpoint, 'memory.memsw.limit_in_bytes')),
  });
}

function mayWrite(mountpoint: string): boolean {
  try {
    fs.accessSync(mountpoint, fs.constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Where a process is, per hierarchy: mount point to the path below it. Cgroups outside of our view are left out. */
export function readCgroupsOf(pid: number | 'self'): Map<string, string> {
  const paths = parseProcCgroup(fs.readFileSync(`/proc/${pid}/cgroup`, 'utf8'));
  const found = new Map<string, string>();
  for (const hierarchy of findHierarchies(parseMountInfo(fs.readFileSync('/proc/self/mountinfo', 'utf8')))) {
    const named = paths.get(hierarchy.controllers[0] ?? '');
    const below = named === undefined ? undefined : pathBelowMount(hierarchy, named);
    if (below !== undefined) found.set(hierarchy.mountpoint, below);
  }
  return found;
}
