// Owns the table of metric families: name, help, type, labels beyond the common ones, and how each is computed from one reading. The
// names are cAdvisor's, so that dashboards need no change. Values are whole numbers in the wire's type: seconds are rounded down.
// What the kernel does not count gives no sample.
import { type MetricDescriptor, MetricType } from '../../cri-proto/gen/api.ts';
import type { Pressure } from '../cgroup/pressure.ts';
import type { CgroupStats, MemoryStats } from '../cgroup/stats.ts';
import type { LinkTraffic, TrafficCounts } from '../linux/rtnetlink.ts';

export interface FilesystemFacts {
  /** "/dev/vda1" */
  readonly device: string;
  readonly limitBytes: bigint;
  readonly inodesTotal: bigint;
  readonly inodesFree: bigint;
  readonly usageBytes?: bigint;
}

export interface ProcessFacts {
  readonly processes: bigint;
  readonly fileDescriptors?: bigint;
  readonly sockets?: bigint;
  /** Soft limit of open files of the first process; absent: unlimited or unknown. */
  readonly maxOpenFiles?: bigint;
}

export interface SpecFacts {
  readonly cpuPeriodUs: bigint;
  /** Absent: unlimited. */
  readonly cpuQuotaUs?: bigint;
  readonly cpuShares: bigint;
  readonly memoryLimitBytes: bigint;
  readonly memoryReservationBytes: bigint;
  readonly memorySwapLimitBytes: bigint;
}

/** What one container, or a pod as a whole, is measured by. */
export interface MetricFacts {
  readonly nowNs?: bigint;
  readonly stats?: CgroupStats;
  readonly startedAtNs?: bigint;
  readonly oomEvents?: bigint;
  readonly filesystem?: FilesystemFacts;
  readonly process?: ProcessFacts;
  readonly spec?: SpecFacts;
  readonly links?: readonly LinkTraffic[];
  /** "8:0" to "/dev/sda". */
  readonly deviceNames: ReadonlyMap<string, string>;
}

export interface Sample {
  /** In the order of the family's own label keys. */
  readonly labels: readonly string[];
  readonly value: bigint;
}

export interface MetricFamily {
  readonly name: string;
  readonly help: string;
  readonly type: MetricType;
  readonly labelKeys: readonly string[];
  readonly samples: (facts: MetricFacts) => readonly Sample[];
}

/** cAdvisor's, in the order in which Prometheus sorts them. */
export const COMMON_LABELS = ['container', 'id', 'image', 'name', 'namespace', 'pod'] as const;

const NS_PER_S = 1_000_000_000n;
const seconds = (ns: bigint | undefined) => (ns === undefined ? undefined : ns / NS_PER_S);

type Read = (facts: MetricFacts) => bigint | undefined;

function family(type: MetricType, name: string, help: string, read: Read): MetricFamily {
  const samples = (facts: MetricFacts) => {
    const value = read(facts);
    return value === undefined ? [] : [{ labels: [], value }];
  };
  return { type, name, help, labelKeys: [], samples };
}

const counter = (name: string, help: string, read: Read) => family(MetricType.COUNTER, name, help, read);
const gauge = (name: string, help: string, read: Read) => family(MetricType.GAUGE, name, help, read);
const memory = (read: (memory: MemoryStats) => bigint | undefined) => (facts: MetricFacts) =>
  facts.stats?.memory && read(facts.stats.memory);

const CPU: readonly MetricFamily[] = [
  counter('container_cpu_usage_seconds_total', 'CPU time used, in seconds.', ({ stats }) => seconds(stats?.cpu?.usageNs)),
  counter('container_cpu_user_seconds_total', 'CPU time used in user mode, in seconds.', ({ stats }) => seconds(stats?.cpu?.userNs)),
  counter('container_cpu_system_seconds_total', 'CPU time used in the kernel, in seconds.', ({ stats }) => seconds(stats?.cpu?.systemNs)),
  counter('container_cpu_cfs_periods_total', 'Periods of the CPU quota that have passed.', ({ stats }) => stats?.cpu?.throttling?.periods),
  counter(
    'container_cpu_cfs_throttled_periods_total',
    'Periods in which the CPU quota held it back.',
    ({ stats }) => stats?.cpu?.throttling?.throttledPeriods,
  ),
  counter('container_cpu_cfs_throttled_seconds_total', 'Time that the CPU quota held it back, in seconds.', ({ stats }) =>
    seconds(stats?.cpu?.throttling?.throttledNs),
  ),
];

const FAILURES: MetricFamily = {
  type: MetricType.COUNTER,
  name: 'container_memory_failures_total',
  help: 'Page faults, by kind and scope.',
  labelKeys: ['failure_type', 'scope'],
  samples: ({ stats }) =>
    stats?.memory === undefined
      ? []
      : [
          // A container's processes are in its cgroup itself: below it is nothing that would count to the hierarchy alone.
          { labels: ['pgfault', 'container'], value: stats.memory.pageFaults },
          { labels: ['pgfault', 'hierarchy'], value: stats.memory.pageFaults },
          { labels: ['pgmajfault', 'container'], value: stats.memory.majorPageFaults },
          { labels: ['pgmajfault', 'hierarchy'], value: stats.memory.majorPageFaults },
        ],
};

