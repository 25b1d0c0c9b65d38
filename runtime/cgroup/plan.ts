// Plans the files that express resources on a host. Pure; apply.ts writes them.
import type { CgroupHost, CgroupPlan, CgroupWrite, Resources, Unexpressed } from './cgroup.ts';

const SHARES_MIN = 2n;
const SHARES_MAX = 262144n;
const DEFAULT_PERIOD_US = 100_000n;

/** Joined on v1 though nothing be limited: they count what statistics tell. */
const COUNTED = ['memory', 'pids', 'cpuacct', 'blkio'];

/** cgroup2 files that place or kill processes: no resources, so not for Resources.unified. */
const NOT_RESOURCES = new Set(['cgroup.procs', 'cgroup.threads', 'cgroup.kill', 'cgroup.type', 'cgroup.subtree_control', 'cgroup.freeze']);

/**
 * v1 shares (2 … 262144, default 1024) to cpu.weight (1 … 10000, default 100): ceil(10^((L² + 125 L)/612 - 7/34)), L = log2(shares).
 * The curve of runc 1.3.2 and crun 1.23 on, which meets both ends and 1024 → 100; the line that they used before gave 39 there.
 * https://github.com/opencontainers/cgroups/pull/20
 */
export function cpuWeight(shares: bigint): number {
  if (shares <= SHARES_MIN) return 1;
  if (shares >= SHARES_MAX) return 10_000;
  const l = Math.log2(Number(shares));
  // The exponent for 1024 is exactly 2: rounding noise must not lift it to 101.
  return Math.ceil(10 ** ((l * l + 125 * l) / 612 - 7 / 34) - 1e-9);
}

/** Which of a host's hierarchies has a controller. */
export function controllerVersion(host: CgroupHost, controller: string): 1 | 2 | undefined {
  if (host.unifiedControllers.includes(controller)) return 2;
  return host.v1[controller] === undefined ? undefined : 1;
}

const limit = (bytes: bigint) => (bytes < 0n ? 'max' : String(bytes));
const v1Limit = (bytes: bigint) => (bytes < 0n ? '-1' : String(bytes));

class Draft {
  readonly writes: CgroupWrite[] = [];
  readonly unexpressed: Unexpressed[] = [];
  readonly host: CgroupHost;

  constructor(host: CgroupHost) {
    this.host = host;
  }

  /** Adds the v2 or the v1 file of an intent, whichever the host has; `v1: undefined` means that v1 has no such thing. */
  express(controller: string, intent: string, value: string, v1: readonly (readonly [file: string, value: string])[] | undefined): void {
    const version = controllerVersion(this.host, controller);
    if (version === 2) this.writes.push({ controller, file: intent, value });
    else if (version === undefined) this.unexpressed.push({ intent, reason: `no ${controller} controller on this host` });
    else if (v1 === undefined) this.unexpressed.push({ intent, reason: `cgroup v1 ${controller} controller` });
    else for (const [file, text] of v1) this.writes.push({ controller, file, value: text });
  }
}

function planMemory(draft: Draft, resources: Resources): void {
  const { memoryLimitBytes: max, memorySwapLimitBytes: withSwap } = resources;
  if (max !== undefined) draft.express('memory', 'memory.max', limit(max), [['memory.limit_in_bytes', v1Limit(max)]]);
  // As in CRI and v1, the swap limit counts memory and swap together; v2 counts swap alone.
  if (withSwap !== undefined) {
    const swap = withSwap < 0n ? -1n : withSwap - (max === undefined || max < 0n ? 0n : max);
    if (withSwap >= 0n && swap < 0n) throw new Error(`memory and swap limit ${withSwap} is below the memory limit ${max}`);
    if (!draft.host.swapAccounting) draft.unexpressed.push({ intent: 'memory.swap.max', reason: 'this kernel counts no swap' });
    else draft.express('memory', 'memory.swap.max', limit(swap), [['memory.memsw.limit_in_bytes', v1Limit(withSwap)]]);
  }
  for (const [file, bytes] of [
    ['memory.min', resources.memoryMinBytes],
    ['memory.low', resources.memoryLowBytes],
    ['memory.high', resources.memoryHighBytes],
  ] as const)
    if (bytes !== undefined) draft.express('memory', file, limit(bytes), undefined);
  if (resources.memoryOomGroup !== undefined) {
    const group = resources.memoryOomGroup;
    // On v1 one process at a time is killed, which is what "0" asks for; "1" is then oomWatch's task.
    draft.express('memory', 'memory.oom.group', group ? '1' : '0', group ? undefined : []);
  }
}

