// Owns the one translation of a Pod into CRI configs. Pure: whatever must be looked up on the host comes in as input.
import { createHash } from 'node:crypto';
import type { V1Container, V1Pod } from '@kubernetes/client-node';
import {
  ContainerConfig,
  type DeepPartial,
  type Mount,
  MountPropagation,
  PodSandboxConfig,
  type PortMapping,
  Protocol,
} from '../../cri-proto/gen/api.ts';
import { expandEnv, expandWords } from '../manifest/expand.ts';
import { planContainerResources } from '../resource/container-resources.ts';
import type { DesiredPod } from '../source/source.ts';
import { isTmpfs } from '../volume/plan.ts';
import { planSubPaths, subPathOf } from '../volume/sub-path.ts';
import { type DnsSources, planDns } from './dns.ts';
import { computeKernelHostname } from './hosts.ts';
import * as labels from './labels.ts';
import { containerLogPath, hostsPath, type NodePaths, podLogDir, seccompDir } from './paths.ts';
import { type ImageUser, planContainerSecurity, planSandboxSecurity } from './security.ts';
import { renderMappings, type UserRange } from './user-range.ts';

/** What is the same for every pod of the node. */
export interface ConfigNode {
  readonly nodeName: string;
  readonly hostIps: readonly string[];
  readonly memoryBytes: bigint;
  /** Owners in a tmpfs can be mapped. */
  readonly mapsTmpfs: boolean;
  /** cluster.local */
  readonly clusterDomain: string;
  readonly paths: NodePaths;
}

export interface SandboxInput {
  readonly desired: DesiredPod;
  readonly attempt: number;
  /** Empty: the runtime's own place for it. */
  readonly cgroupParent: string;
  /** The pod's own ids, when its root is not the host's. */
  readonly users: UserRange | undefined;
  readonly dns: DnsSources;
  readonly node: ConfigNode;
}

function podNames(pod: V1Pod): { uid: string; namespace: string; name: string } {
  const { uid = '', namespace = 'default', name = '' } = pod.metadata ?? {};
  return { uid, namespace, name };
}

const podLabels = (pod: V1Pod) => ({
  [labels.POD_NAME]: podNames(pod).name,
  [labels.POD_NAMESPACE]: podNames(pod).namespace,
  [labels.POD_UID]: podNames(pod).uid,
});

export function planSandboxConfig({ desired, attempt, cgroupParent, users, dns, node }: SandboxInput): PodSandboxConfig {
  const { pod, hash, origin } = desired;
  const hostNetwork = pod.spec?.hostNetwork ?? false;
  return PodSandboxConfig.fromPartial({
    metadata: { ...podNames(pod), attempt },
    // With the host's network comes the host's name.
    hostname: hostNetwork ? '' : computeKernelHostname(pod, node.clusterDomain),
    logDirectory: podLogDir(node.paths, podNames(pod)),
    dnsConfig: planDns(pod, dns).config,
    portMappings: hostNetwork ? [] : planPortMappings(pod),
    labels: { ...pod.metadata?.labels, ...podLabels(pod) },
    annotations: {
      ...pod.metadata?.annotations,
      [labels.CONFIG_HASH]: hash,
      [labels.CONFIG_SOURCE]: origin.source,
      [labels.AGENT_NODE]: node.nodeName,
      [labels.ORIGIN_FILE]: origin.file,
    },
    linux: { cgroupParent, securityContext: planSandboxSecurity(pod, users) },
  });
}

const PROTOCOLS: Readonly<Record<string, Protocol>> = { TCP: Protocol.TCP, UDP: Protocol.UDP, SCTP: Protocol.SCTP };

function planPortMappings(pod: V1Pod): DeepPartial<PortMapping>[] {
  return (pod.spec?.containers ?? [])
    .flatMap(({ ports }) => ports ?? [])
    .filter(({ hostPort }) => hostPort !== undefined && hostPort > 0)
    .map(({ protocol, containerPort, hostPort, hostIP }) => ({
      protocol: PROTOCOLS[protocol ?? 'TCP'] ?? Protocol.TCP,
      containerPort,
      hostPort: hostPort ?? 0,
      hostIp: hostIP ?? '',
    }));
}

export interface ContainerInput {
  readonly desired: DesiredPod;
  readonly container: V1Container;
  readonly restartCount: number;
  readonly backoffStep: number;
  /** The id that ensureImage found, and whom the image runs as. */
  readonly imageRef: string;
  readonly imageUser: ImageUser;
  readonly podIps: readonly string[];
  /** Volume name to its path on the host. */
  readonly volumes: ReadonlyMap<string, string>;
  /** Volume name to the image that it shows. */
  readonly imageVolumes: ReadonlyMap<string, string>;
  readonly users: UserRange | undefined;
  readonly node: ConfigNode;
}

