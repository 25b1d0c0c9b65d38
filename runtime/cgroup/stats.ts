// Reads what a cgroup uses. Every number is the kernel's; what a hierarchy does not count is absent, never zero.
import fs from 'node:fs';
import path from 'node:path';
import { hasCode } from '../linux/errno.ts';
import type { Cgroup } from './cgroup.ts';
import { type HugetlbStats, readHugetlb } from './hugetlb-stats.ts';
import { type DeviceIo, readIo } from './io-stats.ts';
import { type PressureStats, readPressure } from './pressure.ts';
import { readFile as read } from './read-file.ts';

export interface CgroupStats {
  readonly cpu?: CpuStats;
  readonly memory?: MemoryStats;
  readonly pids?: PidsStats;
  readonly io?: readonly DeviceIo[];
  readonly pressure: PressureStats;
  readonly hugetlb: readonly HugetlbStats[];
}

export interface CpuStats {
  readonly usageNs: bigint;
  readonly userNs?: bigint;
  readonly systemNs?: bigint;
  /** Absent where no quota can be set. */
  readonly throttling?: { readonly periods: bigint; readonly throttledPeriods: bigint; readonly throttledNs: bigint };
}

export interface MemoryStats {
  readonly usageBytes: bigint;
  /** Usage less inactive file pages: what the kernel cannot drop easily, and what the kubelet evicts by. */
  readonly workingSetBytes: bigint;
  /** Anonymous memory. */
  readonly rssBytes: bigint;
  /** Absent: unlimited. */
  readonly limitBytes?: bigint;
  readonly pageFaults: bigint;
  readonly majorPageFaults: bigint;
  /** Page cache. */
  readonly cacheBytes: bigint;
  readonly mappedFileBytes: bigint;
  readonly activeFileBytes: bigint;
  readonly inactiveFileBytes: bigint;
  readonly refaultAnon: bigint;
  readonly refaultFile: bigint;
  /** Kernel memory charged to it; absent where the kernel does not tell. */
  readonly kernelBytes?: bigint;
  /** Highest usage so far; memory.peak is of Linux 5.19. */
  readonly maxUsageBytes?: bigint;
  /** How often an allocation met the limit. */
  readonly limitHits: bigint;
  /** Absent where the kernel counts no swap. */
  readonly swap?: { readonly usageBytes: bigint; readonly limitBytes?: bigint };
  /** Processes killed for want of memory since the cgroup was made. */
  readonly oomKills: bigint;
}

export interface PidsStats {
  readonly current: bigint;
  readonly limit?: bigint;
}

/** "key value" lines, the format of memory.stat, cpu.stat and memory.events. */
export function parseFlatKeyed(text: string): Map<string, bigint> {
  const values = new Map<string, bigint>();
  for (const line of text.split('\n')) {
    const [, key, value] = /^(\S+) (\d+)$/.exec(line) ?? [];
    if (key !== undefined && value !== undefined) values.set(key, BigInt(value));
  }
  return values;
}

// v1 writes "no limit" as the largest multiple of the page size below 2^63.
const V1_UNLIMITED = 2n ** 62n;

function parseLimit(text: string): bigint | undefined {
  const value = text.trim();
  if (value === 'max' || value === '') return undefined;
  return BigInt(value) >= V1_UNLIMITED ? undefined : BigInt(value);
}

async function readCpu({ unifiedDir, v1Dirs }: Cgroup): Promise<CpuStats | undefined> {
  // cgroup2 counts CPU time of every cgroup, with or without the cpu controller.
  const acct = unifiedDir === undefined ? v1Dirs.cpuacct : undefined;
  const [unified, v1, ...times] = await Promise.all([
    read(unifiedDir, 'cpu.stat'),
    read(v1Dirs.cpu, 'cpu.stat'),
    ...['cpuacct.usage', 'cpuacct.usage_user', 'cpuacct.usage_sys'].map((file) => read(acct, file)),
  ]);
  const fields = parseFlatKeyed(unified ?? '');
  const [usageNs, userNs, systemNs] = ['usage_usec', 'user_usec', 'system_usec'].map((field, i) => {
    const us = fields.get(field);
    const ns = times[i]?.trim();
    return us !== undefined ? us * 1000n : ns === undefined ? undefined : BigInt(ns);
  });
  if (usageNs === undefined) return undefined;
  const used = { usageNs, ...(userNs === undefined ? {} : { userNs }), ...(systemNs === undefined ? {} : { systemNs }) };
  const quota = v1 === undefined ? fields : parseFlatKeyed(v1);
  const periods = quota.get('nr_periods');
  if (periods === undefined) return used;
  const throttledNs = quota.get('throttled_time') ?? (quota.get('throttled_usec') ?? 0n) * 1000n;
  return { ...used, throttling: { periods, throttledPeriods: quota.get('nr_throttled') ?? 0n, throttledNs } };
}

interface MemoryFiles {
  readonly directory: string;
  readonly usage: string;
  readonly limit: string;
  readonly events: string;
  /** v1 counts the cgroup alone under the plain names and the tree under "total_". */
  readonly prefix: '' | 'total_';
  readonly anon: string;
  readonly cache: string;
  readonly mapped: string;
  readonly peak: string;
  readonly swapUsage: string;
  readonly swapLimit: string;
}

