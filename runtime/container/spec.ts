// Owns the one translation of a CRI container into a ContainerSpec. Pure: whatever must be looked up on the host comes in as input.
import path from 'node:path';
import {
  type ContainerConfig,
  type Mount as CriMount,
  type PodSandboxConfig,
  MountPropagation as Propagation,
} from '../../cri-proto/gen/api.ts';
import { invalidArgument } from '../errors.ts';
import type { ImageConfig } from '../image/store.ts';
import { DEFAULT_MASKED_PATHS, DEFAULT_READONLY_PATHS } from '../program/defaults.ts';
import type {
  BindMount,
  CgroupPlacement,
  ContainerSpec,
  Device,
  Identity,
  Mount,
  MountAttribute,
  MountPropagation,
  Process,
  Rlimit,
  Rootfs,
} from '../program/spec.ts';
import { TIME_OFFSET } from '../sandbox/time-offset.ts';
import { planCapabilities } from './capabilities.ts';
import { planArgs, planEnv } from './command.ts';
import type { ImageVolume } from './image-volumes.ts';
import { planContainerNamespaces } from './namespaces.ts';
import { checkProcMount } from './proc-mounts.ts';
import type { FindSeccomp } from './seccomp.ts';
import type { SelinuxLabels } from './selinux.ts';
import { hostId, type IdMaps, isMapped, planIdMaps } from './user-namespace.ts';

/** What was found on the host for a container: everything that planContainerSpec may not look up itself. */
export interface HostFindings {
  readonly rootfs: Rootfs;
  readonly user: Identity;
  /** Host path (as in the request) to whether it is a directory. */
  readonly sourceIsDirectory: ReadonlyMap<string, boolean>;
  /** By container path. */
  readonly imageVolumes?: ReadonlyMap<string, ImageVolume>;
  readonly devices: readonly Device[];
  readonly cgroup: CgroupPlacement;
  readonly cgroupMount: ContainerSpec['cgroupMount'];
  readonly hostname: string;
  readonly shmSource: string;
  /** Files of the sandbox that every container sees: container path to host path. */
  readonly sandboxFiles: ReadonlyMap<string, string>;
  readonly seccomp: FindSeccomp;
  readonly apparmorProfile?: string | undefined;
  readonly selinux?: SelinuxLabels | undefined;
  readonly rlimits?: readonly Rlimit[];
}

export function planContainerSpec(
  config: ContainerConfig,
  sandbox: PodSandboxConfig,
  image: ImageConfig,
  host: HostFindings,
): ContainerSpec {
  const security = config.linux?.securityContext;
  const privileged = security?.privileged ?? false;
  const idMaps = planIdMaps(sandbox.linux?.securityContext?.namespaceOptions);
  checkIdentity(host.user, idMaps);
  return {
    rootfs: {
      ...host.rootfs,
      readonly: security?.readonlyRootfs ?? false,
      ...(host.selinux === undefined ? {} : { selinuxLabel: host.selinux.mount }),
    },
    namespaces: planContainerNamespaces(
      sandbox.linux?.securityContext?.namespaceOptions,
      security?.namespaceOptions,
      TIME_OFFSET in sandbox.annotations,
    ),
    process: planProcess(config, image, host),
    mounts: planMounts(config, host, idMaps),
    devices: host.devices,
    maskedPaths: privileged ? [] : pathsOr(security?.maskedPaths, DEFAULT_MASKED_PATHS),
    readonlyPaths: privileged ? [] : pathsOr(security?.readonlyPaths, DEFAULT_READONLY_PATHS),
    cgroup: host.cgroup,
    privileged,
    cgroupMount: host.cgroupMount,
    // With a terminal it is its keyboard.
    keepsStdin: config.stdin && !config.tty,
    shmSource: host.shmSource,
    ...idMaps,
  };
}

function checkIdentity({ uid, gid, additionalGids }: Identity, idMaps: IdMaps | undefined): void {
  hostId('uid', uid, idMaps?.uidMappings);
  for (const id of [gid, ...additionalGids]) hostId('gid', id, idMaps?.gidMappings);
}

function pathsOr(paths: readonly string[] | undefined, defaults: readonly string[]): readonly string[] {
  return paths === undefined || paths.length === 0 ? defaults : paths;
}

