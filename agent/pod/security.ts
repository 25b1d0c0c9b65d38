// Owns the security part of CRI configs: what a pod's and a container's securityContext say together. Pure.
import path from 'node:path';
import type { V1AppArmorProfile, V1Container, V1Pod, V1SELinuxOptions, V1SeccompProfile, V1SecurityContext } from '@kubernetes/client-node';
import {
  type DeepPartial,
  type LinuxContainerSecurityContext,
  type LinuxSandboxSecurityContext,
  NamespaceMode,
  type NamespaceOption,
  SecurityProfile_ProfileType as ProfileType,
  type SELinuxOption,
  type SecurityProfile,
} from '../../cri-proto/gen/api.ts';
import { renderUserNamespace, type UserRange } from './user-range.ts';

/** What containers do not see of /proc and /sys: the list that kubelets send. */
export const MASKED_PATHS: readonly string[] = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
];

export const READONLY_PATHS: readonly string[] = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

export function planNamespaces(pod: V1Pod, users: UserRange | undefined): DeepPartial<NamespaceOption> {
  const { hostNetwork, hostPID, hostIPC, shareProcessNamespace } = pod.spec ?? {};
  return {
    network: hostNetwork ? NamespaceMode.NODE : NamespaceMode.POD,
    pid: hostPID ? NamespaceMode.NODE : shareProcessNamespace ? NamespaceMode.POD : NamespaceMode.CONTAINER,
    ipc: hostIPC ? NamespaceMode.NODE : NamespaceMode.POD,
    targetId: '',
    ...(users === undefined ? {} : { usernsOptions: renderUserNamespace(users) }),
  };
}

// Where a kubelet without seccompDefault leaves a container unfiltered, here the runtime's default profile holds unless the manifest
// says Unconfined: what a workload gets without asking is the safer of the two. A privileged container is not filtered.
function planSeccomp(profile: V1SeccompProfile | undefined, privileged: boolean, seccompDir: string): DeepPartial<SecurityProfile> {
  if (profile?.type === 'Localhost')
    return { profileType: ProfileType.Localhost, localhostRef: path.join(seccompDir, profile.localhostProfile ?? '') };
  const unconfined = profile === undefined ? privileged : profile.type === 'Unconfined';
  return { profileType: unconfined ? ProfileType.Unconfined : ProfileType.RuntimeDefault };
}

/** Without a word the runtime decides: the default profile where the host has AppArmor. */
function planAppArmor(profile: V1AppArmorProfile | undefined): { readonly apparmor?: DeepPartial<SecurityProfile> } {
  if (profile === undefined) return {};
  if (profile.type === 'Localhost')
    return { apparmor: { profileType: ProfileType.Localhost, localhostRef: profile.localhostProfile ?? '' } };
  return { apparmor: { profileType: profile.type === 'Unconfined' ? ProfileType.Unconfined : ProfileType.RuntimeDefault } };
}

function planSelinux(options: V1SELinuxOptions | undefined): { readonly selinuxOptions?: DeepPartial<SELinuxOption> } {
  return options === undefined ? {} : { selinuxOptions: options };
}

const id = (value: number | undefined) => (value === undefined ? {} : { value: BigInt(value) });

export function planSandboxSecurity(pod: V1Pod, users?: UserRange): DeepPartial<LinuxSandboxSecurityContext> {
  const { runAsUser, runAsGroup, supplementalGroups, seLinuxOptions } = pod.spec?.securityContext ?? {};
  const privileged = pod.spec?.containers.some((container) => container.securityContext?.privileged) ?? false;
  return {
    namespaceOptions: planNamespaces(pod, users),
    privileged,
    ...(runAsUser === undefined ? {} : { runAsUser: id(runAsUser) }),
    // CRI refuses a group without a user.
    ...(runAsGroup === undefined || runAsUser === undefined ? {} : { runAsGroup: id(runAsGroup) }),
    supplementalGroups: (supplementalGroups ?? []).map(BigInt),
    ...planSelinux(seLinuxOptions),
    // The pause process needs nothing that the default profile forbids, whatever its containers may.
    seccomp: { profileType: ProfileType.RuntimeDefault },
  };
}

/** What the image says about its user, for runAsNonRoot. */
export interface ImageUser {
  readonly uid?: bigint;
  readonly username: string;
}

export interface ContainerUsers extends ImageUser {
  /** The pod's own ids, when its root is not the host's. */
  readonly users?: UserRange | undefined;
}

const SHARED = ['runAsUser', 'runAsGroup', 'runAsNonRoot', 'seccompProfile', 'appArmorProfile', 'seLinuxOptions'] as const;

type SharedFields = Pick<V1SecurityContext, (typeof SHARED)[number]>;

/** The container's word goes before the pod's, field by field. */
function effective(pod: V1Pod, container: V1Container): SharedFields {
  const whole = pod.spec?.securityContext ?? {};
  const own = container.securityContext ?? {};
  return Object.fromEntries(
    SHARED.flatMap((field) => {
      const value = own[field] ?? whole[field];
      return value === undefined ? [] : [[field, value]];
    }),
  );
}

/** The sentence for a container that must not run as root and would. */
export function rootProblem(pod: V1Pod, container: V1Container, image: ImageUser): string | undefined {
  const { runAsUser, runAsNonRoot } = effective(pod, container);
  if (!runAsNonRoot) return undefined;
  if (runAsUser !== undefined)
    return runAsUser === 0 ? "container's runAsUser breaks non-root policy: it is 0 while runAsNonRoot is true" : undefined;
  if (image.username !== '')
    return `container has runAsNonRoot and image has non-numeric user (${image.username}), cannot verify user is non-root; set runAsUser`;
  return image.uid === undefined || image.uid === 0n
    ? 'container has runAsNonRoot and image will run as root; set runAsUser to another user'
    : undefined;
}

export function planContainerSecurity(
  pod: V1Pod,
  container: V1Container,
  image: ContainerUsers,
  seccompDir: string,
): DeepPartial<LinuxContainerSecurityContext> {
  const { runAsUser, runAsGroup, seccompProfile, appArmorProfile, seLinuxOptions } = effective(pod, container);
  const own = container.securityContext ?? {};
  const privileged = own.privileged ?? false;
  // A group alone needs the image's user beside it: CRI refuses run_as_group without a user.
  const user =
    runAsUser !== undefined
      ? { runAsUser: id(runAsUser) }
      : runAsGroup === undefined
        ? {}
        : image.username !== ''
          ? { runAsUsername: image.username }
          : { runAsUser: { value: image.uid ?? 0n } };
  return {
    ...user,
    ...(runAsGroup === undefined ? {} : { runAsGroup: id(runAsGroup) }),
    supplementalGroups: (pod.spec?.securityContext?.supplementalGroups ?? []).map(BigInt),
    capabilities: { addCapabilities: own.capabilities?.add ?? [], dropCapabilities: own.capabilities?.drop ?? [] },
    privileged,
    namespaceOptions: planNamespaces(pod, image.users),
    readonlyRootfs: own.readOnlyRootFilesystem ?? false,
    noNewPrivs: own.allowPrivilegeEscalation === false,
    maskedPaths: privileged ? [] : [...MASKED_PATHS],
    readonlyPaths: privileged ? [] : [...READONLY_PATHS],
    seccomp: planSeccomp(seccompProfile, privileged, seccompDir),
    ...planAppArmor(appArmorProfile),
    ...planSelinux(seLinuxOptions),
  };
}
