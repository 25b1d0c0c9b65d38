// Owns `explain --dry-run`: a manifest's pods as the CRI configs that a start would send, with <words> where only a start knows. Pure but
// for reading the manifest and the machine.
import fs from 'node:fs';
import path from 'node:path';
import { ContainerConfig, PodSandboxConfig } from '../../cri-proto/gen/api.ts';
import { detectCgroupHost } from '../../runtime/cgroup/host.ts';
import { gatherCgroupRootFacts, planCgroupRoot } from '../../runtime/cgroup/root.ts';
import { CommandError } from '../error.ts';
import { parseManifest } from '../manifest/manifest.ts';
import { readHost } from '../node/host.ts';
import { type ConfigNode, planContainerConfig, planSandboxConfig } from '../pod/cri-config.ts';
import { FIRST_RANGE, hasOwnUsers } from '../pod/user-range.ts';
import { podCgroupPath } from '../resource/pod-cgroups.ts';
import { renderProblem } from '../source/render-problem.ts';
import type { DesiredPod } from '../source/source.ts';
import { imageVolumes, planVolumes, volumePaths } from '../volume/plan.ts';
import type { DryRunConfigs, RuntimeHalf } from './runtime-half.ts';
import type { NodeSettings } from './settings.ts';

export interface DryRunPod {
  readonly desired: DesiredPod;
  readonly configs: DryRunConfigs;
}

export async function planDryRun(file: string, settings: NodeSettings, runtime: RuntimeHalf): Promise<readonly DryRunPod[]> {
  const { nodeName, rootDir, runDir, logDir, cgroupRoot } = settings;
  if (!fs.existsSync(file)) throw new CommandError(`${file} does not exist`);
  const { pods, problems } = parseManifest(fs.readFileSync(file), { file, nodeName, source: 'run' });
  for (const problem of problems) process.stderr.write(`tskubelet: ${renderProblem(problem)}\n`);
  if (pods.length === 0) throw new CommandError(`${file} has no pod that could be started`);
  const host = await readHost();
  const flag = cgroupRoot === undefined ? {} : { flag: cgroupRoot };
  const { root } = planCgroupRoot(gatherCgroupRootFacts(detectCgroupHost(), { ...flag, suffix: runtime.nodeSuffix(runDir) }));
  const node: ConfigNode = { nodeName, ...host, paths: { podsDir: path.join(rootDir, 'pods'), logDir } };
  return pods.map((desired) => ({
    desired,
    configs: { ...encodeConfigs(desired, node, podCgroupPath(root, desired.pod)), rootDir, runDir },
  }));
}

function encodeConfigs(desired: DesiredPod, node: ConfigNode, cgroupParent: string): Pick<DryRunConfigs, 'sandbox' | 'containers'> {
  const users = hasOwnUsers(desired.pod) ? FIRST_RANGE : undefined;
  const sandbox = planSandboxConfig({ desired, attempt: 0, cgroupParent, users, node });
  const volumes = volumePaths(planVolumes(desired.pod, node.paths));
  const containers = (desired.pod.spec?.containers ?? []).map((container) =>
    planContainerConfig({
      ...{ desired, container, volumes, imageVolumes: imageVolumes(desired.pod), users, node, restartCount: 0, backoffStep: 0 },
      imageRef: container.image ?? '',
      imageUser: { username: '' },
      podIps: desired.pod.spec?.hostNetwork ? node.hostIps : ["<the pod's address>"],
    }),
  );
  return {
    sandbox: PodSandboxConfig.encode(sandbox).finish(),
    containers: containers.map((config) => ContainerConfig.encode(config).finish()),
  };
}
