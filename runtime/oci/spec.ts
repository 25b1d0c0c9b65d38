// Owns the translation of a container into an OCI runtime-spec object: what an external runtime executes, and what a verbose status shows.
// Pure. It says the same as container-program.ts says in system calls.
import type { DeviceRule } from '../cgroup/device-filter.ts';
import type { ContainerSpec, IdMapping, ImageMount, Mount, Namespaces, Process } from '../program/spec.ts';
import { type OciNames, planOciAnnotations } from './annotations.ts';
import type { OciDeviceRule, OciIdMapping, OciMount, OciNamespace, OciProcess, OciResources, OciSeccomp, OciSpec } from './types.ts';

export const OCI_VERSION = '1.1.0';

export interface OciFacts {
  readonly names: OciNames;
  /** Holds the sandbox's namespaces; absent before it runs. */
  readonly pausePid?: number;
  /** Whose PID namespace is joined: the sandbox's or a target container's. */
  readonly pidHolder?: number;
  /** Below the hierarchies' roots; empty without cgroups. */
  readonly cgroupPath: string;
  readonly resources: Omit<OciResources, 'devices'>;
  readonly deviceRules: readonly DeviceRule[];
  readonly seccomp?: OciSeccomp;
}

export function planOciSpec(spec: ContainerSpec, facts: OciFacts): OciSpec {
  const { uidMappings, gidMappings } = spec;
  return {
    ociVersion: OCI_VERSION,
    process: planOciProcess(spec.process),
    root: { path: spec.rootfs.mountpoint, readonly: spec.rootfs.readonly },
    mounts: planOciMounts(spec),
    annotations: planOciAnnotations(facts.names),
    linux: {
      namespaces: planOciNamespaces(spec.namespaces, facts),
      ...(uidMappings === undefined ? {} : { uidMappings: uidMappings.map(idMapping) }),
      ...(gidMappings === undefined ? {} : { gidMappings: gidMappings.map(idMapping) }),
      devices: spec.devices.map(({ path, type, major, minor, mode, uid, gid }) => ({ path, type, major, minor, fileMode: mode, uid, gid })),
      ...(facts.cgroupPath === '' ? {} : { cgroupsPath: facts.cgroupPath }),
      resources: { devices: planOciDeviceRules(spec.privileged, facts.deviceRules), ...facts.resources },
      rootfsPropagation: planRootfsPropagation(spec.mounts),
      ...(facts.seccomp === undefined ? {} : { seccomp: facts.seccomp }),
      maskedPaths: spec.maskedPaths,
      readonlyPaths: spec.readonlyPaths,
    },
  };
}

export function planOciProcess(process: Process): OciProcess {
  const { bounding, effective, permitted, inheritable, ambient } = process.capabilities;
  const { oomScoreAdj, apparmorProfile = '', selinuxLabel = '' } = process;
  return {
    terminal: process.terminal,
    user: { uid: process.user.uid, gid: process.user.gid, umask: 0o022, additionalGids: process.user.additionalGids },
    args: process.args,
    env: process.env,
    cwd: process.cwd,
    capabilities: { bounding, effective, permitted, inheritable, ambient },
    rlimits: process.rlimits.map(({ type, hard, soft }) => ({ type, hard, soft })),
    noNewPrivileges: process.noNewPrivileges,
    ...(oomScoreAdj === undefined ? {} : { oomScoreAdj }),
    ...(apparmorProfile === '' ? {} : { apparmorProfile }),
    ...(selinuxLabel === '' ? {} : { selinuxLabel }),
  };
}

const NAMESPACE_TYPES: Readonly<Record<string, OciNamespace['type']>> = {
  net: 'network',
  ipc: 'ipc',
  uts: 'uts',
  pid: 'pid',
  cgroup: 'cgroup',
  user: 'user',
  time: 'time',
};

/** A namespace that is joined is named by its file; one that is the host's is not named at all. */
function planOciNamespaces(namespaces: Namespaces, { pausePid, pidHolder }: OciFacts): readonly OciNamespace[] {
  const planned = Object.entries(namespaces).flatMap(([kind, mode]): OciNamespace[] => {
    const type = NAMESPACE_TYPES[kind];
    if (type === undefined || mode === 'host') return [];
    const holder = kind === 'pid' ? pidHolder : pausePid;
    return [mode === 'join' && holder !== undefined ? { type, path: `/proc/${holder}/ns/${kind}` } : { type }];
  });
  return [...planned, { type: 'mount' }];
}

function planOciMounts(spec: ContainerSpec): readonly OciMount[] {
  const access = spec.privileged ? 'rw' : 'ro';
  const usual = ['nosuid', 'noexec', 'nodev'];
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: usual },
    { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'] },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
    },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: usual },
    { destination: '/dev/shm', type: 'bind', source: spec.shmSource, options: ['rbind', 'rprivate'] },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: [...usual, access] },
    ...(spec.cgroupMount === 'none'
      ? []
      : [{ destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: [...usual, 'relatime', access] }]),
    ...spec.mounts.map((mount) => planOciMount(mount, spec)),
  ];
}

function planOciMount(mount: Mount, { uidMappings = [], gidMappings = [] }: ContainerSpec): OciMount {
  if (mount.kind === 'tmpfs')
    return { destination: mount.target, type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'nodev', ...mount.options.split(',')] };
  if (mount.kind === 'image') return planOciImageMount(mount);
  const { source, target, readonly, recursiveReadonly, propagation, idmapped, attributes = [] } = mount;
  const access = [recursiveReadonly ? 'rro' : readonly ? 'ro' : 'rw', ...attributes];
  return {
    destination: target,
    type: 'bind',
    source,
    options: ['rbind', propagation === 'private' ? 'rprivate' : propagation, ...access],
    ...(idmapped === true ? { uidMappings: uidMappings.map(idMapping), gidMappings: gidMappings.map(idMapping) } : {}),
  };
}

function planOciImageMount({ target, lowerDirs }: ImageMount): OciMount {
  const [only = ''] = lowerDirs;
  // An overlay without an upper directory takes two layers at least.
  if (lowerDirs.length === 1)
    return { destination: target, type: 'bind', source: only, options: ['rbind', 'rprivate', 'ro', 'nosuid', 'nodev', 'noexec'] };
  const options = ['ro', 'nosuid', 'nodev', 'noexec', `lowerdir=${lowerDirs.join(':')}`];
  return { destination: target, type: 'overlay', source: 'overlay', options };
}

/** The root must let through what any of its mounts passes on. */
function planRootfsPropagation(mounts: readonly Mount[]): string {
  const asked = new Set(mounts.map((mount) => (mount.kind === 'bind' ? mount.propagation : 'private')));
  return asked.has('rshared') ? 'rshared' : asked.has('rslave') ? 'rslave' : 'rprivate';
}

function planOciDeviceRules(privileged: boolean, rules: readonly DeviceRule[]): readonly OciDeviceRule[] {
  if (privileged) return [{ allow: true, access: 'rwm' }];
  return [
    { allow: false, access: 'rwm' },
    ...rules.map(({ type, major, minor, access }) => ({
      allow: true,
      type,
      ...(major === undefined ? {} : { major }),
      ...(minor === undefined ? {} : { minor }),
      access,
    })),
  ];
}

function idMapping({ containerId, hostId, size }: IdMapping): OciIdMapping {
  return { containerID: containerId, hostID: hostId, size };
}
