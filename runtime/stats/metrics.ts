// Owns a pod's metrics: gathers the facts of the pod and of each container, and renders every family that has a sample for them.
import fs from 'node:fs';
import type { ContainerMetrics, Metric, PodSandboxMetrics } from '../../cri-proto/gen/api.ts';
import type { CgroupStats } from '../cgroup/stats.ts';
import { type ContainerReading, type PodReading, podCgroupPath } from './collect.ts';
import { COMMON_LABELS, type FilesystemFacts, METRIC_FAMILIES, type MetricFacts, type SpecFacts } from './metric-families.ts';
import { readProcessFacts } from './process-facts.ts';

const NO_DEVICES: ReadonlyMap<string, string> = new Map();

type CommonLabels = Readonly<Record<(typeof COMMON_LABELS)[number], string>>;

/** Every family's samples, the common labels first. Timestamp 0: as of the answer. */
export function renderMetrics(facts: MetricFacts, common: CommonLabels): Metric[] {
  const values = COMMON_LABELS.map((key) => common[key]);
  return METRIC_FAMILIES.flatMap(({ name, type, samples }) =>
    samples(facts).map(({ labels, value }) => ({
      name,
      timestamp: 0n,
      metricType: type,
      labelValues: [...values, ...labels],
      value: { value },
    })),
  );
}

export async function renderPodMetrics({ sandbox, reading, links, containers }: PodReading): Promise<PodSandboxMetrics> {
  const { id, config, createdAt } = sandbox.record;
  const pod = { namespace: config.metadata?.namespace ?? '', pod: config.metadata?.name ?? '' };
  const own = podCgroupPath(sandbox);
  const common = { ...pod, id: own, name: '', image: '', container: '' };
  // The pod's cgroup has the sum; the interfaces belong to the sandbox, which cAdvisor knows as the container "POD".
  const deviceNames = await readDeviceNames(reading.stats);
  const podMetrics = renderMetrics({ nowNs: reading.atNs, stats: reading.stats, startedAtNs: createdAt, deviceNames }, common);
  const sandboxLabels = { ...common, name: id, container: 'POD' };
  const trafficMetrics = links === undefined ? [] : renderMetrics({ links, deviceNames: NO_DEVICES }, sandboxLabels);
  return {
    podSandboxId: id,
    metrics: [...podMetrics, ...trafficMetrics],
    containerMetrics: await Promise.all(containers.map((container) => renderContainerMetrics(container, pod))),
  };
}

async function renderContainerMetrics(
  { container, reading, disk }: ContainerReading,
  pod: { readonly namespace: string; readonly pod: string },
): Promise<ContainerMetrics> {
  const { id, cgroupPath, config, startedAt, initPid, oomKills } = container.record;
  if (reading === undefined) return { containerId: id, metrics: [] };
  const { atNs, stats } = reading;
  const [deviceNames, filesystem, process] = await Promise.all([
    readDeviceNames(stats),
    disk && readFilesystem(disk.usage.mountpoint, disk.usage.usedBytes),
    initPid === undefined ? undefined : readProcessFacts(reading.pids, initPid),
  ]);
  const seen = stats.memory?.oomKills ?? 0n;
  const facts: MetricFacts = {
    nowNs: atNs,
    stats,
    startedAtNs: startedAt,
    oomEvents: seen > BigInt(oomKills) ? seen : BigInt(oomKills),
    deviceNames,
    ...(filesystem === undefined ? {} : { filesystem }),
    ...(process === undefined ? {} : { process }),
    spec: planSpecFacts(config.linux?.resources),
  };
  const image = config.image?.userSpecifiedImage || config.image?.image || '';
  return {
    containerId: id,
    metrics: renderMetrics(facts, { ...pod, id: cgroupPath, name: id, image, container: config.metadata?.name ?? '' }),
  };
}

const DEFAULT_CPU_PERIOD_US = 100_000n;
const DEFAULT_CPU_SHARES = 1024n;

interface SpecResources {
  readonly cpuPeriod: bigint;
  readonly cpuQuota: bigint;
  readonly cpuShares: bigint;
  readonly memoryLimitInBytes: bigint;
  readonly memorySwapLimitInBytes: bigint;
  readonly unified: Readonly<Record<string, string>>;
}

/** What was asked for, with the kernel's defaults where nothing was. */
export function planSpecFacts(resources: SpecResources | undefined): SpecFacts {
  const limit = (value: bigint | undefined) => (value === undefined || value < 0n ? 0n : value);
  const quota = resources?.cpuQuota ?? 0n;
  const reservation = resources?.unified['memory.low'] ?? '';
  return {
    cpuPeriodUs: resources?.cpuPeriod || DEFAULT_CPU_PERIOD_US,
    ...(quota > 0n ? { cpuQuotaUs: quota } : {}),
    cpuShares: resources?.cpuShares || DEFAULT_CPU_SHARES,
    memoryLimitBytes: limit(resources?.memoryLimitInBytes),
    memoryReservationBytes: /^\d+$/.test(reservation) ? BigInt(reservation) : 0n,
    memorySwapLimitBytes: limit(resources?.memorySwapLimitInBytes),
  };
}

async function readDeviceNames({ io }: CgroupStats): Promise<ReadonlyMap<string, string>> {
  const devices = (io ?? []).map(({ major, minor }) => `${major}:${minor}`);
  return new Map(await Promise.all(devices.map(async (device) => [device, await deviceName(device)] as const)));
}

/** "/dev/vda1"; the number itself where sysfs knows no name: a device without one is still told apart. */
async function deviceName(device: string): Promise<string> {
  const uevent = await fs.promises.readFile(`/sys/dev/block/${device}/uevent`, 'utf8').catch(() => '');
  const name = /^DEVNAME=(.+)$/m.exec(uevent)?.[1];
  return name === undefined ? device : `/dev/${name}`;
}

async function readFilesystem(directory: string, usageBytes: bigint): Promise<FilesystemFacts | undefined> {
  try {
    const [{ dev }, { blocks, bsize, files, ffree }] = await Promise.all([
      fs.promises.stat(directory, { bigint: true }),
      fs.promises.statfs(directory, { bigint: true }),
    ]);
    // makedev(3)
    const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
    const minor = (dev & 0xffn) | ((dev >> 12n) & ~0xffn);
    return {
      device: await deviceName(`${major}:${minor}`),
      limitBytes: blocks * bsize,
      inodesTotal: files,
      inodesFree: ffree,
      usageBytes,
    };
  } catch {
    // The image store's directory is on its way out: nothing to tell.
    return undefined;
  }
}