export function planContainerConfig(input: ContainerInput): ContainerConfig {
  const { desired, container, restartCount, node } = input;
  const { pod } = desired;
  const env = expandEnv(container, pod, { podIPs: input.podIps, hostIPs: node.hostIps });
  return ContainerConfig.fromPartial({
    metadata: { name: container.name, attempt: restartCount },
    image: { image: input.imageRef, userSpecifiedImage: container.image ?? '' },
    command: expandWords(container.command, env),
    args: expandWords(container.args, env),
    workingDir: container.workingDir ?? '',
    envs: [...env].map(([key, value]) => ({ key, value: Buffer.from(value) })),
    mounts: planMounts(input, env),
    labels: { ...podLabels(pod), [labels.CONTAINER_NAME]: container.name },
    annotations: planAnnotations(input),
    logPath: containerLogPath(container.name, restartCount),
    stdin: container.stdin ?? false,
    stdinOnce: container.stdinOnce ?? false,
    tty: container.tty ?? false,
    linux: {
      resources: planContainerResources(pod, container, node.memoryBytes),
      securityContext: planContainerSecurity(pod, container, { ...input.imageUser, users: input.users }, seccompDir(node.paths)),
    },
  });
}

function planAnnotations({ desired, container, restartCount, backoffStep }: ContainerInput): Record<string, string> {
  const { pod } = desired;
  return {
    [labels.CONTAINER_HASH]: createHash('sha256').update(JSON.stringify(container)).digest('hex').slice(0, 8),
    [labels.RESTART_COUNT]: String(restartCount),
    [labels.BACKOFF_STEP]: String(backoffStep),
    [labels.TERMINATION_MESSAGE_PATH]: container.terminationMessagePath ?? '/dev/termination-log',
    [labels.TERMINATION_MESSAGE_POLICY]: container.terminationMessagePolicy ?? 'File',
    [labels.CONTAINER_TYPE]: 'container',
    [labels.GRACE_PERIOD]: String(pod.spec?.terminationGracePeriodSeconds ?? 30),
    ...(container.ports === undefined ? {} : { [labels.CONTAINER_PORTS]: JSON.stringify(container.ports) }),
  };
}

const PROPAGATION: Readonly<Record<string, MountPropagation>> = {
  HostToContainer: MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
  Bidirectional: MountPropagation.PROPAGATION_BIDIRECTIONAL,
};

function planMounts(
  { desired, container, volumes, imageVolumes, users, node }: ContainerInput,
  env: ReadonlyMap<string, string>,
): DeepPartial<Mount>[] {
  const parts = planSubPaths({ container, env, volumes, paths: node.paths, uid: podNames(desired.pod).uid });
  const mounts: DeepPartial<Mount>[] = (container.volumeMounts ?? []).map((mount, index) => {
    const { name, mountPath, readOnly = false, mountPropagation = 'None', recursiveReadOnly = 'Disabled' } = mount;
    const image = imageVolumes.get(name);
    if (image !== undefined) return { containerPath: mountPath, image: { image }, imageSubPath: subPathOf(mount, env), readonly: true };
    const hostPath = parts.get(index)?.hostPath ?? volumes.get(name);
    if (hostPath === undefined) throw new Error(`volume "${name}", mounted at ${mountPath}, is not one of the pod's`);
    return {
      containerPath: mountPath,
      hostPath,
      readonly: readOnly,
      propagation: PROPAGATION[mountPropagation] ?? MountPropagation.PROPAGATION_PRIVATE,
      recursiveReadOnly: recursiveReadOnly !== 'Disabled',
    };
  });
  // A volume of the pod's own over it goes first, as everywhere.
  if (!mounts.some(({ containerPath }) => containerPath === '/etc/hosts'))
    mounts.push({ containerPath: '/etc/hosts', hostPath: hostsPath(node.paths, podNames(desired.pod).uid) });
  if (users === undefined) return mounts;
  // What the container's root writes is root's on the host too: a volume may go from pod to pod. A tmpfs goes with its pod: where its owners
  // cannot be mapped it belongs to the pod's root.
  const mappings = { uidMappings: renderMappings(users), gidMappings: renderMappings(users) };
  const asIs = new Set(node.mapsTmpfs ? [] : (desired.pod.spec?.volumes ?? []).filter(isTmpfs).map(({ name }) => name));
  return mounts.map((mount, index) => (asIs.has(container.volumeMounts?.[index]?.name ?? '') ? mount : { ...mount, ...mappings }));
}