function planProcess(config: ContainerConfig, image: ImageConfig, host: HostFindings): Process {
  const security = config.linux?.securityContext;
  const privileged = security?.privileged ?? false;
  const capabilities = planCapabilities(security?.capabilities, privileged);
  const seccomp = host.seccomp(capabilities.bounding);
  const oomScoreAdj = config.linux?.resources?.oomScoreAdj;
  const cwd = config.workingDir || image.workingDir || '/';
  if (!path.isAbsolute(cwd)) throw invalidArgument(`working directory "${cwd}" is not absolute`);
  return {
    args: planArgs(config, image),
    env: planEnv(config.envs, image, { hostname: host.hostname, terminal: config.tty }),
    cwd,
    user: host.user,
    capabilities,
    noNewPrivileges: security?.noNewPrivs ?? false,
    rlimits: host.rlimits ?? [],
    ...(oomScoreAdj === undefined ? {} : { oomScoreAdj: Number(oomScoreAdj) }),
    terminal: config.tty,
    ...(seccomp === undefined ? {} : { seccomp }),
    ...(host.apparmorProfile === undefined ? {} : { apparmorProfile: host.apparmorProfile }),
    ...(host.selinux === undefined ? {} : { selinuxLabel: host.selinux.process }),
  };
}

const PROPAGATION: Readonly<Record<number, MountPropagation>> = {
  [Propagation.PROPAGATION_PRIVATE]: 'private',
  [Propagation.PROPAGATION_HOST_TO_CONTAINER]: 'rslave',
  [Propagation.PROPAGATION_BIDIRECTIONAL]: 'rshared',
};

/** The sandbox's files first (unless the request brings its own), then the request's mounts, parents before what lies below them. */
function planMounts(config: ContainerConfig, host: HostFindings, idMaps: IdMaps | undefined): readonly Mount[] {
  const taken = new Set(config.mounts.map(({ containerPath }) => path.normalize(containerPath)));
  const own = [...host.sandboxFiles]
    .filter(([target]) => !taken.has(target))
    .map(([target, source]) => bind(source, target, { sourceIsDirectory: false, readonly: host.rootfs.readonly }));
  const asked = config.mounts.map((mount) => {
    if (!path.isAbsolute(mount.containerPath)) throw invalidArgument(`mount target "${mount.containerPath}" is not an absolute path`);
    if (path.normalize(mount.containerPath) === '/')
      throw invalidArgument('mount of /: a container has its image there; mount it on a directory below');
    checkProcMount(path.normalize(mount.containerPath), mount.hostPath);
    const volume = host.imageVolumes?.get(mount.containerPath);
    if (mount.image !== undefined && volume !== undefined) return planImageMount(mount.containerPath, volume, idMaps !== undefined);
    if (mount.hostPath === '') throw invalidArgument(`mount of ${mount.containerPath}: host_path is empty`);
    const propagation = PROPAGATION[mount.propagation];
    if (propagation === undefined) throw invalidArgument(`mount of ${mount.containerPath}: unknown propagation ${mount.propagation}`);
    if (mount.recursiveReadOnly && (!mount.readonly || propagation !== 'private'))
      throw invalidArgument(`mount of ${mount.containerPath}: recursive_read_only needs readonly and private propagation`);
    return bind(mount.hostPath, path.normalize(mount.containerPath), {
      sourceIsDirectory: host.sourceIsDirectory.get(mount.hostPath) ?? true,
      readonly: mount.readonly,
      recursiveReadonly: mount.recursiveReadOnly,
      propagation,
      idmapped: isMapped(mount.containerPath, mount, idMaps),
      attributes: planAttributes(mount),
    });
  });
  const depth = (mount: Mount) => mount.target.split('/').filter((part) => part !== '').length;
  return [...own, ...asked].sort((a, b) => depth(a) - depth(b));
}

const ATTRIBUTES: readonly MountAttribute[] = ['noexec', 'nodev', 'nosuid'];

/** Read-only and without programs, whatever else the request says. */
function planImageMount(containerPath: string, volume: ImageVolume, idmapped: boolean): Mount {
  const target = path.normalize(containerPath);
  if (volume.kind === 'directory') return { kind: 'image', target, lowerDirs: volume.lowerDirs, mountpoint: volume.mountpoint };
  return bind(volume.file, target, { sourceIsDirectory: false, readonly: true, idmapped, attributes: ATTRIBUTES });
}

function planAttributes({ containerPath, mountOptions }: CriMount): readonly MountAttribute[] {
  return mountOptions.map((option) => {
    const attribute = ATTRIBUTES.find((known) => known === option);
    if (attribute === undefined) throw invalidArgument(`mount of ${containerPath}: option "${option}" is none of ${ATTRIBUTES.join(', ')}`);
    return attribute;
  });
}

function bind(source: string, target: string, options: Pick<BindMount, 'sourceIsDirectory' | 'readonly'> & Partial<BindMount>): Mount {
  return {
    kind: 'bind',
    source,
    target,
    recursiveReadonly: false,
    propagation: 'private',
    ...options,
  };
}
