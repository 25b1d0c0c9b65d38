// Owns the order in which a container comes to be. Pure: a ContainerSpec in, a syscall program out.
//
//   shim   prologue · [user namespace: overlay by the host's root] · clone3 ─────────────▶ started · wait · exit file · event · stays
//   init     └▶ cgroups · namespaces · overlay · host sources taken · pivot_root
//               /dev · /sys · volumes · working directory · /proc · hidden paths · identity · execve
import * as k from '../linux/constants.ts';
import type { Arch } from '../linux/numbers.ts';
import { type Program, ProgramBuilder, ref, shown } from './builder.ts';
import { DEFAULT_DEVICES, DEFAULT_LINKS } from './defaults.ts';
import { namespaceFlags } from './namespaces.ts';
import { addLabels, addOomScore, addProcess, addRlimits, type HostLimits } from './process-steps.ts';
import { FD } from './records.ts';
import {
  addAttach,
  addAttributes,
  addBindSource,
  addDetached,
  addImageSource,
  addMappedOverlay,
  addMask,
  addNothing,
  addOpenTree,
  addOverlay,
  addPivot,
  addReadonlyPath,
  cgroupBinds,
  type Owner,
  Targets,
} from './rootfs-steps.ts';
import { addClone, addPrologue, addShim } from './shim-steps.ts';
import type { BindMount, ContainerSpec, Device, Mount, NamespaceKind } from './spec.ts';
import { addTerminal, keepTerminal } from './terminal-steps.ts';

export interface ProgramTarget extends HostLimits {
  readonly recordId: number;
  readonly arch?: Arch;
}

const SHARED_KINDS = ['net', 'ipc', 'uts', 'time'] as const;
const MOUNT_ATTR_USUAL = k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC;

/** Slots of the detached mounts that wait for their targets. */
interface Sources {
  readonly binds: ReadonlyMap<Mount, number>;
  readonly devices: ReadonlyMap<Device, number>;
  readonly shm: number;
  readonly cgroups: readonly { readonly name: string; readonly tree: number }[];
}

export function planContainerProgram(spec: ContainerSpec, target: ProgramTarget): Program {
  const p = new ProgramBuilder({ recordId: target.recordId, ...(target.arch === undefined ? {} : { arch: target.arch }) });
  const inUserns = spec.namespaces.user !== 'host';
  const joined = joinedKinds(spec);

  addPrologue(p, 'tskubelet-shim');
  // First of all: in a user namespace of its own it could no longer look at that process.
  if (spec.namespaces.pid === 'join')
    p.op('setns', [FD.pidTarget, shown(k.CLONE_NEWPID, 'CLONE_NEWPID')], { note: 'children are born in the PID namespace that is shared' });
  const taken = inUserns ? addHostRootSteps(p, spec, target, joined) : undefined;

  const terminal = spec.process.terminal;
  const init = p.label();
  const fresh = clonedKinds(spec);
  const { value, shows } = namespaceFlags(fresh);
  const { pid, pidfd } = addClone(p, {
    flags: value + (terminal ? k.CLONE_FILES : 0),
    shows: terminal ? `${shows}|CLONE_FILES` : shows,
    intoCgroup: spec.cgroup.unified !== undefined,
    child: init,
    note: 'the container’s first process',
  });
  addShim(p, { recordId: target.recordId, pid, pidfd, of: 'container', holdsStdin: spec.keepsStdin });

  p.place(init);
  addInit(p, spec, target, { joined, taken });
  return p.finish();
}

function joinedKinds({ namespaces }: ContainerSpec): NamespaceKind[] {
  return SHARED_KINDS.filter((kind) => namespaces[kind] === 'join');
}

/** The cgroup namespace is rooted at the clone's target cgroup (CLONE_INTO_CGROUP), but only v2 is joined by then. */
function cgroupAtClone({ namespaces, cgroup }: ContainerSpec): boolean {
  return namespaces.cgroup === 'new' && cgroup.unified !== undefined && cgroup.v1Procs.length === 0;
}

function clonedKinds(spec: ContainerSpec): NamespaceKind[] {
  const { namespaces } = spec;
  return [
    'mnt',
    ...(['net', 'ipc', 'uts'] as const).filter((kind) => namespaces[kind] === 'new'),
    ...(namespaces.pid === 'new' ? (['pid'] as const) : []),
    ...(cgroupAtClone(spec) ? (['cgroup'] as const) : []),
  ];
}

