// Owns the node's place in the cgroup tree: below which cgroup everything of ours lives, and what of it is left from before.
import fs from 'node:fs';
import path from 'node:path';
import { hasCode } from '../linux/errno.ts';
import { getXattr } from '../linux/xattr.ts';
import { childrenOf, createCgroup } from './apply.ts';
import type { CgroupHost } from './cgroup.ts';
import { readCgroupsOf } from './host.ts';

/** Absolute cgroup paths, valid in every hierarchy. */
export interface CgroupRoot {
  /** What --cgroup-root means: pods live in <root>/kubepods. */
  readonly root: string;
  /** Shims and pause processes, outside of the daemon's cgroup so that its end is not theirs. */
  readonly shims: string;
  /** CRI requests without a cgroup_parent. */
  readonly cri: string;
  /** Where the daemon must move itself first: cgroup2 forbids processes beside children. */
  readonly daemon?: string;
}

export interface CgroupRootFacts {
  readonly host: CgroupHost;
  /** --cgroup-root, if given. */
  readonly flag?: string;
  /** Distinguishes nodes with other run directories on the same machine; empty for the default one. */
  readonly suffix?: string;
  /** The daemon's own cgroup in cgroup2, undefined when it lies outside of what is mounted. */
  readonly own: string | undefined;
  /** systemd's Delegate=yes: the cgroup given to this service, which carries the attribute user.delegate or trusted.delegate. */
  readonly delegated: string | undefined;
  /** Whether the mount point of cgroup2 shows the kernel's root cgroup, which alone may hold processes beside children. */
  readonly unifiedIsKernelRoot: boolean;
}

/** The sentence for a host whose cgroups cannot be used; undefined when they can. */
export function cgroupProblem(host: CgroupHost): string | undefined {
  const way = 'mount them writable (in a container: run it privileged), or start with --allow-no-limits to run pods without limits';
  if (host.mode === 'none') return `no cgroup hierarchy is mounted below /sys/fs/cgroup; ${way}`;
  if (!host.writable) return `the cgroups at ${host.unified ?? Object.values(host.v1)[0]} are read-only; ${way}`;
  return undefined;
}

export function planCgroupRoot(facts: CgroupRootFacts): CgroupRoot {
  const { host, flag, own, suffix = '' } = facts;
  const pure = host.mode === 'unified';
  const base = flag ?? (pure ? facts.delegated : undefined) ?? '/';
  if (!base.startsWith('/') || path.posix.normalize(base) !== base) throw new Error(`--cgroup-root "${base}" is not an absolute path`);
  const plain = base === '/' ? base : base.replace(/\/$/, '');
  const root = suffix === '' ? plain : path.posix.join(plain, `tskubelet-${suffix}`);
  const at = (name: string) => path.posix.join(root, name);
  // The daemon stands in the way when it is in a cgroup that shall have children: the root itself or one above it.
  const inTheWay = pure && own !== undefined && (root === own || root.startsWith(own === '/' ? '/' : `${own}/`));
  const exempt = own === '/' && facts.unifiedIsKernelRoot;
  return {
    root,
    shims: at('tskubelet-shims'),
    cri: at('cri'),
    ...(inTheWay && !exempt ? { daemon: path.posix.join(own, suffix === '' ? 'tskubelet' : `tskubelet-daemon-${suffix}`) } : {}),
  };
}

/** Reads what planCgroupRoot decides on. */
export function gatherCgroupRootFacts(
  host: CgroupHost,
  options: { readonly flag?: string; readonly suffix?: string } = {},
): CgroupRootFacts {
  const { unified } = host;
  const own = unified === undefined ? undefined : readCgroupsOf('self').get(unified);
  return {
    host,
    ...options,
    own,
    delegated: unified === undefined || own === undefined ? undefined : findDelegated(unified, own),
    // Every cgroup but the kernel's root has a cgroup.type.
    unifiedIsKernelRoot: unified !== undefined && !fs.existsSync(path.join(unified, 'cgroup.type')),
  };
}

// DelegateSubgroup=tskubelet (systemd 254) starts us one level below the unit's cgroup, and only that one has the attribute.
function findDelegated(mountpoint: string, own: string): string | undefined {
  const candidates = path.posix.basename(own) === 'tskubelet' ? [own, path.posix.dirname(own)] : [own];
  return candidates.find((candidate) => candidate !== '/' && isDelegated(path.join(mountpoint, candidate)));
}

function isDelegated(directory: string): boolean {
  return ['user.delegate', 'trusted.delegate'].some((name) => getXattr(directory, name)?.toString() === '1');
}

const NOTHING = { writes: [], controllers: [], unexpressed: [] };

/** Makes the cgroups of the node, moving the daemon out of the way first. Kept when they are there. */
export async function ensureCgroupRoot(host: CgroupHost, place: CgroupRoot): Promise<void> {
  const problem = cgroupProblem(host);
  if (problem !== undefined) throw new Error(problem);
  if (place.daemon !== undefined && host.unified !== undefined) {
    const directory = path.join(host.unified, place.daemon);
    fs.mkdirSync(directory, { recursive: true });
    fs.writeFileSync(path.join(directory, 'cgroup.procs'), String(process.pid));
  }
  // Shims need no limits: where there is cgroup2 they are in its hierarchy alone.
  const shimHost = host.unified === undefined ? host : { ...host, v1: {} };
  await createCgroup(shimHost, place.shims, NOTHING);
  await createCgroup(host, place.cri, NOTHING);
}

/** Paths of all cgroups below one, in whichever hierarchy, parents before children: what a start finds left over. */
export async function listCgroups(host: CgroupHost, cgroupPath: string): Promise<string[]> {
  const mountpoints = new Set([...(host.unified === undefined ? [] : [host.unified]), ...Object.values(host.v1)]);
  const found = await Promise.all([...mountpoints].map((mountpoint) => below(mountpoint, cgroupPath)));
  return [...new Set(found.flat())].sort();
}

async function below(mountpoint: string, cgroupPath: string): Promise<string[]> {
  const children = await childrenOf(path.join(mountpoint, cgroupPath));
  const nested = await Promise.all(
    children.map(async (child) => {
      const childPath = path.posix.join(cgroupPath, child);
      return [childPath, ...(await below(mountpoint, childPath))];
    }),
  );
  return nested.flat();
}

/** Removes the node's own cgroups when it leaves the machine for good; those still in use stay. */
export async function removeCgroupRoot(host: CgroupHost, place: CgroupRoot): Promise<void> {
  for (const cgroupPath of [place.shims, place.cri, ...(place.root === '/' ? [] : [place.root])]) {
    for (const mountpoint of new Set([host.unified, ...Object.values(host.v1)])) {
      if (mountpoint === undefined) continue;
      try {
        await fs.promises.rmdir(path.join(mountpoint, cgroupPath));
      } catch (error) {
        if (!hasCode(error, 'ENOENT', 'EBUSY')) throw error;
      }
    }
  }
}
