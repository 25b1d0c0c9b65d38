// Owns what a checkpoint leaves to whoever restores it: mounts and open files that come from outside of the container. Pure.
import { cgroupBinds } from '../program/rootfs-steps.ts';
import type { ContainerSpec } from '../program/spec.ts';

export interface MountEntry {
  readonly id: number;
  /** major:minor */
  readonly device: string;
  readonly root: string;
  readonly target: string;
  readonly type: string;
}

/** proc_pid_mountinfo(5) */
export function parseMountinfo(text: string): readonly MountEntry[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [id = '', , device = '', root = '', target = ''] = line.split(' ');
      const type = line.slice(line.indexOf(' - ') + 3).split(' ')[0] ?? '';
      return { id: Number(id), device, root: unescapeField(root), target: unescapeField(target), type };
    });
}

function unescapeField(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_match, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** File systems that criu makes anew. */
const REMADE = new Set(['proc', 'sysfs', 'tmpfs', 'devpts', 'mqueue', 'cgroup', 'cgroup2']);

/** Mount points whose file system is not the container's own: volumes, the sandbox's files, hidden files. `given`: those by request. */
export function planExternalMounts(mounts: readonly MountEntry[], given: ReadonlySet<string>): readonly string[] {
  const own = new Set(
    mounts
      .filter(({ root, type, target }) => target === '/' || (root === '/' && REMADE.has(type) && !given.has(target)))
      .map(({ device }) => device),
  );
  return [
    ...new Set(
      mounts.filter(({ device, target }) => target !== '/' && (given.has(target) || !own.has(device))).map(({ target }) => target),
    ),
  ];
}

export interface OpenFile {
  /** Of fdinfo: proc_pid_fdinfo(5) */
  readonly mountId: number;
  readonly inode: bigint;
  /** What its link shows: "pipe:[123]", "/run/…/stdout". */
  readonly link: string;
}

export interface ExternalFile {
  /** criu's name: file[mnt_id:inode], in hexadecimal. */
  readonly name: string;
  readonly link: string;
}

/** Open files whose mount the container does not have, each once. */
export function planExternalFiles(files: readonly OpenFile[], mounts: readonly MountEntry[]): readonly ExternalFile[] {
  const reachable = new Set(mounts.map(({ id }) => id));
  const outside = files.filter(({ link, mountId }) => link.startsWith('/') && !reachable.has(mountId));
  const links = new Map(outside.map(({ mountId, inode, link }) => [`file[${mountId.toString(16)}:${inode.toString(16)}]`, link]));
  return [...links].map(([name, link]) => ({ name, link }));
}

/** What a checkpoint says of itself to whoever restores it here. */
export interface Externals {
  /** Mount points in the container. */
  readonly mounts: readonly string[];
  /** criu's names of the files that are the container's stdin, stdout and stderr; empty where none of its processes has it open. */
  readonly stdio: readonly [string, string, string];
}

/** `stdioDir` has the FIFOs. Without one of its own, stdin is a /dev/null from outside. */
export function planStdio(files: readonly ExternalFile[], stdioDir: string): Externals['stdio'] {
  const named = (...links: readonly string[]) => files.find(({ link }) => links.includes(link))?.name ?? '';
  return [named(`${stdioDir}/stdin`, '/dev/null'), named(`${stdioDir}/stdout`), named(`${stdioDir}/stderr`)];
}

/** Where each of a checkpoint's mounts comes from now: container path to host path. Undefined where the container has no such mount. */
export function findMountSource(
  spec: Pick<ContainerSpec, 'mounts' | 'shmSource' | 'cgroup' | 'cgroupMount'>,
  target: string,
): string | undefined {
  const cgroups =
    spec.cgroupMount === 'host-bind'
      ? cgroupBinds(spec).map(({ name, source }) => [`/sys/fs/cgroup/${name}`, source] as const)
      : [['/sys/fs/cgroup', spec.cgroup.unified ?? ''] as const];
  const mounts = spec.mounts.flatMap((mount) =>
    mount.kind === 'tmpfs' ? [] : [[mount.target, mount.kind === 'bind' ? mount.source : mount.mountpoint] as const],
  );
  const found = [['/dev/shm', spec.shmSource] as const, ...cgroups, ...mounts]
    // What is mounted below a volume came along with it.
    .filter(([point]) => target === point || target.startsWith(`${point}/`))
    .sort(([a], [b]) => b.length - a.length)[0];
  return found === undefined ? undefined : found[1] + target.slice(found[0].length);
}