/** With a user namespace the shim does, as the host's root and in a mount namespace of its own, what the mapped root may not. */
function addHostRootSteps(p: ProgramBuilder, spec: ContainerSpec, target: ProgramTarget, joined: readonly NamespaceKind[]): Sources {
  p.phase('user namespace');
  addRlimits(p, target.recordId, spec.process);
  addOomScore(p, target.recordId, spec.process.oomScoreAdj);
  addLabels(p, spec.process);
  p.op('unshare', [shown(k.CLONE_NEWNS, 'CLONE_NEWNS')]);
  const sources = addSources(p, spec, true);
  const { value, shows } = namespaceFlags(['user', ...joined]);
  p.op('setns', [FD.join, shown(value, shows)], { note: 'the namespaces of the sandbox, and its ids' });
  return sources;
}

function rootOwner({ uidMappings = [], gidMappings = [] }: ContainerSpec): Owner {
  const hostId = (mappings: typeof uidMappings) => mappings.find(({ containerId }) => containerId === 0)?.hostId ?? 0;
  return { uid: hostId(uidMappings), gid: hostId(gidMappings) };
}

function addInit(
  p: ProgramBuilder,
  spec: ContainerSpec,
  target: ProgramTarget,
  { joined, taken }: { joined: readonly NamespaceKind[]; taken: Sources | undefined },
): void {
  const inUserns = taken !== undefined;
  addPlacement(p, spec, joined, inUserns);
  if (!inUserns) addOomScore(p, target.recordId, spec.process.oomScoreAdj);
  const sources = taken ?? addSources(p, spec, false);
  if (inUserns) addMappedRoot(p, spec);
  const sys = addSys(p, spec, inUserns);
  const proc = addDetached(p, 'proc', MOUNT_ATTR_USUAL, 'of the PID namespace, while the host’s own is still there to vouch for it');
  addPivot(p);
  const targets = new Targets(p);
  addDev(p, spec, sources, targets);
  const nothing = addNothing(p);
  const master = spec.process.terminal ? addTerminal(p) : undefined;
  addSysMounts(p, spec, sources, sys, targets);
  // /proc comes after everything that resolves a path: with the host's PIDs in it, a link of the image through /proc/1/root would leave
  // the container. What is mounted inside /proc comes after it.
  const inProc = ({ target: path }: Mount) => path === '/proc' || path.startsWith('/proc/');
  p.phase('volumes');
  for (const mount of spec.mounts) if (!inProc(mount)) addMount(p, mount, sources, targets);
  if (!inProcPath(spec.process.cwd)) targets.directory(spec.process.cwd, spec.process.user);
  p.phase('/proc');
  targets.plain('/proc');
  addAttach(p, proc, '/proc', { followLinks: false });
  for (const mount of spec.mounts) if (inProc(mount)) addMount(p, mount, sources, targets);
  p.phase('hidden paths');
  for (const path of spec.readonlyPaths) addReadonlyPath(p, path);
  for (const path of spec.maskedPaths) addMask(p, path, nothing);
  if (spec.rootfs.readonly)
    p.op('mount_setattr', [k.AT_FDCWD, '/', 0, shown(p.words([k.MOUNT_ATTR_RDONLY, 0, 0, 0]), 'ro'), k.MOUNT_ATTR_BYTES]);
  if (!inUserns) addRlimits(p, target.recordId, spec.process);
  if (!inUserns) addLabels(p, spec.process);
  if (master !== undefined) keepTerminal(p, master, spec.process.user.uid);
  addProcess(p, spec.process, { host: target, terminal: master?.slave });
}

function inProcPath(path: string): boolean {
  return path === '/proc' || path.startsWith('/proc/');
}

/** Cgroups first, so that everything from here on is accounted; then the sandbox's namespaces. */
function addPlacement(p: ProgramBuilder, spec: ContainerSpec, joined: readonly NamespaceKind[], inUserns: boolean): void {
  p.phase('namespaces');
  p.op('setsid', [], { onError: 'ignore' });
  addV1Placement(p, spec.cgroup.v1Procs);
  if (!inUserns && joined.length > 0) {
    const { value, shows } = namespaceFlags(joined);
    p.op('setns', [FD.join, shown(value, shows)], { note: 'the namespaces of the sandbox' });
  }
  if (spec.namespaces.cgroup === 'join') p.op('setns', [FD.join, shown(k.CLONE_NEWCGROUP, 'CLONE_NEWCGROUP')]);
  if (spec.namespaces.cgroup === 'new' && !cgroupAtClone(spec))
    p.op('unshare', [shown(k.CLONE_NEWCGROUP, 'CLONE_NEWCGROUP')], { note: 'its cgroups are the roots that it sees' });
  if (inUserns) {
    p.op('setresgid', [0, 0, 0], { note: 'root of the user namespace' });
    p.op('setresuid', [0, 0, 0]);
  }
}

