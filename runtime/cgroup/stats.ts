// Reads what a cgroup uses. Every number is the kernel's; what a hierarchy does not count is absent, never zero.
import fs from 'node:fs';
import path from 'node:path';
import { hasCode } from '../linux/errno.ts';
import type { Cgroup } from './cgroup.ts';

export interface CgroupStats {
  readonly cpu?: CpuStats;
  readonly memory?: MemoryStats;
  readonly pids?: PidsStats;
}

export interface CpuStats {
  readonly usageNs: bigint;
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

async function read(directory: string | undefined, file: string): Promise<string | undefined> {
  if (directory === undefined) return undefined;
  try {
    return await fs.promises.readFile(path.join(directory, file), 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENODEV')) return undefined;
    throw error;
  }
}

async function readCpu({ unifiedDir, v1Dirs }: Cgroup): Promise<CpuStats | undefined> {
  // cgroup2 counts CPU time of every cgroup, with or without the cpu controller.
  const [unified, v1, acct] = await Promise.all([
    read(unifiedDir, 'cpu.stat'),
    read(v1Dirs.cpu, 'cpu.stat'),
    unifiedDir === undefined ? read(v1Dirs.cpuacct, 'cpuacct.usage') : undefined,
  ]);
  const fields = parseFlatKeyed(unified ?? '');
  const usage = fields.get('usage_usec');
  const usageNs = usage !== undefined ? usage * 1000n : acct === undefined ? undefined : BigInt(acct.trim());
  if (usageNs === undefined) return undefined;
  const quota = v1 === undefined ? fields : parseFlatKeyed(v1);
  const periods = quota.get('nr_periods');
  if (periods === undefined) return { usageNs };
  const throttledNs = quota.get('throttled_time') ?? (quota.get('throttled_usec') ?? 0n) * 1000n;
  return { usageNs, throttling: { periods, throttledPeriods: quota.get('nr_throttled') ?? 0n, throttledNs } };
}

interface MemoryFiles {
  readonly directory: string;
  readonly usage: string;
  readonly limit: string;
  readonly events: string;
  /** v1 counts the cgroup alone under the plain names and the tree under "total_". */
  readonly prefix: '' | 'total_';
  readonly anon: string;
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
    };
  if (unifiedDir === undefined) return undefined;
  return { directory: unifiedDir, usage: 'memory.current', limit: 'memory.max', events: 'memory.events', prefix: '', anon: 'anon' };
}

async function readMemory(cgroup: Cgroup): Promise<MemoryStats | undefined> {
  const files = memoryFiles(cgroup);
  const [usage, limit, stat, events] = await Promise.all(
    [files?.usage, files?.limit, 'memory.stat', files?.events].map((file) => read(files?.directory, file ?? '')),
  );
  if (files === undefined || usage === undefined || stat === undefined) return undefined;
  const fields = parseFlatKeyed(stat);
  const field = (name: string) => fields.get(files.prefix + name) ?? 0n;
  const usageBytes = BigInt(usage.trim());
  const inactive = field('inactive_file');
  const limitBytes = parseLimit(limit ?? '');
  return {
    usageBytes,
    workingSetBytes: usageBytes > inactive ? usageBytes - inactive : 0n,
    rssBytes: field(files.anon),
    ...(limitBytes === undefined ? {} : { limitBytes }),
    pageFaults: field('pgfault'),
    majorPageFaults: field('pgmajfault'),
    oomKills: parseFlatKeyed(events ?? '').get('oom_kill') ?? 0n,
  };
}

async function readPids({ unifiedDir, v1Dirs }: Cgroup): Promise<PidsStats | undefined> {
  const directory = v1Dirs.pids ?? unifiedDir;
  const [current, max] = await Promise.all([read(directory, 'pids.current'), read(directory, 'pids.max')]);
  if (current === undefined) return undefined;
  const limit = parseLimit(max ?? '');
  return { current: BigInt(current.trim()), ...(limit === undefined ? {} : { limit }) };
}

/** Usage of a cgroup and all below it. A cgroup that is gone gives an empty object. */
export async function readStats(cgroup: Cgroup): Promise<CgroupStats> {
  const [cpu, memory, pids] = await Promise.all([readCpu(cgroup), readMemory(cgroup), readPids(cgroup)]);
  return { ...(cpu && { cpu }), ...(memory && { memory }), ...(pids && { pids }) };
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
