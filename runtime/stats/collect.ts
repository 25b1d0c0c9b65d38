// Owns the readings behind the stats and metrics calls: which cgroup, which namespace, which tree, and what is remembered between calls.
import { setTimeout as delay } from 'node:timers/promises';
import { type ContainerStats, NamespaceMode as Mode, type PodSandboxStats } from '../../cri-proto/gen/api.ts';
import { openCgroup } from '../cgroup/apply.ts';
import type { Cgroup } from '../cgroup/cgroup.ts';
import { readProcs } from '../cgroup/processes.ts';
import { readStats } from '../cgroup/stats.ts';
import type { Container } from '../container/container.ts';
import { isVisible } from '../container/status.ts';
import type { RuntimeContext } from '../context.ts';
import type { LinkTraffic } from '../linux/rtnetlink.ts';
import { modeOf } from '../sandbox/modes.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { nowNs } from '../time.ts';
import { CpuRates } from './cpu-rate.ts';
import { DiskUsage, type DiskUsageAnswer } from './disk-usage.ts';
import { readTraffic } from './network.ts';
import { type Reading, renderContainerStats, renderSandboxStats, sumReadings } from './render.ts';

/** Each reading opens some twenty files: more at once would only queue up in the thread pool. */
const AT_ONCE = 16;
/** The kernel counts CPU time exactly: a short while is enough for a first rate. */
const MEASURE_MS = 200;

export interface ContainerReading {
  readonly container: Container;
  /** Undefined for a container that does not run. */
  readonly reading: Reading | undefined;
  readonly disk: DiskUsageAnswer | undefined;
}

export interface PodReading {
  readonly sandbox: Sandbox;
  readonly reading: Reading;
  readonly links: readonly LinkTraffic[] | undefined;
  readonly containers: readonly ContainerReading[];
}

export class StatsCollector {
  readonly #context: RuntimeContext;
  readonly #rates = new CpuRates();
  readonly #disk: DiskUsage;

  constructor(context: RuntimeContext) {
    this.#context = context;
    this.#disk = new DiskUsage((id) => context.images.snapshotUsage(id), nowNs);
  }

  async readContainer(container: Container): Promise<ContainerReading> {
    const { id, state, cgroupPath, startedAt } = container.record;
    const running = state === 'running' && cgroupPath !== '';
    const [reading, disk] = await Promise.all([running ? this.#readCgroup(id, cgroupPath, startedAt) : undefined, this.#disk.read(id)]);
    return { container, reading, disk };
  }

  async readPod(sandbox: Sandbox): Promise<PodReading> {
    const { id, config, createdAt, pause } = sandbox.record;
    const own = podCgroupPath(sandbox);
    const inHostNetwork = modeOf(config, 'network') === Mode.NODE;
    const [containers, pod, links] = await Promise.all([
      mapLimited(this.#containersOf(sandbox), (container) => this.readContainer(container)),
      own === '' || !this.#context.cgroups.enabled ? undefined : this.#readCgroup(id, own, createdAt),
      inHostNetwork || pause === undefined ? undefined : readTraffic(pause.pid),
    ]);
    const reading =
      pod ??
      sumReadings(
        nowNs(),
        containers.flatMap((its) => its.reading ?? []),
      );
    return { sandbox, reading, links, containers };
  }

  async containerStats(container: Container): Promise<ContainerStats> {
    const { reading, disk } = await this.readContainer(container);
    return renderContainerStats(container.record, reading, disk);
  }

  async podStats(sandbox: Sandbox): Promise<PodSandboxStats> {
    const { reading, links, containers } = await this.readPod(sandbox);
    return renderSandboxStats(sandbox.record, {
      reading,
      ...(links === undefined ? {} : { links }),
      containers: containers.map(({ container, reading, disk }) => renderContainerStats(container.record, reading, disk)),
    });
  }

  /** To be called by the list calls: what was removed is forgotten. */
  retain(): void {
    const { containers, sandboxes } = this.#context;
    this.#rates.retain((id) => containers.has(id) || sandboxes.has(id));
    this.#disk.retain((id) => containers.has(id));
  }

  #containersOf(sandbox: Sandbox): Container[] {
    return [...this.#context.containers.values()].filter(({ record }) => record.sandboxId === sandbox.id && isVisible(record));
  }

  async #readCgroup(key: string, cgroupPath: string, bornNs: bigint): Promise<Reading> {
    const cgroup = openCgroup(this.#context.cgroups.host, cgroupPath);
    const [stats, pids] = await Promise.all([readStats(cgroup), readProcs(cgroup)]);
    const atNs = nowNs();
    const known = stats.cpu && this.#rates.rate(key, { atNs, usageNs: stats.cpu.usageNs }, bornNs);
    const rate = known ?? (stats.cpu && (await this.#measureRate(key, cgroup, bornNs)));
    return { atNs, stats, pids, ...(rate === undefined ? {} : { usageNanoCores: rate }) };
  }

  /** Of an old container that nobody has asked about lately: no earlier reading says what it uses now, so a second one does. */
  async #measureRate(key: string, cgroup: Cgroup, bornNs: bigint): Promise<bigint | undefined> {
    await delay(MEASURE_MS, undefined, { ref: false });
    const { cpu } = await readStats(cgroup);
    return cpu && this.#rates.rate(key, { atNs: nowNs(), usageNs: cpu.usageNs }, bornNs);
  }
}

/** The cgroup that a client made for the pod and named as cgroup_parent; empty where there is none but the hierarchy's root. */
export function podCgroupPath({ record }: Sandbox): string {
  const parent = `/${record.config.linux?.cgroupParent ?? ''}`.replaceAll(/\/+/g, '/').replace(/\/$/, '');
  return parent;
}

/** Runs `act` for all, a few at a time, answers in order. */
export async function mapLimited<T, R>(items: readonly T[], act: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let at = 0; at < items.length; at += AT_ONCE) results.push(...(await Promise.all(items.slice(at, at + AT_ONCE).map(act))));
  return results;
}