function memoryFiles({ unifiedDir, v1Dirs }: Cgroup): MemoryFiles | undefined {
  const v1 = v1Dirs.memory;
  if (v1 !== undefined)
    return {
      directory: v1,
      usage: 'memory.usage_in_bytes',
      limit: 'memory.limit_in_bytes',
      events: 'memory.oom_control',
      prefix: 'total_',
      anon: 'rss',
      cache: 'cache',
      mapped: 'mapped_file',
      peak: 'memory.max_usage_in_bytes',
      swapUsage: 'memory.memsw.usage_in_bytes',
      swapLimit: 'memory.memsw.limit_in_bytes',
    };
  if (unifiedDir === undefined) return undefined;
  return {
    directory: unifiedDir,
    usage: 'memory.current',
    limit: 'memory.max',
    events: 'memory.events',
    prefix: '',
    anon: 'anon',
    cache: 'file',
    mapped: 'file_mapped',
    peak: 'memory.peak',
    swapUsage: 'memory.swap.current',
    swapLimit: 'memory.swap.max',
  };
}

async function readMemory(cgroup: Cgroup): Promise<MemoryStats | undefined> {
  const files = memoryFiles(cgroup);
  if (files === undefined) return undefined;
  const v1 = files.prefix !== '';
  const [usage, stat, limit, events, peak, kernel, failures, swapUsage, swapLimit] = await Promise.all(
    [
      files.usage,
      'memory.stat',
      files.limit,
      files.events,
      files.peak,
      'memory.kmem.usage_in_bytes',
      'memory.failcnt',
      files.swapUsage,
      files.swapLimit,
    ].map((file) => read(files.directory, file)),
  );
  if (usage === undefined || stat === undefined) return undefined;
  const fields = parseFlatKeyed(stat);
  const counted = parseFlatKeyed(events ?? '');
  const field = (name: string) => fields.get(files.prefix + name) ?? 0n;
  const usageBytes = BigInt(usage.trim());
  const inactive = field('inactive_file');
  const limitBytes = parseLimit(limit ?? '');
  const kernelBytes = v1 ? (kernel === undefined ? undefined : BigInt(kernel.trim())) : fields.get('kernel');
  const swap =
    swapUsage === undefined ? undefined : computeSwap(v1 ? field('swap') : BigInt(swapUsage.trim()), swapLimit, v1 ? limitBytes : 0n);
  return {
    usageBytes,
    workingSetBytes: usageBytes > inactive ? usageBytes - inactive : 0n,
    rssBytes: field(files.anon),
    ...(limitBytes === undefined ? {} : { limitBytes }),
    pageFaults: field('pgfault'),
    majorPageFaults: field('pgmajfault'),
    cacheBytes: field(files.cache),
    mappedFileBytes: field(files.mapped),
    activeFileBytes: field('active_file'),
    inactiveFileBytes: inactive,
    refaultAnon: field('workingset_refault_anon'),
    refaultFile: field('workingset_refault_file'),
    ...(kernelBytes === undefined ? {} : { kernelBytes }),
    ...(peak === undefined ? {} : { maxUsageBytes: BigInt(peak.trim()) }),
    limitHits: v1 ? BigInt(failures?.trim() ?? 0) : (counted.get('max') ?? 0n),
    ...(swap === undefined ? {} : { swap }),
    oomKills: counted.get('oom_kill') ?? 0n,
  };
}

/** v1 limits memory and swap together: what swap may take is the rest above the memory limit. */
function computeSwap(usageBytes: bigint, limit: string | undefined, memoryLimit: bigint | undefined): NonNullable<MemoryStats['swap']> {
  const most = parseLimit(limit ?? '');
  if (most === undefined || memoryLimit === undefined) return { usageBytes };
  return { usageBytes, limitBytes: most > memoryLimit ? most - memoryLimit : 0n };
}

async function readPids({ unifiedDir, v1Dirs }: Cgroup): Promise<PidsStats | undefined> {
  const directory = v1Dirs.pids ?? unifiedDir;
  const [current, max] = await Promise.all([read(directory, 'pids.current'), read(directory, 'pids.max')]);
  if (current === undefined) return undefined;
  const limit = parseLimit(max ?? '');
  return { current: BigInt(current.trim()), ...(limit === undefined ? {} : { limit }) };
}

/** Usage of a cgroup and all below it. A cgroup that is gone counts nothing. */
export async function readStats(cgroup: Cgroup): Promise<CgroupStats> {
  const [cpu, memory, pids, io, pressure, hugetlb] = await Promise.all([
    readCpu(cgroup),
    readMemory(cgroup),
    readPids(cgroup),
    readIo(cgroup),
    readPressure(cgroup),
    readHugetlb(cgroup),
  ]);
  return { ...(cpu && { cpu }), ...(memory && { memory }), ...(pids && { pids }), ...(io && { io }), pressure, hugetlb };
}

/** The file that counts OOM kills of a cgroup, if its memory is counted. */
export function oomCounterFile(cgroup: Cgroup): string | undefined {
  const files = memoryFiles(cgroup);
  return files === undefined ? undefined : path.join(files.directory, files.events);
}

/**
 * How many processes of the cgroup the kernel killed for want of memory. On v2 with memory.oom.group the first victim counts twice:
 * ask whether it rose, not by how much. 0 where memory is not counted or the cgroup is gone.
 */
export function oomKills(cgroup: Cgroup): number {
  const file = oomCounterFile(cgroup);
  try {
    return file === undefined ? 0 : Number(parseFlatKeyed(fs.readFileSync(file, 'utf8')).get('oom_kill') ?? 0n);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENODEV')) return 0;
    throw error;
  }
}
