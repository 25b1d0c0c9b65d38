// Owns the way from the intents of runtime/cgroup to the OCI specification's resources. Pure.
import type { Resources } from '../cgroup/cgroup.ts';
import type { OciResources } from './types.ts';

const absent = (value: unknown) => value === undefined;

function given<T extends object>(fields: T): T | undefined {
  const entries = Object.entries(fields).filter(([, value]) => !absent(value));
  return entries.length === 0 ? undefined : (Object.fromEntries(entries) as T);
}

/** `unified`: the host's controllers are in cgroup2; on others a runtime would refuse raw cgroup2 files, and ours writes what v1 can express. */
export function planOciResources(resources: Resources, { unified }: { readonly unified: boolean }): Omit<OciResources, 'devices'> {
  const { memoryLimitBytes, memorySwapLimitBytes, cpuShares, cpuQuotaUs, cpuPeriodUs, cpusetCpus, cpusetMems, pidsLimit } = resources;
  const hugepages = Object.entries(resources.hugepageLimits ?? {}).map(([pageSize, limit]) => ({ pageSize, limit }));
  const parts = given({
    memory: given({ limit: memoryLimitBytes, swap: memorySwapLimitBytes }),
    cpu: given({ shares: cpuShares, quota: cpuQuotaUs, period: cpuPeriodUs, cpus: cpusetCpus, mems: cpusetMems }),
    pids: pidsLimit === undefined ? undefined : { limit: pidsLimit },
    hugepageLimits: hugepages.length === 0 ? undefined : hugepages,
    unified: unified ? planUnified(resources) : undefined,
  });
  return (parts ?? {}) as Omit<OciResources, 'devices'>;
}

function planUnified(resources: Resources): Readonly<Record<string, string>> | undefined {
  const bytes = (value: bigint | undefined) => (value === undefined ? undefined : value < 0n ? 'max' : String(value));
  const { memoryOomGroup: group } = resources;
  return given({
    'memory.min': bytes(resources.memoryMinBytes),
    'memory.low': bytes(resources.memoryLowBytes),
    'memory.high': bytes(resources.memoryHighBytes),
    'memory.oom.group': group === undefined ? undefined : group ? '1' : '0',
    ...resources.unified,
  }) as Readonly<Record<string, string>> | undefined;
}
