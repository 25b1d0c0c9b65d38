// Owns the steps that build a container's root: overlay, host sources taken before pivot_root, everything of the image's after it.
import * as k from '../linux/constants.ts';
import { type ProgramBuilder, ref, shown } from './builder.ts';
import { FD } from './records.ts';
import type { BindMount, ContainerSpec, ImageMount, MountAttribute, MountPropagation, Rootfs } from './spec.ts';

/** mount(2) copies one page of data. */
const MAX_DATA_BYTES = 4095;

/** Characters that overlayfs gives a meaning in its options. */
function escapeLayer(directory: string): string {
  return directory.replace(/[\\:,]/g, (character) => `\\${character}`);
}

/** What is mounted: a writable root, or (without upperDir) layers alone. */
type Overlay = Pick<Rootfs, 'mountpoint' | 'selinuxLabel'> & Partial<Pick<Rootfs, 'upperDir' | 'workDir' | 'isVolatile'>>;

function overlayData(lowerDirs: readonly string[], { upperDir, workDir, isVolatile, selinuxLabel }: Overlay): string {
  const escapeOption = (directory: string) => directory.replace(/[\\,]/g, (character) => `\\${character}`);
  const lower = lowerDirs.map(escapeLayer).join(':');
  if (upperDir === undefined || workDir === undefined) return `lowerdir=${lower}`;
  // index=off: a layer is shared by many containers, and an upper may be mounted again after a crash.
  return `lowerdir=${lower},upperdir=${escapeOption(upperDir)},workdir=${escapeOption(workDir)},index=off${isVolatile === true ? ',volatile' : ''}${selinuxLabel === undefined ? '' : `,context="${selinuxLabel}"`}`;
}

/** The longest directory that all have in common. */
function commonDirectory(directories: readonly string[]): string {
  const split = directories.map((directory) => directory.split('/').slice(0, -1));
  const first = split[0] ?? [];
  const differs = first.findIndex((part, i) => split.some((parts) => parts[i] !== part));
  return first.slice(0, differs === -1 ? first.length : differs).join('/') || '/';
}

/** Mounts the overlay; with so many layers that their paths exceed a page, by paths relative to their common directory. */
export function addOverlay(p: ProgramBuilder, rootfs: Overlay, lowerDirs: readonly string[]): void {
  const { mountpoint } = rootfs;
  const data = overlayData(lowerDirs, rootfs);
  if (Buffer.byteLength(data) <= MAX_DATA_BYTES) {
    p.op('mount', ['overlay', mountpoint, 'overlay', 0, data]);
    return;
  }
  const common = commonDirectory(lowerDirs);
  const short = overlayData(
    lowerDirs.map((directory) => directory.slice(common === '/' ? 1 : common.length + 1)),
    rootfs,
  );
  if (Buffer.byteLength(short) <= MAX_DATA_BYTES) {
    p.op('chdir', [common], { note: 'the options of mount(2) are limited to one page: shorter layer names' });
    p.op('mount', ['overlay', mountpoint, 'overlay', 0, short]);
    return;
  }
  addOverlayByLayer(p, rootfs, lowerDirs);
}

/** One fsconfig(2) per layer: any number of them, since Linux 6.5. */
function addOverlayByLayer(
  p: ProgramBuilder,
  { upperDir, workDir, mountpoint, isVolatile, selinuxLabel }: Overlay,
  lowerDirs: readonly string[],
): void {
  const context = p.slot('overlay context');
  const mount = p.slot('overlay');
  const set = (key: string, value: string) =>
    p.op('fsconfig', [ref(context), shown(k.FSCONFIG_SET_STRING, 'FSCONFIG_SET_STRING'), key, value, 0]);
  p.op('fsopen', ['overlay', k.FSOPEN_CLOEXEC], { dst: context, note: 'too many layers for the options of mount(2)' });
  for (const directory of lowerDirs) set('lowerdir+', directory);
  if (upperDir !== undefined && workDir !== undefined) {
    set('upperdir', upperDir);
    set('workdir', workDir);
    set('index', 'off');
    if (isVolatile === true) p.op('fsconfig', [ref(context), shown(k.FSCONFIG_SET_FLAG, 'FSCONFIG_SET_FLAG'), 'volatile', 0, 0]);
  }
  if (selinuxLabel !== undefined) set('context', selinuxLabel);
  addFsmount(p, context, mount, 0);
  p.op('move_mount', [ref(mount), '', k.AT_FDCWD, mountpoint, k.MOVE_MOUNT_F_EMPTY_PATH]);
  p.op('close', [ref(mount)]);
}

