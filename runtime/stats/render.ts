// Owns how readings look in CRI's stats messages. Pure: what was not read is unset, never zero.
import type {
  ContainerStats,
  CpuUsage,
  IoUsage,
  MemoryUsage,
  NetworkUsage,
  PodSandboxStats,
  PsiStats,
  SwapUsage,
} from '../../cri-proto/gen/api.ts';
import type { Pressure } from '../cgroup/pressure.ts';
import type { CgroupStats } from '../cgroup/stats.ts';
import type { ContainerRecord } from '../container/record.ts';
import type { LinkTraffic } from '../linux/rtnetlink.ts';
import type { SandboxRecord } from '../sandbox/record.ts';
import type { DiskUsageAnswer } from './disk-usage.ts';

/** One look at a cgroup. */
export interface Reading {
  readonly atNs: bigint;
  readonly stats: CgroupStats;
  /** Undefined until a second reading. */
  readonly usageNanoCores?: bigint;
  /** As the host numbers them. Threads are pids.current's business. */
  readonly pids: readonly number[];
}

const uint = (value: bigint | undefined) => (value === undefined ? undefined : { value });

function renderPressure(pressure: Pressure | undefined): PsiStats | undefined {
  if (pressure === undefined) return undefined;
  const [Some, Full] = [pressure.some, pressure.full].map(
    (line) => line && { Total: line.totalNs, Avg10: line.avg10, Avg60: line.avg60, Avg300: line.avg300 },
  );
  return { Some, Full };
}

function renderCpu({ atNs, stats: { cpu, pressure }, usageNanoCores }: Reading): CpuUsage | undefined {
  return (
    cpu && {
      timestamp: atNs,
      usageCoreNanoSeconds: uint(cpu.usageNs),
      usageNanoCores: uint(usageNanoCores),
      psi: renderPressure(pressure.cpu),
    }
  );
}

function renderMemory({ atNs, stats: { memory, pressure } }: Reading): MemoryUsage | undefined {
  if (memory === undefined) return undefined;
  const { limitBytes: limit, workingSetBytes } = memory;
  return {
    timestamp: atNs,
    workingSetBytes: uint(workingSetBytes),
    availableBytes: uint(limit === undefined ? undefined : limit > workingSetBytes ? limit - workingSetBytes : 0n),
    usageBytes: uint(memory.usageBytes),
    rssBytes: uint(memory.rssBytes),
    pageFaults: uint(memory.pageFaults),
    majorPageFaults: uint(memory.majorPageFaults),
    psi: renderPressure(pressure.memory),
  };
}

function renderSwap({ atNs, stats: { memory } }: Reading): SwapUsage | undefined {
  const swap = memory?.swap;
  if (swap === undefined) return undefined;
  const { usageBytes, limitBytes } = swap;
  const available = limitBytes === undefined ? undefined : limitBytes > usageBytes ? limitBytes - usageBytes : 0n;
  return { timestamp: atNs, swapUsageBytes: uint(usageBytes), swapAvailableBytes: uint(available) };
}

function renderIo({ atNs, stats: { pressure } }: Reading): IoUsage | undefined {
  const psi = renderPressure(pressure.io);
  return psi && { timestamp: atNs, psi };
}

/** `reading` is undefined for a container that does not run: it is listed with what it is and what it has written. */
export function renderContainerStats(
  { id, config }: ContainerRecord,
  reading: Reading | undefined,
  disk: DiskUsageAnswer | undefined,
): ContainerStats {
  return {
    attributes: { id, metadata: config.metadata, labels: config.labels, annotations: config.annotations },
    cpu: reading && renderCpu(reading),
    memory: reading && renderMemory(reading),
    swap: reading && renderSwap(reading),
    io: reading && renderIo(reading),
    writableLayer: disk && {
      timestamp: disk.atNs,
      fsId: { mountpoint: disk.usage.mountpoint },
      usedBytes: uint(disk.usage.usedBytes),
      inodesUsed: uint(disk.usage.inodesUsed),
    },
  };
}

function renderNetwork(atNs: bigint, links: readonly LinkTraffic[]): NetworkUsage {
  const interfaces = links.map(({ name, receive, transmit }) => ({
    name,
    rxBytes: uint(receive.bytes),
    rxErrors: uint(receive.errors),
    txBytes: uint(transmit.bytes),
    txErrors: uint(transmit.errors),
  }));
  return {
    timestamp: atNs,
    defaultInterface: interfaces.find(({ name }) => name === 'eth0'),
    interfaces: interfaces.filter(({ name }) => name !== 'eth0'),
  };
}

export interface SandboxReading {
  readonly reading: Reading;
  /** Undefined for a sandbox in the host's network: that traffic is not the pod's. */
  readonly links?: readonly LinkTraffic[];
  readonly containers: readonly ContainerStats[];
}

export function renderSandboxStats({ id, config }: SandboxRecord, { reading, links, containers }: SandboxReading): PodSandboxStats {
  const { atNs, pids } = reading;
  return {
    attributes: { id, metadata: config.metadata, labels: config.labels, annotations: config.annotations },
    linux: {
      cpu: renderCpu(reading),
      memory: renderMemory(reading),
      io: renderIo(reading),
      network: links && renderNetwork(atNs, links),
      process: { timestamp: atNs, processCount: uint(BigInt(pids.length)) },
      containers: [...containers],
    },
  };
}

/** What a pod uses that has no cgroup of its own: the sum of its containers'. Limits, peaks and pressure are not sums. */
export function sumReadings(atNs: bigint, readings: readonly Reading[]): Reading {
  const sum = (values: readonly (bigint | undefined)[]) => values.reduce<bigint>((total, value) => total + (value ?? 0n), 0n);
  const memories = readings.flatMap(({ stats }) => stats.memory ?? []);
  const cpus = readings.flatMap(({ stats }) => stats.cpu ?? []);
  const rates = readings.filter(({ usageNanoCores }) => usageNanoCores !== undefined);
  const of = <K extends keyof (typeof memories)[number]>(key: K) => sum(memories.map((memory) => memory[key] as bigint | undefined));
  return {
    atNs,
    pids: readings.flatMap(({ pids }) => pids),
    ...(rates.length === 0 ? {} : { usageNanoCores: sum(rates.map(({ usageNanoCores }) => usageNanoCores)) }),
    stats: {
      pressure: {},
      hugetlb: [],
      ...(cpus.length === 0 ? {} : { cpu: { usageNs: sum(cpus.map(({ usageNs }) => usageNs)) } }),
      ...(memories.length === 0
        ? {}
        : {
            memory: {
              usageBytes: of('usageBytes'),
              workingSetBytes: of('workingSetBytes'),
              rssBytes: of('rssBytes'),
              pageFaults: of('pageFaults'),
              majorPageFaults: of('majorPageFaults'),
              cacheBytes: of('cacheBytes'),
              mappedFileBytes: of('mappedFileBytes'),
              activeFileBytes: of('activeFileBytes'),
              inactiveFileBytes: of('inactiveFileBytes'),
              refaultAnon: of('refaultAnon'),
              refaultFile: of('refaultFile'),
              limitHits: of('limitHits'),
              oomKills: of('oomKills'),
            },
          }),
    },
  };
}
