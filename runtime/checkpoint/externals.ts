// Owns what a checkpoint leaves to whoever restores it: mounts and open files that come from outside of the container. Pure.

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

/** criu's names for open files whose mount the container does not have, each once: file[mnt_id:inode], in hexadecimal. */
export function planExternalFiles(files: readonly OpenFile[], mounts: readonly MountEntry[]): readonly string[] {
  const reachable = new Set(mounts.map(({ id }) => id));
  const outside = files.filter(({ link, mountId }) => link.startsWith('/') && !reachable.has(mountId));
  return [...new Set(outside.map(({ mountId, inode }) => `file[${mountId.toString(16)}:${inode.toString(16)}]`))];
}
