// Owns the way from CRI resources to the intents of runtime/cgroup.
import type { LinuxContainerResources } from '../../cri-proto/gen/api.ts';
import type { Resources } from '../cgroup/cgroup.ts';

/** Zero, empty and absent fields mean "leave as it is" in CRI. */
export function planResources(cri: LinuxContainerResources | undefined): Resources {
  if (cri === undefined) return {};
  const hugepages = cri.hugepageLimits.map(({ pageSize, limit }) => [pageSize, limit] as const);
  return {
    ...(cri.memoryLimitInBytes === 0n ? {} : { memoryLimitBytes: cri.memoryLimitInBytes }),
    ...(cri.memorySwapLimitInBytes === 0n ? {} : { memorySwapLimitBytes: cri.memorySwapLimitInBytes }),
    ...(cri.cpuShares === 0n ? {} : { cpuShares: cri.cpuShares }),
    ...(cri.cpuQuota === 0n ? {} : { cpuQuotaUs: cri.cpuQuota }),
    ...(cri.cpuPeriod === 0n ? {} : { cpuPeriodUs: cri.cpuPeriod }),
    ...(cri.cpusetCpus === '' ? {} : { cpusetCpus: cri.cpusetCpus }),
    ...(cri.cpusetMems === '' ? {} : { cpusetMems: cri.cpusetMems }),
    ...(hugepages.length === 0 ? {} : { hugepageLimits: Object.fromEntries(hugepages) }),
    ...planUnified(cri.unified),
  };
}

/** unified entries that cgroup v1 can express too become intents; the rest is written as it is. */
function planUnified(unified: Readonly<Record<string, string>>): Resources {
  const { 'memory.oom.group': oomGroup, 'pids.max': pids, ...rest } = unified;
  return {
    ...(oomGroup === undefined ? {} : { memoryOomGroup: oomGroup === '1' }),
    ...(pids === undefined ? {} : { pidsLimit: pids === 'max' ? -1n : BigInt(pids) }),
    ...(Object.keys(rest).length === 0 ? {} : { unified: rest }),
  };
}
