// Owns `explain --dry-run`: a manifest's pods as the CRI configs that a start would send, with <words> where only a start knows. Pure but
// for reading the manifest and the machine.
import fs from 'node:fs';
import path from 'node:path';
import { ContainerConfig, PodSandboxConfig } from '../../cri-proto/gen/api.ts';
import { detectCgroupHost } from '../../runtime/cgroup/host.ts';
import { gatherCgroupRootFacts, planCgroupRoot } from '../../runtime/cgroup/root.ts';
import { readResolvConf } from '../dns/node-dns.ts';
import { CommandError } from '../error.ts';
import { parseManifest } from '../manifest/manifest.ts';
import { readHost } from '../node/host.ts';
import type { ConfigNode } from '../pod/cri-config.ts';
import type { DnsSources } from '../pod/dns.ts';
import { planStart, type StartPlan } from '../pod/plan-start.ts';
import { renderProblem } from '../source/render-problem.ts';
import type { DesiredPod } from '../source/source.ts';
import type { DryRunConfigs, RuntimeHalf } from './runtime-half.ts';
import type { NodeSettings } from './settings.ts';

export interface DryRunPod {
  readonly desired: DesiredPod;
  readonly configs: DryRunConfigs;
}

export async function planDryRun(file: string, settings: NodeSettings, runtime: RuntimeHalf): Promise<readonly DryRunPod[]> {
  const { nodeName, rootDir, runDir, logDir, cgroupRoot, dns } = settings;
  const { clusterDomain, clusterServers } = dns;
  if (!fs.existsSync(file)) throw new CommandError(`${file} does not exist`);
  const { pods, problems } = parseManifest(fs.readFileSync(file), { file, nodeName, source: 'run' });
  for (const problem of problems) process.stderr.write(`tskubelet: ${renderProblem(problem)}\n`);
  if (pods.length === 0) throw new CommandError(`${file} has no pod that could be started`);
  const host = await readHost();
  const flag = cgroupRoot === undefined ? {} : { flag: cgroupRoot };
  const { root } = planCgroupRoot(gatherCgroupRootFacts(detectCgroupHost(), { ...flag, suffix: runtime.nodeSuffix(runDir) }));
  const node: ConfigNode = { nodeName, ...host, clusterDomain, paths: { podsDir: path.join(rootDir, 'pods'), logDir } };
  const sources: DnsSources = {
    host: await readResolvConf(dns.resolvConf),
    clusterServers: clusterServers.length > 0 ? clusterServers : ["<the bridge's address>"],
    clusterDomain,
  };
  return pods.map((desired) => ({
    desired,
    configs: {
      ...encodeStart(planStart({ desired, node, dns: sources, cgroupRoot: root, podIps: ["<the pod's address>"] })),
      rootDir,
      runDir,
      ...findRuntime(desired, settings),
    },
  }));
}

/** RuntimeClass objects are the API server's: here the class is the handler. */
function findRuntime({ pod }: DesiredPod, { runtimeHandlers }: NodeSettings): Pick<DryRunConfigs, 'ociRuntime'> {
  const handler = pod.spec?.runtimeClassName ?? 'tskubelet';
  if (handler === 'tskubelet') return {};
  const ociRuntime = runtimeHandlers[handler];
  if (ociRuntime === undefined)
    throw new CommandError(
      `pod ${pod.metadata?.name} has the runtimeClassName "${handler}": say which runtime that is by --runtime-handler ${handler}=PATH`,
    );
  return { ociRuntime };
}

function encodeStart({ sandboxConfig, containerConfigs }: StartPlan): Pick<DryRunConfigs, 'sandbox' | 'containers'> {
  return {
    sandbox: PodSandboxConfig.encode(sandboxConfig).finish(),
    containers: containerConfigs.map((config) => ContainerConfig.encode(config).finish()),
  };
}
