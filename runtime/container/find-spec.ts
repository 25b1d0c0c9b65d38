// Owns looking up on the host what a container's spec depends on: user, mounts' sources, devices, placement.

import { NamespaceMode as Mode } from '../../cri-proto/gen/api.ts';
import { openCgroup, procsFiles } from '../cgroup/apply.ts';
import type { RuntimeContext } from '../context.ts';
import type { Snapshot } from '../image/store.ts';
import { listHostDevices } from '../process/host-devices.ts';
import type { CgroupPlacement, ContainerSpec, Device } from '../program/spec.ts';
import { modeOf } from '../sandbox/modes.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { planRlimits } from './annotations.ts';
import type { Container } from './container.ts';
import { findDevices } from './devices.ts';
import { findImageVolumes, imageReferences } from './image-volumes.ts';
import { isDirectory } from './mount-source.ts';
import { planSeccomp } from './seccomp.ts';
import { hasSelinux, planSelinuxLabels } from './selinux.ts';
import { planContainerSpec } from './spec.ts';
import { findIdentity } from './user.ts';
import { hostId, planIdMaps } from './user-namespace.ts';

/** The spec of a created container, as a start would use it now. */
export async function findSpec(context: RuntimeContext, container: Container, sandbox: Sandbox): Promise<ContainerSpec> {
  const { paths, cgroups } = context;
  const { record } = container;
  const { config, imageConfig, id } = record;
  const snapshot = await prepareRootfs(context, container, sandbox);
  const sandboxConfig = sandbox.record.config;
  const hostNetwork = modeOf(sandboxConfig, 'network') === Mode.NODE;
  const sources = await Promise.all(
    config.mounts.filter(({ hostPath }) => hostPath !== '').map(async ({ hostPath }) => [hostPath, await isDirectory(hostPath)] as const),
  );
  const asked = (await Promise.all(config.devices.map(findDevices))).flat();
  const devices: readonly Device[] = config.linux?.securityContext?.privileged ? uniqueByPath([...listHostDevices(), ...asked]) : asked;
  const run = paths.sandboxRun(sandbox.id);
  const sandboxFiles = new Map([
    ['/etc/hostname', `${run}/hostname`],
    ['/etc/hosts', `${run}/hosts`],
    ['/etc/resolv.conf', `${run}/resolv.conf`],
  ]);
  return planContainerSpec(config, sandboxConfig, imageConfig, {
    rootfs: {
      lowerDirs: snapshot.lowerDirs,
      upperDir: snapshot.upperDir,
      workDir: snapshot.workDir,
      isVolatile: snapshot.isVolatile,
      mountpoint: paths.containerRootfs(id),
      readonly: false,
    },
    user: record.user ?? (await findIdentity(config.linux?.securityContext, imageConfig.user, [snapshot.upperDir, ...snapshot.lowerDirs])),
    sourceIsDirectory: new Map(sources),
    imageVolumes: findImageVolumes(paths, id, config, snapshot.volumeDirs),
    devices,
    cgroup: placement(context, container),
    cgroupMount: !cgroups.enabled ? 'none' : cgroups.host.mode === 'unified' ? 'cgroup2' : 'host-bind',
    hostname: hostNetwork ? '' : sandboxConfig.hostname,
    shmSource: modeOf(sandboxConfig, 'ipc') === Mode.NODE ? '/dev/shm' : paths.sandboxShm(sandbox.id),
    sandboxFiles,
    seccomp: planSeccomp(config.linux?.securityContext, record.seccompProfile),
    apparmorProfile: record.apparmorProfile,
    selinux: planSelinuxLabels(config.linux?.securityContext, hasSelinux()),
    rlimits: planRlimits(config, sandboxConfig),
  });
}

/** Writable directories for the container's root, owned by whoever is root in it; the layers of its image and its image volumes are held. */
export function prepareRootfs({ images }: RuntimeContext, { record }: Container, sandbox: Sandbox): Promise<Snapshot> {
  const idMaps = planIdMaps(sandbox.record.config.linux?.securityContext?.namespaceOptions);
  return images.prepareSnapshot(record.id, record.imageId, {
    volumes: imageReferences(record.config),
    ...(idMaps === undefined ? {} : { ownerUid: hostId('uid', 0, idMaps.uidMappings), ownerGid: hostId('gid', 0, idMaps.gidMappings) }),
  });
}

/** The last one wins: what the request names goes before what every privileged container gets. */
function uniqueByPath(devices: readonly Device[]): readonly Device[] {
  return [...new Map(devices.map((device) => [device.path, device])).values()];
}

/** Where its init will be placed: empty until start has made the cgroup. */
function placement({ cgroups }: RuntimeContext, { record }: Container): CgroupPlacement {
  return record.cgroupPath === '' ? { v1Procs: [] } : procsFiles(openCgroup(cgroups.host, record.cgroupPath));
}
