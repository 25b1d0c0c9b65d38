// Reads the kernel's tables about cgroups: which hierarchies are mounted where, and in which cgroup a process is. Pure.

/** One line of /proc/self/mountinfo, as proc_pid_mountinfo(5) names the fields. */
export interface MountInfo {
  readonly root: string;
  readonly mountpoint: string;
  readonly options: readonly string[];
  readonly fstype: string;
  readonly superOptions: readonly string[];
}

/** A hierarchy: cgroup2 has no controllers here, a v1 hierarchy one or more (or only a name, "name=systemd"). */
export interface Hierarchy {
  readonly version: 1 | 2;
  readonly controllers: readonly string[];
  readonly mountpoint: string;
  /** The cgroup that the mount point shows: "/" unless a container sees a part, "/../.." when it lies outside our cgroup namespace. */
  readonly root: string;
  readonly writable: boolean;
}

/** Super block options of a v1 mount that name a controller; the rest (xattr, noprefix, release_agent=…) are not. */
const V1_CONTROLLERS = new Set([
  'blkio',
  'cpu',
  'cpuacct',
  'cpuset',
  'debug',
  'devices',
  'freezer',
  'hugetlb',
  'memory',
  'misc',
  'net_cls',
  'net_prio',
  'perf_event',
  'pids',
  'rdma',
]);

// mountinfo writes space, tab, newline and backslash as three octal digits.
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** Parses /proc/self/mountinfo; lines that do not have its shape are left out. */
export function parseMountInfo(text: string): MountInfo[] {
  const mounts: MountInfo[] = [];
  for (const line of text.split('\n')) {
    const [left, right] = line.split(' - ');
    const [, , , root, mountpoint, options] = left?.split(' ') ?? [];
    const [fstype, , superOptions] = right?.split(' ') ?? [];
    if (root === undefined || mountpoint === undefined || options === undefined || fstype === undefined) continue;
    mounts.push({
      root: unescapeOctal(root),
      mountpoint: unescapeOctal(mountpoint),
      options: options.split(','),
      fstype,
      superOptions: superOptions?.split(',') ?? [],
    });
  }
  return mounts;
}

/** The hierarchies that paths reach: a mount hidden by a later one on the same point is left out, of two views the wider one wins. */
export function findHierarchies(mounts: readonly MountInfo[]): Hierarchy[] {
  const visible = new Map(mounts.map((mount) => [mount.mountpoint, mount]));
  const found = new Map<string, Hierarchy>();
  for (const mount of visible.values()) {
    if (mount.fstype !== 'cgroup' && mount.fstype !== 'cgroup2') continue;
    const version = mount.fstype === 'cgroup2' ? 2 : 1;
    const controllers =
      version === 2 ? [] : mount.superOptions.filter((option) => V1_CONTROLLERS.has(option) || option.startsWith('name='));
    const hierarchy: Hierarchy = {
      version,
      controllers,
      mountpoint: mount.mountpoint,
      root: mount.root,
      writable: mount.options.includes('rw') && !mount.superOptions.includes('ro'),
    };
    const key = version === 2 ? 'cgroup2' : controllers.join(',');
    const known = found.get(key);
    if (known === undefined || better(hierarchy, known)) found.set(key, hierarchy);
  }
  return [...found.values()];
}

function better(a: Hierarchy, b: Hierarchy): boolean {
  if (a.writable !== b.writable) return a.writable;
  return a.root.length < b.root.length;
}

/** Parses /proc/<pid>/cgroup: controller (or "name=…") to path; the cgroup2 path has the key "". */
export function parseProcCgroup(text: string): Map<string, string> {
  const paths = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) continue;
    for (const controller of controllers.split(',')) paths.set(controller, path);
  }
  return paths;
}

/**
 * The path below a mount point of a cgroup that /proc/<pid>/cgroup names: a mount that shows only /docker/x has that prefix cut off.
 * Undefined when the cgroup lies outside of what is mounted.
 */
export function pathBelowMount(hierarchy: Hierarchy, path: string): string | undefined {
  if (hierarchy.root === '/') return path.startsWith('/..') ? undefined : path;
  if (path === hierarchy.root) return '/';
  return path.startsWith(`${hierarchy.root}/`) ? path.slice(hierarchy.root.length) : undefined;
}