const MEMORY: readonly MetricFamily[] = [
  gauge(
    'container_memory_usage_bytes',
    'Memory in use, page cache included, in bytes.',
    memory((its) => its.usageBytes),
  ),
  gauge(
    'container_memory_working_set_bytes',
    'Memory in use without inactive file pages, in bytes: what eviction goes by.',
    memory((its) => its.workingSetBytes),
  ),
  gauge(
    'container_memory_max_usage_bytes',
    'Highest memory usage so far, in bytes.',
    memory((its) => its.maxUsageBytes),
  ),
  gauge(
    'container_memory_rss',
    'Anonymous memory, in bytes.',
    memory((its) => its.rssBytes),
  ),
  gauge(
    'container_memory_cache',
    'Page cache, in bytes.',
    memory((its) => its.cacheBytes),
  ),
  gauge(
    'container_memory_mapped_file',
    'Files mapped into memory, in bytes.',
    memory((its) => its.mappedFileBytes),
  ),
  gauge(
    'container_memory_total_active_file_bytes',
    'File pages in recent use, in bytes.',
    memory((its) => its.activeFileBytes),
  ),
  gauge(
    'container_memory_total_inactive_file_bytes',
    'File pages that may go first, in bytes.',
    memory((its) => its.inactiveFileBytes),
  ),
  gauge(
    'container_memory_kernel_usage',
    'Kernel memory charged to it, in bytes.',
    memory((its) => its.kernelBytes),
  ),
  gauge(
    'container_memory_swap',
    'Swap in use, in bytes.',
    memory((its) => its.swap?.usageBytes),
  ),
  counter(
    'container_memory_failcnt',
    'Times that the memory limit was met.',
    memory((its) => its.limitHits),
  ),
  counter(
    'container_memory_workingset_refault_anon_total',
    'Anonymous pages that came back after eviction.',
    memory((its) => its.refaultAnon),
  ),
  counter(
    'container_memory_workingset_refault_file_total',
    'File pages that came back after eviction.',
    memory((its) => its.refaultFile),
  ),
  FAILURES,
  counter('container_oom_events_total', 'Processes killed for want of memory.', ({ oomEvents }) => oomEvents),
];

type IoCount = 'readBytes' | 'writeBytes' | 'reads' | 'writes';

function disk(name: string, help: string, key: IoCount): MetricFamily {
  return {
    type: MetricType.COUNTER,
    name,
    help,
    labelKeys: ['device'],
    samples: ({ stats, deviceNames }) =>
      (stats?.io ?? []).map((io) => ({ labels: [deviceNames.get(`${io.major}:${io.minor}`) ?? ''], value: io[key] })),
  };
}

function filesystem(name: string, help: string, key: 'limitBytes' | 'usageBytes' | 'inodesTotal' | 'inodesFree'): MetricFamily {
  return {
    type: MetricType.GAUGE,
    name,
    help,
    labelKeys: ['device'],
    samples: ({ filesystem: facts }) => {
      const value = facts?.[key];
      return facts === undefined || value === undefined ? [] : [{ labels: [facts.device], value }];
    },
  };
}

const BLKIO: MetricFamily = {
  type: MetricType.COUNTER,
  name: 'container_blkio_device_usage_total',
  help: 'Bytes moved to and from a block device, by operation.',
  labelKeys: ['device', 'major', 'minor', 'operation'],
  samples: ({ stats, deviceNames }) =>
    (stats?.io ?? []).flatMap(({ major, minor, readBytes, writeBytes }) =>
      (
        [
          ['Read', readBytes],
          ['Write', writeBytes],
        ] as const
      ).map(([operation, value]) => ({
        labels: [deviceNames.get(`${major}:${minor}`) ?? '', String(major), String(minor), operation],
        value,
      })),
    ),
};

const DISK: readonly MetricFamily[] = [
  disk('container_fs_reads_bytes_total', 'Bytes read from the device.', 'readBytes'),
  disk('container_fs_reads_total', 'Reads from the device.', 'reads'),
  disk('container_fs_writes_bytes_total', 'Bytes written to the device.', 'writeBytes'),
  disk('container_fs_writes_total', 'Writes to the device.', 'writes'),
  filesystem('container_fs_limit_bytes', 'Size of the file system below the writable layer, in bytes.', 'limitBytes'),
  filesystem('container_fs_usage_bytes', 'What the writable layer takes on it, in bytes.', 'usageBytes'),
  filesystem('container_fs_inodes_total', 'Inodes of that file system.', 'inodesTotal'),
  filesystem('container_fs_inodes_free', 'Inodes still free on it.', 'inodesFree'),
  BLKIO,
];

function network(direction: 'receive' | 'transmit', what: keyof TrafficCounts, suffix: string, help: string): MetricFamily {
  return {
    type: MetricType.COUNTER,
    name: `container_network_${direction}_${suffix}_total`,
    help: `${help} ${direction === 'receive' ? 'received' : 'sent'}.`,
    labelKeys: ['interface'],
    samples: ({ links }) => (links ?? []).map((link) => ({ labels: [link.name], value: link[direction][what] })),
  };
}