export function addV1Placement(p: ProgramBuilder, procsFiles: readonly string[]): void {
  for (const procs of procsFiles) {
    const file = p.slot('cgroup.procs');
    p.op('openat', [k.AT_FDCWD, procs, k.O_WRONLY | k.O_CLOEXEC, 0], { dst: file });
    p.op('write', [ref(file), '0', 1], { note: 'joins this hierarchy' });
    p.op('close', [ref(file)]);
  }
}

/** The root that the host's root mounted is locked in this copy; pivot_root needs a fresh mount of it. No path of the host is walked. */
function addMappedRoot(p: ProgramBuilder, { rootfs }: ContainerSpec): void {
  const name = rootfs.mountpoint.slice(rootfs.mountpoint.lastIndexOf('/') + 1);
  p.op('mount', ['.', '.', 0, k.MS_BIND | k.MS_REC, 0], { note: 'a copied mount is locked; pivot_root needs a fresh one' });
  p.op('chdir', [`../${name}`]);
}

/** The new root is mounted and entered; what comes from the host is taken, attached nowhere yet. */
function addSources(p: ProgramBuilder, spec: ContainerSpec, inUserns: boolean): Sources {
  const binds = new Map<Mount, number>();
  const take = (wanted: (bind: BindMount) => boolean) => {
    for (const mount of spec.mounts) if (mount.kind === 'bind' && wanted(mount)) binds.set(mount, addBindSource(p, mount));
  };
  p.phase('root file system');
  // Copies that propagate are taken while "/" still has its peers.
  take(({ propagation }) => propagation !== 'private');
  p.op('mount', ['', '/', 0, k.MS_REC | k.MS_PRIVATE, 0], {
    note: 'private before pivot_root: a shared "/" would show our mounts to the host',
  });
  const { mountpoint } = spec.rootfs;
  if (inUserns) addMappedOverlay(p, spec.rootfs, rootOwner(spec));
  else addOverlay(p, spec.rootfs, spec.rootfs.lowerDirs);
  p.phase('host sources');
  take(({ propagation }) => propagation === 'private');
  for (const mount of spec.mounts) if (mount.kind === 'image') binds.set(mount, addImageSource(p, mount, inUserns));
  p.op('chdir', [mountpoint]);
  const shm = addOpenTree(p, spec.shmSource, false, 'shared by the containers of the sandbox');
  addAttributes(p, shm, { set: MOUNT_ATTR_USUAL, propagation: 'private', recursive: false });
  const devices = new Map<Device, number>();
  // mknod(2) is not for user namespaces, not even for their root.
  if (inUserns) for (const device of allDevices(spec)) devices.set(device, addOpenTree(p, device.hostPath, false));
  const cgroups = spec.cgroupMount === 'host-bind' ? cgroupBinds(spec) : [];
  const readonly = spec.privileged ? 0 : k.MOUNT_ATTR_RDONLY;
  return {
    binds,
    devices,
    shm,
    cgroups: cgroups.map(({ name, source }) => {
      const tree = addOpenTree(p, source, false);
      addAttributes(p, tree, { set: MOUNT_ATTR_USUAL | readonly, propagation: 'private', recursive: false });
      return { name, tree };
    }),
  };
}

function allDevices({ devices }: ContainerSpec): readonly Device[] {
  const named = new Set(devices.map(({ path }) => path));
  return [...DEFAULT_DEVICES.filter(({ path }) => !named.has(path)), ...devices];
}

/** sysfs shows the network devices of the namespace that it is mounted in; cgroup2 is rooted at the cgroup namespace. */
function addSys(p: ProgramBuilder, spec: ContainerSpec, inUserns: boolean): { readonly sys: number; readonly cgroup: number | undefined } {
  const attributes = MOUNT_ATTR_USUAL | (spec.privileged ? 0 : k.MOUNT_ATTR_RDONLY);
  // Mounting sysfs needs the network namespace to belong to the user namespace; else the host's is taken as it is.
  const borrowed = inUserns && spec.namespaces.net === 'host';
  const sys = borrowed ? addOpenTree(p, '/sys', true) : addDetached(p, 'sysfs', attributes, 'of the network namespace');
  if (borrowed) addAttributes(p, sys, { set: attributes, propagation: 'private', recursive: true });
  const cgroup = spec.cgroupMount === 'cgroup2' ? addDetached(p, 'cgroup2', attributes, 'of the cgroup namespace') : undefined;
  return { sys, cgroup };
}

