// Owns what a request to change resources means: checked as a whole, then laid over what the container has. Pure.
import type { LinuxContainerResources } from '../../cri-proto/gen/api.ts';
import { invalidArgument } from '../errors.ts';

const CPU_PERIOD_MIN_US = 1000n;
const CPU_PERIOD_MAX_US = 1_000_000n;
/** cpu.cfs_quota_us and cpu.max take no less. */
const CPU_QUOTA_MIN_US = 1000n;
const OOM_SCORE_ADJ_MAX = 1000n;

/** "0-2,7", as cpuset(7) writes a list. */
const CPU_LIST = /^\d+(-\d+)?(,\d+(-\d+)?)*$/;

/** Throws INVALID_ARGUMENT for the first value that no kernel takes. Zero and empty say "leave as it is". */
export function checkResources(resources: LinuxContainerResources): void {
  const { cpuPeriod, cpuQuota, cpuShares, memoryLimitInBytes, memorySwapLimitInBytes, oomScoreAdj } = resources;
  const refuse = (field: string, value: bigint | string, rule: string) => {
    throw invalidArgument(`${field} ${typeof value === 'string' ? `"${value}"` : value} ${rule}`);
  };
  if (cpuPeriod !== 0n && (cpuPeriod < CPU_PERIOD_MIN_US || cpuPeriod > CPU_PERIOD_MAX_US))
    refuse('cpu_period', cpuPeriod, `is not between ${CPU_PERIOD_MIN_US} and ${CPU_PERIOD_MAX_US} microseconds`);
  if (cpuQuota < -1n || (cpuQuota > 0n && cpuQuota < CPU_QUOTA_MIN_US))
    refuse('cpu_quota', cpuQuota, `is neither -1 (unlimited) nor at least ${CPU_QUOTA_MIN_US} microseconds`);
  if (cpuShares < 0n) refuse('cpu_shares', cpuShares, 'is negative');
  if (memoryLimitInBytes < -1n) refuse('memory_limit_in_bytes', memoryLimitInBytes, 'is neither -1 (unlimited) nor a size');
  if (memorySwapLimitInBytes < -1n) refuse('memory_swap_limit_in_bytes', memorySwapLimitInBytes, 'is neither -1 (unlimited) nor a size');
  if (oomScoreAdj < -OOM_SCORE_ADJ_MAX || oomScoreAdj > OOM_SCORE_ADJ_MAX)
    refuse('oom_score_adj', oomScoreAdj, `is not between -${OOM_SCORE_ADJ_MAX} and ${OOM_SCORE_ADJ_MAX}`);
  for (const [field, list] of [
    ['cpuset_cpus', resources.cpusetCpus],
    ['cpuset_mems', resources.cpusetMems],
  ] as const)
    if (list !== '' && !CPU_LIST.test(list)) refuse(field, list, 'is not a list such as "0-2,7"');
  for (const { pageSize } of resources.hugepageLimits)
    if (!/^\d+[KMG]B$/.test(pageSize)) refuse('hugepage_limits.page_size', pageSize, 'is not of the form "2MB"');
  for (const [file, value] of Object.entries(resources.unified)) {
    if (!/^[a-z0-9_]+(\.[A-Za-z0-9_]+)+$/.test(file)) refuse('unified', file, 'is not the name of a cgroup2 file');
    if (file === 'pids.max' && !/^(max|\d+)$/.test(value)) refuse('unified pids.max', value, 'is neither "max" nor a number');
  }
}

/** The resources that a container has after the request. A memory limit above the limit of memory and swap takes that with it. */
export function mergeResources(current: LinuxContainerResources | undefined, asked: LinuxContainerResources): LinuxContainerResources {
  if (current === undefined) return asked;
  const sizes = new Map([...current.hugepageLimits, ...asked.hugepageLimits].map((limit) => [limit.pageSize, limit]));
  const memoryLimitInBytes = asked.memoryLimitInBytes || current.memoryLimitInBytes;
  const oldSwap = current.memorySwapLimitInBytes;
  const outgrown = oldSwap > 0n && (memoryLimitInBytes > oldSwap || memoryLimitInBytes < 0n);
  return {
    cpuPeriod: asked.cpuPeriod || current.cpuPeriod,
    cpuQuota: asked.cpuQuota || current.cpuQuota,
    cpuShares: asked.cpuShares || current.cpuShares,
    memoryLimitInBytes,
    memorySwapLimitInBytes: asked.memorySwapLimitInBytes || (outgrown ? memoryLimitInBytes : oldSwap),
    oomScoreAdj: asked.oomScoreAdj || current.oomScoreAdj,
    cpusetCpus: asked.cpusetCpus || current.cpusetCpus,
    cpusetMems: asked.cpusetMems || current.cpusetMems,
    hugepageLimits: [...sizes.values()],
    unified: { ...current.unified, ...asked.unified },
  };
}