function planCpu(draft: Draft, resources: Resources): void {
  const { cpuShares, cpuQuotaUs, cpuPeriodUs } = resources;
  if (cpuShares !== undefined && cpuShares > 0n) {
    const shares = cpuShares < SHARES_MIN ? SHARES_MIN : cpuShares > SHARES_MAX ? SHARES_MAX : cpuShares;
    draft.express('cpu', 'cpu.weight', String(cpuWeight(shares)), [['cpu.shares', String(shares)]]);
  }
  if (cpuQuotaUs !== undefined || cpuPeriodUs !== undefined) {
    const period = cpuPeriodUs ?? DEFAULT_PERIOD_US;
    const quota = cpuQuotaUs ?? -1n;
    draft.express('cpu', 'cpu.max', `${quota <= 0n ? 'max' : quota} ${period}`, [
      ['cpu.cfs_period_us', String(period)],
      ['cpu.cfs_quota_us', quota <= 0n ? '-1' : String(quota)],
    ]);
  }
}

/** "8:0 rbps=1048576 wiops=max" in the words of v1's blkio controller. */
function throttle(line: string): [string, string][] {
  const [device = '', ...settings] = line.trim().split(/\s+/);
  const files = { rbps: 'read_bps', wbps: 'write_bps', riops: 'read_iops', wiops: 'write_iops' };
  return settings.map((setting) => {
    const [key = '', value = ''] = setting.split('=');
    if (!/^\d+:\d+$/.test(device) || !Object.hasOwn(files, key) || !/^(\d+|max)$/.test(value))
      throw new Error(`io.max "${line}" is not of the form "MAJOR:MINOR rbps=N wbps=N riops=N wiops=N"`);
    return [`blkio.throttle.${files[key as keyof typeof files]}_device`, `${device} ${value === 'max' ? '0' : value}`];
  });
}

function planUnified(draft: Draft, files: Readonly<Record<string, string>>): void {
  for (const [file, value] of Object.entries(files)) {
    if (!/^[a-z0-9_]+(\.[A-Za-z0-9_]+)+$/.test(file) || NOT_RESOURCES.has(file))
      throw new Error(`"${file}" is not a cgroup2 resource file`);
    const controller = file.slice(0, file.indexOf('.'));
    if (controller === 'cgroup') {
      if (draft.host.unified !== undefined) draft.writes.push({ controller, file, value });
      else draft.unexpressed.push({ intent: file, reason: 'no cgroup2 hierarchy on this host' });
    } else if (file === 'io.max' && controllerVersion(draft.host, 'io') === undefined && draft.host.v1.blkio !== undefined) {
      for (const [v1File, text] of value.split('\n').filter(Boolean).flatMap(throttle))
        draft.writes.push({ controller: 'blkio', file: v1File, value: text });
    } else if (file === 'io.max') {
      // The kernel takes one device per write.
      for (const line of value.split('\n').filter(Boolean)) draft.express(controller, file, line, undefined);
    } else draft.express(controller, file, value, undefined);
  }
}

/** Turns intents into controller files of this host. Throws where the intents contradict each other or name no resource. */
export function planCgroup(resources: Resources, host: CgroupHost): CgroupPlan {
  const draft = new Draft(host);
  planMemory(draft, resources);
  planCpu(draft, resources);
  const { pidsLimit, cpusetCpus, cpusetMems, hugepageLimits } = resources;
  // 0 pids means "no limit" in CRI and OCI; the kernel would take it as "none at all".
  if (pidsLimit !== undefined && pidsLimit !== 0n) draft.express('pids', 'pids.max', limit(pidsLimit), [['pids.max', limit(pidsLimit)]]);
  if (cpusetCpus) draft.express('cpuset', 'cpuset.cpus', cpusetCpus, [['cpuset.cpus', cpusetCpus]]);
  if (cpusetMems) draft.express('cpuset', 'cpuset.mems', cpusetMems, [['cpuset.mems', cpusetMems]]);
  for (const [size, bytes] of Object.entries(hugepageLimits ?? {})) {
    if (!/^\d+[KMG]B$/.test(size)) throw new Error(`huge page size "${size}" is not of the form 2MB`);
    draft.express('hugetlb', `hugetlb.${size}.max`, limit(bytes), [[`hugetlb.${size}.limit_in_bytes`, v1Limit(bytes)]]);
  }
  planUnified(draft, resources.unified ?? {});
  const controllers = [...new Set([...draft.writes.map(({ controller }) => controller), ...COUNTED])];
  return {
    writes: draft.writes,
    controllers: controllers.filter(
      (controller) => controllerVersion(host, controller) === 1 && !(controller === 'cpuacct' && host.unified),
    ),
    unexpressed: draft.unexpressed,
  };
}