function addFsmount(p: ProgramBuilder, context: number, mount: number, attributes: number): void {
  p.op('fsconfig', [ref(context), shown(k.FSCONFIG_CMD_CREATE, 'FSCONFIG_CMD_CREATE'), 0, 0, 0]);
  p.op('fsmount', [ref(context), k.FSMOUNT_CLOEXEC, attributes], { dst: mount });
  p.op('close', [ref(context)]);
}

/** A new file system that is not attached anywhere yet. Returns its slot. */
export function addDetached(p: ProgramBuilder, type: string, attributes: number, note: string): number {
  const context = p.slot(`${type} context`);
  const mount = p.slot(type);
  p.op('fsopen', [type, k.FSOPEN_CLOEXEC], { dst: context, note });
  addFsmount(p, context, mount, attributes);
  return mount;
}

export interface Attributes {
  readonly set: number;
  readonly propagation?: MountPropagation;
  readonly recursive: boolean;
}

const propagationFlags = { private: k.MS_PRIVATE, rslave: k.MS_SLAVE, rshared: k.MS_SHARED } as const;

/** mount_setattr(2) on a mount that a slot holds. */
export function addAttributes(p: ProgramBuilder, mount: number, { set, propagation, recursive }: Attributes): void {
  const attributes = p.words([set, 0, propagation === undefined ? 0 : propagationFlags[propagation], 0]);
  const names = [
    ...(set & k.MOUNT_ATTR_RDONLY ? ['ro'] : []),
    ...(set & k.MOUNT_ATTR_NOSUID ? ['nosuid'] : []),
    ...(set & k.MOUNT_ATTR_NODEV ? ['nodev'] : []),
    ...(set & k.MOUNT_ATTR_NOEXEC ? ['noexec'] : []),
    ...(propagation === undefined ? [] : [propagation]),
  ];
  p.op('mount_setattr', [
    ref(mount),
    '',
    k.AT_EMPTY_PATH | (recursive ? k.AT_RECURSIVE : 0),
    shown(attributes, names.join(',')),
    k.MOUNT_ATTR_BYTES,
  ]);
}

/** A copy of a host mount or directory, attached nowhere: it may be resolved now, and mounted where the host can no longer be seen. */
export function addOpenTree(p: ProgramBuilder, source: string, recursive: boolean, note?: string): number {
  const tree = p.slot(source);
  const flags = k.OPEN_TREE_CLONE | k.OPEN_TREE_CLOEXEC | (recursive ? k.AT_RECURSIVE : 0);
  p.op('open_tree', [k.AT_FDCWD, source, flags], { dst: tree, ...(note === undefined ? {} : { note }) });
  return tree;
}

const ATTRIBUTE = { noexec: k.MOUNT_ATTR_NOEXEC, nodev: k.MOUNT_ATTR_NODEV, nosuid: k.MOUNT_ATTR_NOSUID } as const;

function attributeFlags(attributes: readonly MountAttribute[]): number {
  return attributes.reduce((flags, attribute) => flags | ATTRIBUTE[attribute], 0);
}

/** Owners of a detached mount are seen through the user namespace. Only the host's root may ask for it. mount_setattr(2) */
export function addIdmap(p: ProgramBuilder, tree: number, recursive: boolean): void {
  const attributes = shown(p.words([k.MOUNT_ATTR_IDMAP, 0, 0, FD.userns]), 'idmap of descriptor 11');
  p.op('mount_setattr', [ref(tree), '', k.AT_EMPTY_PATH | (recursive ? k.AT_RECURSIVE : 0), attributes, k.MOUNT_ATTR_BYTES]);
}

/** Layers belong to the host's ids; a mapped copy of each is put on a tmpfs below `place`. Overlays themselves cannot be mapped. */
function addIdmappedLayers(p: ProgramBuilder, place: string, lowerDirs: readonly string[]): readonly string[] {
  p.op('mount', ['layers', place, 'tmpfs', 0, 'mode=0700,size=64k'], { note: 'a place for the mapped copies of the layers' });
  return lowerDirs.map((directory, i) => {
    const target = `${place}/${i}`;
    const tree = addOpenTree(p, directory, false);
    addIdmap(p, tree, false);
    p.op('mkdirat', [k.AT_FDCWD, target, shown(0o755, '0755')]);
    addAttach(p, tree, target, { followLinks: false });
    p.op('close', [ref(tree)]);
    return target;
  });
}

