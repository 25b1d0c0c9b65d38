// Owns the way from CRI resources to the intents of runtime/cgroup.
import type { LinuxContainerResources } from '../../cri-proto/gen/api.ts';
import type { Resources } from '../cgroup/cgroup.ts';
import { failedPrecondition, invalidArgument } from '../errors.ts';
import { hasCode } from '../linux/errno.ts';

/** Zero, empty and absent fields mean "leave as it is" in CRI. `more`: files of cgroup2 besides those of the request, which win. */
export function planResources(cri: LinuxContainerResources | undefined, more: Readonly<Record<string, string>> = {}): Resources {
  if (cri === undefined) return planUnified(more);
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
    ...planUnified({ ...more, ...cri.unified }),
  };
}

/** unified entries that cgroup v1 can express too become intents; the rest is written as it is. */
function planUnified(unified: Readonly<Record<string, string>>): Resources {
  const { 'memory.oom.group': oomGroup, 'pids.max': pids, ...rest } = unified;
  return {
    ...(oomGroup === undefined ? {} : { memoryOomGroup: oomGroup === '1' }),
    ...(pids === undefined ? {} : { pidsLimit: planPids(pids) }),
    ...(Object.keys(rest).length === 0 ? {} : { unified: rest }),
  };
}

function planPids(text: string): bigint {
  if (text === 'max') return -1n;
  if (!/^\d{1,18}$/.test(text)) throw invalidArgument(`pids.max: "${text}" is neither max nor a number`);
  return BigInt(text);
}

/** What the kernel answers to a value that it cannot take, to a device that is not there, and to a file that no controller has. */
const REFUSED = ['EINVAL', 'ERANGE', 'ENODEV', 'EACCES', 'ENOENT'];

/** A refused write is the request's mistake, or too early; the error names file and value. */
export function resourceError(error: unknown): unknown {
  for (let link = error; link instanceof Error; link = link.cause) {
    // What cgroup v1 says of memory; cgroup2 takes any limit, and kills where it cannot reclaim.
    if (hasCode(link, 'EBUSY'))
      return failedPrecondition(
        'the container uses more memory than this limit, and the kernel cannot take it back: nothing was changed',
        error,
      );
    if (REFUSED.some((code) => hasCode(link, code))) return invalidArgument('resources', error);
  }
  return error;
}