function addDev(p: ProgramBuilder, spec: ContainerSpec, sources: Sources, targets: Targets): void {
  p.phase('/dev');
  targets.plain('/dev');
  p.op('mount', ['tmpfs', '/dev', 'tmpfs', k.MS_NOSUID | k.MS_STRICTATIME, 'mode=755,size=65536k']);
  for (const path of ['/dev/pts', '/dev/shm', '/dev/mqueue']) targets.plain(path);
  const usual = k.MS_NOSUID | k.MS_NOEXEC;
  p.op('mount', ['devpts', '/dev/pts', 'devpts', usual, 'newinstance,ptmxmode=0666,mode=0620,gid=5']);
  p.op('mount', ['mqueue', '/dev/mqueue', 'mqueue', usual | k.MS_NODEV, 0]);
  addAttach(p, sources.shm, '/dev/shm', { followLinks: false });
  p.op('umask', [0], { note: 'device nodes get exactly their modes' });
  for (const device of allDevices(spec)) addDevice(p, device, sources.devices.get(device), targets);
  const taken = new Set(spec.devices.map(({ path }) => path));
  for (const [link, path] of DEFAULT_LINKS) if (!taken.has(path)) p.op('symlinkat', [link, k.AT_FDCWD, path]);
  p.op('umask', [0o022]);
}

function addDevice(p: ProgramBuilder, device: Device, tree: number | undefined, targets: Targets): void {
  targets.directory(device.path.slice(0, device.path.lastIndexOf('/')));
  if (tree !== undefined) {
    targets.file(device.path);
    addAttach(p, tree, device.path, { followLinks: false });
    return;
  }
  const mode = device.mode | (device.type === 'b' ? 0o060000 : 0o020000);
  const number = shown(encodeDevice(device.major, device.minor), `${device.major}:${device.minor}`);
  p.tolerate([k.EEXIST], 'mknodat', [k.AT_FDCWD, device.path, shown(mode, `${device.type} 0${device.mode.toString(8)}`), number]);
  if (device.uid !== 0 || device.gid !== 0) p.op('fchownat', [k.AT_FDCWD, device.path, device.uid, device.gid, 0]);
}

/** new_encode_dev() of include/linux/kdev_t.h: what mknod(2) takes. */
function encodeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

function addSysMounts(
  p: ProgramBuilder,
  spec: ContainerSpec,
  { cgroups }: Sources,
  { sys, cgroup }: { sys: number; cgroup: number | undefined },
  targets: Targets,
): void {
  p.phase('/sys');
  targets.plain('/sys');
  addAttach(p, sys, '/sys', { followLinks: false });
  if (cgroup !== undefined) addAttach(p, cgroup, '/sys/fs/cgroup', { followLinks: false });
  if (spec.cgroupMount !== 'host-bind' || cgroups.length === 0) return;
  p.op('mount', ['cgroup', '/sys/fs/cgroup', 'tmpfs', k.MS_NOSUID | k.MS_NODEV | k.MS_NOEXEC, 'mode=755,size=64k']);
  for (const { name, tree } of cgroups) {
    targets.plain(`/sys/fs/cgroup/${name}`);
    addAttach(p, tree, `/sys/fs/cgroup/${name}`, { followLinks: false });
    // Hierarchies of several controllers are known by each of them.
    const parts = name.split(',');
    for (const alias of parts.length > 1 ? parts : []) p.op('symlinkat', [name, k.AT_FDCWD, `/sys/fs/cgroup/${alias}`]);
  }
  if (!spec.privileged)
    p.op('mount_setattr', [k.AT_FDCWD, '/sys/fs/cgroup', 0, shown(p.words([k.MOUNT_ATTR_RDONLY, 0, 0, 0]), 'ro'), k.MOUNT_ATTR_BYTES]);
}

function addMount(p: ProgramBuilder, mount: Mount, { binds }: Sources, targets: Targets): void {
  if (mount.kind === 'tmpfs') {
    targets.directory(mount.target);
    const flags = k.MS_NOSUID | k.MS_NODEV;
    p.op('mount', ['tmpfs', mount.target, 'tmpfs', flags, mount.options]);
    return;
  }
  const tree = binds.get(mount);
  if (tree === undefined) throw new Error(`the source of ${mount.target} was not taken`);
  if (mount.kind === 'image' || mount.sourceIsDirectory) targets.directory(mount.target);
  else targets.file(mount.target);
  addAttach(p, tree, mount.target, { followLinks: true });
}