/** Host ids. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** The root of a user namespace: layers seen through it, and a writable part that belongs to its root. */
export function addMappedOverlay(p: ProgramBuilder, rootfs: Rootfs, { uid, gid }: Owner): void {
  for (const directory of [rootfs.upperDir, rootfs.workDir]) p.op('fchownat', [k.AT_FDCWD, directory, uid, gid, 0]);
  addOverlay(p, rootfs, addIdmappedLayers(p, rootfs.mountpoint, rootfs.lowerDirs));
}

/** Mounts an image's layers aside and takes the mount. */
export function addImageSource(p: ProgramBuilder, image: ImageMount, mapped: boolean): number {
  addOverlay(p, image, mapped ? addIdmappedLayers(p, image.mountpoint, image.lowerDirs) : image.lowerDirs);
  const tree = addOpenTree(p, image.mountpoint, false);
  const set = k.MOUNT_ATTR_RDONLY | k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC;
  addAttributes(p, tree, { set, propagation: 'private', recursive: false });
  return tree;
}

/** Takes a bind mount's source, with the attributes that it will have in the container. */
export function addBindSource(p: ProgramBuilder, bind: BindMount): number {
  const tree = addOpenTree(p, bind.source, true);
  if (bind.idmapped === true) addIdmap(p, tree, true);
  const readonly = bind.readonly ? k.MOUNT_ATTR_RDONLY : 0;
  const together = bind.recursiveReadonly || !bind.readonly;
  const set = attributeFlags(bind.attributes ?? []) | (together ? readonly : 0);
  addAttributes(p, tree, { set, propagation: bind.propagation, recursive: true });
  // "ro" alone is the top mount's: what is mounted below it stays as it is.
  if (!together) addAttributes(p, tree, { set: readonly, recursive: false });
  return tree;
}

/** Makes the new root the process' root and drops the host's tree. pivot_root(2), "pivot_root(".", ".")" */
export function addPivot(p: ProgramBuilder): void {
  p.phase('pivot');
  p.op('pivot_root', ['.', '.']);
  p.op('umount2', ['.', k.MNT_DETACH], { note: "the host's tree is gone: every path below is resolved inside the container" });
  p.op('chdir', ['/']);
}

/** Makes directories and files inside the container. It remembers what is there already. */
export class Targets {
  readonly #p: ProgramBuilder;
  readonly #there = new Set<string>(['/']);

  constructor(p: ProgramBuilder) {
    this.#p = p;
  }