const NETWORK: readonly MetricFamily[] = (['receive', 'transmit'] as const).flatMap((direction) => [
  network(direction, 'bytes', 'bytes', 'Bytes'),
  network(direction, 'packets', 'packets', 'Packets'),
  network(direction, 'dropped', 'packets_dropped', 'Packets dropped that should have been'),
  network(direction, 'errors', 'errors', 'Errors of packets'),
]);

const ULIMITS: MetricFamily = {
  type: MetricType.GAUGE,
  name: 'container_ulimits_soft',
  help: 'Soft limits of the first process; an unlimited one has no sample.',
  labelKeys: ['ulimit'],
  samples: ({ process }) => (process?.maxOpenFiles === undefined ? [] : [{ labels: ['max_open_files'], value: process.maxOpenFiles }]),
};

const PROCESS: readonly MetricFamily[] = [
  gauge('container_processes', 'Processes in it.', ({ process }) => process?.processes),
  gauge('container_threads', 'Threads in it.', ({ stats }) => stats?.pids?.current),
  gauge('container_threads_max', 'Threads that it may have; 0 without a limit.', ({ stats }) => stats?.pids && (stats.pids.limit ?? 0n)),
  gauge('container_file_descriptors', 'Open file descriptors of its processes.', ({ process }) => process?.fileDescriptors),
  gauge('container_sockets', 'Open sockets of its processes.', ({ process }) => process?.sockets),
  ULIMITS,
  gauge('container_last_seen', 'When it was last measured, in seconds since 1970.', ({ nowNs }) => seconds(nowNs)),
  gauge('container_start_time_seconds', 'When it was started, in seconds since 1970.', ({ startedAtNs }) => seconds(startedAtNs)),
];

const SPEC: readonly MetricFamily[] = [
  gauge('container_spec_cpu_period', 'Period of the CPU quota, in microseconds.', ({ spec }) => spec?.cpuPeriodUs),
  gauge('container_spec_cpu_quota', 'CPU time per period, in microseconds; no sample without a limit.', ({ spec }) => spec?.cpuQuotaUs),
  gauge('container_spec_cpu_shares', 'Share of CPU time under contention, relative to 1024.', ({ spec }) => spec?.cpuShares),
  gauge('container_spec_memory_limit_bytes', 'Memory limit in bytes; 0 without one.', ({ spec }) => spec?.memoryLimitBytes),
  gauge(
    'container_spec_memory_reservation_limit_bytes',
    'Memory kept from reclaim as far as possible, in bytes; 0 without.',
    ({ spec }) => spec?.memoryReservationBytes,
  ),
  gauge(
    'container_spec_memory_swap_limit_bytes',
    'Limit of memory and swap together, in bytes; 0 without one.',
    ({ spec }) => spec?.memorySwapLimitBytes,
  ),
];

function hugetlb(name: string, help: string, key: 'usageBytes' | 'maxUsageBytes'): MetricFamily {
  return {
    type: MetricType.GAUGE,
    name,
    help,
    labelKeys: ['pagesize'],
    samples: ({ stats }) =>
      (stats?.hugetlb ?? []).flatMap((its) => {
        const value = its[key];
        return value === undefined ? [] : [{ labels: [its.pageSize], value }];
      }),
  };
}

const HUGETLB: readonly MetricFamily[] = [
  hugetlb('container_hugetlb_usage_bytes', 'Huge pages in use, in bytes.', 'usageBytes'),
  hugetlb('container_hugetlb_max_usage_bytes', 'Highest usage of huge pages so far, in bytes.', 'maxUsageBytes'),
];

const PRESSURE: readonly MetricFamily[] = (
  [
    ['cpu', 'CPU time'],
    ['memory', 'memory'],
    ['io', 'I/O'],
  ] as const
).flatMap(([resource, words]) => {
  const of = (facts: MetricFacts): Pressure | undefined => facts.stats?.pressure[resource];
  return [
    counter(`container_pressure_${resource}_waiting_seconds_total`, `Time in which some task waited for ${words}, in seconds.`, (facts) =>
      seconds(of(facts)?.some?.totalNs),
    ),
    counter(`container_pressure_${resource}_stalled_seconds_total`, `Time in which every task waited for ${words}, in seconds.`, (facts) =>
      seconds(of(facts)?.full?.totalNs),
    ),
  ];
});

export const METRIC_FAMILIES: readonly MetricFamily[] = [
  ...CPU,
  ...MEMORY,
  ...DISK,
  ...NETWORK,
  ...PROCESS,
  ...SPEC,
  ...HUGETLB,
  ...PRESSURE,
];

export const METRIC_DESCRIPTORS: readonly MetricDescriptor[] = METRIC_FAMILIES.map(({ name, help, labelKeys }) => ({
  name,
  help,
  labelKeys: [...COMMON_LABELS, ...labelKeys],
}));
