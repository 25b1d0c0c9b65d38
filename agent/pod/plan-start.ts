// Owns what a start of a pod would ask of the runtime, for `explain --dry-run FILE start`. Pure: nothing is made, nothing is started.
import type { ContainerConfig, PodSandboxConfig } from '../../cri-proto/gen/api.ts';
import { podCgroupPath } from '../resource/pod-cgroups.ts';
import type { DesiredPod } from '../source/source.ts';
import { imageVolumes, planVolumes, volumePaths } from '../volume/plan.ts';
import { type ConfigNode, planContainerConfig, planSandboxConfig } from './cri-config.ts';
import type { DnsSources } from './dns.ts';
import { FIRST_RANGE, hasOwnUsers } from './user-range.ts';

export interface StartPlan {
  readonly sandboxConfig: PodSandboxConfig;
  readonly containerConfigs: readonly ContainerConfig[];
}

export interface StartInput {
  readonly desired: DesiredPod;
  readonly node: ConfigNode;
  readonly dns: DnsSources;
  readonly cgroupRoot: string;
  /** The addresses that a real start would get from the network. */
  readonly podIps: readonly string[];
}

/** The image stays as written, and its user unknown: what needs the image is decided at the real start. */
export function planStart({ desired, node, dns, cgroupRoot, podIps }: StartInput): StartPlan {
  const { pod } = desired;
  const users = hasOwnUsers(pod) ? FIRST_RANGE : undefined;
  const volumes = volumePaths(planVolumes(pod, node.paths));
  return {
    sandboxConfig: planSandboxConfig({ desired, attempt: 0, cgroupParent: podCgroupPath(cgroupRoot, pod), users, dns, node }),
    containerConfigs: (pod.spec?.containers ?? []).map((container) =>
      planContainerConfig({
        ...{ desired, container, restartCount: 0, backoffStep: 0, volumes, imageVolumes: imageVolumes(pod), users, node },
        ...{ imageRef: container.image ?? '', imageUser: { username: '' } },
        podIps: pod.spec?.hostNetwork ? node.hostIps : podIps,
      }),
    ),
  };
}