  /** A directory that only this program can have made or that must not be a link: one call. */
  plain(path: string, mode = 0o755): void {
    if (this.#there.has(path)) return;
    this.#there.add(path);
    this.#p.tolerate([k.EEXIST], 'mkdirat', [k.AT_FDCWD, path, shown(mode, `0${mode.toString(8)}`)]);
  }

  /** A directory and its parents. A link of the image that leads nowhere is replaced; one that leads somewhere is followed, within the root. */
  directory(path: string, owner?: { readonly uid: number; readonly gid: number }): void {
    const parts = path.split('/').filter((part) => part !== '');
    for (const [i] of parts.entries()) this.#step(`/${parts.slice(0, i + 1).join('/')}`, i === parts.length - 1 ? owner : undefined);
  }

  #step(path: string, owner: { readonly uid: number; readonly gid: number } | undefined): void {
    if (this.#there.has(path)) return;
    this.#there.add(path);
    const p = this.#p;
    const exists = p.label();
    const made = p.label();
    const done = p.label();
    p.tolerate([k.EEXIST], 'mkdirat', [k.AT_FDCWD, path, shown(0o755, '0755')], { onTolerated: exists, onSuccess: made });
    p.place(exists);
    p.op('openat', [k.AT_FDCWD, path, k.O_PATH | k.O_CLOEXEC, 0], { onSuccess: done, onError: 'ignore' });
    p.op('unlinkat', [k.AT_FDCWD, path, 0], { note: 'a link that leads nowhere' });
    p.op('mkdirat', [k.AT_FDCWD, path, shown(0o755, '0755')]);
    p.place(made);
    if (owner !== undefined && (owner.uid !== 0 || owner.gid !== 0)) p.op('fchownat', [k.AT_FDCWD, path, owner.uid, owner.gid, 0]);
    p.place(done);
  }

  /** An empty file to mount over. */
  file(path: string): void {
    if (this.#there.has(path)) return;
    this.directory(path.slice(0, path.lastIndexOf('/')));
    this.#there.add(path);
    const p = this.#p;
    const missing = p.label();
    const done = p.label();
    const create = [k.AT_FDCWD, path, k.O_CREAT | k.O_CLOEXEC | k.O_NONBLOCK, shown(0o644, '0644')] as const;
    const look = [k.AT_FDCWD, path, k.O_PATH | k.O_CLOEXEC, 0] as const;
    // Looked at first: opening what is there might be refused (a socket, a read-only mount) although it can be mounted over.
    p.op('openat', look, { onSuccess: done, onError: 'ignore' });
    p.tolerate([k.ENOENT], 'openat', create, { onTolerated: missing, onSuccess: done });
    p.place(missing);
    p.op('unlinkat', [k.AT_FDCWD, path, 0], { note: 'a link that leads nowhere' });
    p.op('openat', create);
    p.place(done);
  }
}

/** Attaches a detached mount. The image's links are followed for volumes, never for the system's own directories. */
export function addAttach(p: ProgramBuilder, mount: number, target: string, options: { followLinks: boolean }): void {
  const flags = k.MOVE_MOUNT_F_EMPTY_PATH | (options.followLinks ? k.MOVE_MOUNT_T_SYMLINKS : 0);
  p.op('move_mount', [ref(mount), '', k.AT_FDCWD, target, flags]);
}

/** Takes the container's own /dev/null before volumes are mounted: by then a link of the image may have led one over /dev. */
export function addNothing(p: ProgramBuilder): number {
  const nothing = p.slot('/dev/null');
  p.op('openat', [k.AT_FDCWD, '/dev/null', k.O_PATH | k.O_CLOEXEC, 0], { dst: nothing, note: 'what files are hidden behind' });
  return nothing;
}

/** Hides a path: a file behind /dev/null, a directory behind an empty read-only tmpfs; what is not there needs no hiding. */
export function addMask(p: ProgramBuilder, path: string, nothing: number): void {
  const done = p.label();
  const directory = p.label();
  const tree = p.slot('mask');
  const result = p.slot('result');
  const refused = p.label();
  p.op('open_tree', [ref(nothing), '', k.OPEN_TREE_CLONE | k.OPEN_TREE_CLOEXEC | k.AT_EMPTY_PATH], { dst: tree });
  const attach = [ref(tree), '', k.AT_FDCWD, path, k.MOVE_MOUNT_F_EMPTY_PATH | k.MOVE_MOUNT_T_SYMLINKS] as const;
  p.op('move_mount', attach, { dst: result, onSuccess: done, onError: refused });
  p.place(refused);
  p.ifEquals(result, -k.ENOENT, done);
  // The kernel's word for a file on a directory.
  p.ifEquals(result, -k.EINVAL, directory);
  p.repeat('move_mount', attach);
  p.place(directory);
  p.op('mount', ['tmpfs', path, 'tmpfs', k.MS_RDONLY, 'size=0k,nr_inodes=2']);
  p.place(done);
}

export function addReadonlyPath(p: ProgramBuilder, path: string): void {
  const done = p.label();
  const attributes = shown(p.words([k.MOUNT_ATTR_RDONLY, 0, 0, 0]), 'ro');
  p.tolerate([k.ENOENT], 'mount', [path, path, 0, k.MS_BIND | k.MS_REC, 0], { onTolerated: done });
  p.op('mount_setattr', [k.AT_FDCWD, path, 0, attributes, k.MOUNT_ATTR_BYTES]);
  p.place(done);
}

/** The controllers of a hybrid host by name, with the container's own directory of each. */
export function cgroupBinds({ cgroup }: Pick<ContainerSpec, 'cgroup'>): readonly { readonly name: string; readonly source: string }[] {
  const root = '/sys/fs/cgroup/';
  const directories = [
    ...cgroup.v1Procs.map((file) => file.slice(0, file.lastIndexOf('/'))),
    ...(cgroup.unified === undefined ? [] : [cgroup.unified]),
  ];
  return directories
    .filter((directory) => directory.startsWith(root))
    .map((source) => ({ name: source.slice(root.length).split('/')[0] ?? '', source }));
}
