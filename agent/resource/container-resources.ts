// Owns LinuxContainerResources of a container: what its requests and limits mean to the kernel. Pure.
import type { V1Container, V1Pod } from '@kubernetes/client-node';
import { LinuxContainerResources } from '../../cri-proto/gen/api.ts';
import { toBytes, toMilliCpu } from '../manifest/quantity.ts';
import { CPU_PERIOD_US, cpuQuotaUs, cpuShares } from './cpu.ts';
import { computeQosClass, requestOf } from './qos.ts';

const GUARANTEED_OOM_SCORE_ADJ = -997;
const BEST_EFFORT_OOM_SCORE_ADJ = 1000;
/** Between what is critical to the node and what asked for nothing. */
const MIN_BURSTABLE_OOM_SCORE_ADJ = 3;

/** The more of the node's memory a burstable container asked for, the later the kernel kills it. */
export function computeOomScoreAdj(pod: V1Pod, container: V1Container, nodeMemoryBytes: bigint): number {
  const qos = computeQosClass(pod);
  if (qos === 'Guaranteed') return GUARANTEED_OOM_SCORE_ADJ;
  if (qos === 'BestEffort') return BEST_EFFORT_OOM_SCORE_ADJ;
  const request = toBytes(requestOf(container, 'memory') ?? '0');
  const score = nodeMemoryBytes > 0n ? 1000 - Number((1000n * request) / nodeMemoryBytes) : 999;
  return Math.min(Math.max(score, MIN_BURSTABLE_OOM_SCORE_ADJ), BEST_EFFORT_OOM_SCORE_ADJ - 1);
}

export function planContainerResources(pod: V1Pod, container: V1Container, nodeMemoryBytes: bigint): LinuxContainerResources {
  const limits = container.resources?.limits ?? {};
  const memory = limits.memory === undefined ? 0n : toBytes(limits.memory);
  const cpu = limits.cpu === undefined ? 0n : toMilliCpu(limits.cpu);
  const hugepages = Object.entries(limits).filter(([resource]) => resource.startsWith('hugepages-'));
  return LinuxContainerResources.fromPartial({
    cpuShares: cpuShares(toMilliCpu(requestOf(container, 'cpu') ?? '0')),
    ...(cpu > 0n ? { cpuQuota: cpuQuotaUs(cpu), cpuPeriod: CPU_PERIOD_US } : {}),
    // Swap that equals memory is no swap: a limit that a container could evade by swapping would be none.
    ...(memory > 0n ? { memoryLimitInBytes: memory, memorySwapLimitInBytes: memory } : {}),
    oomScoreAdj: BigInt(computeOomScoreAdj(pod, container, nodeMemoryBytes)),
    // hugepages-2Mi is 2MB in the names of the hugetlb controller.
    hugepageLimits: hugepages.map(([resource, limit]) => ({
      pageSize: `${resource.slice('hugepages-'.length).replace(/i$/, '')}B`,
      limit: toBytes(limit),
    })),
    // The kernel kills all of a container or nothing of it: a half-dead program is worse than a restarted one.
    unified: { 'memory.oom.group': '1' },
  });
}
