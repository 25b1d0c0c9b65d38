// Owns the stats and metrics calls of RuntimeService: CRI messages in and out; stats/ reads.
import { PodSandboxState } from '../../cri-proto/gen/api.ts';
import { isVisible } from '../container/status.ts';
import type { RuntimeContext } from '../context.ts';
import { notFound } from '../errors.ts';
import { findByPrefix } from '../ids.ts';
import type { CriHandlers } from '../server/handlers.ts';
import { mapLimited, StatsCollector } from '../stats/collect.ts';
import { METRIC_DESCRIPTORS } from '../stats/metric-families.ts';
import { renderPodMetrics } from '../stats/metrics.ts';
import { filterContainers, filterSandboxes } from './filter.ts';
import { sandboxOf, sandboxRecords } from './sandboxes.ts';

export function statsHandlers(context: RuntimeContext): CriHandlers {
  const collector = new StatsCollector(context);
  const containerRecords = () => new Map([...context.containers].map(([id, { record }]) => [id, record]));
  const present = <T>(items: readonly (T | undefined)[]): T[] => items.filter((item): item is T => item !== undefined);
  const ready = () => present([...context.sandboxes.values()].map((sandbox) => (sandbox.record.state === 'ready' ? sandbox : undefined)));
  return {
    containerStats: async ({ containerId }) => {
      const container = findByPrefix(context.containers, containerId);
      if (container === undefined || !isVisible(container.record)) throw notFound(`no container with id "${containerId}"`);
      return { stats: await collector.containerStats(container) };
    },
    listContainerStats: async ({ filter }) => {
      collector.retain();
      const wanted = filterContainers(containerRecords(), sandboxRecords(context), filter && { ...filter, state: undefined });
      const containers = present(wanted.map(({ id }) => context.containers.get(id)));
      return { stats: await mapLimited(containers, (container) => collector.containerStats(container)) };
    },
    podSandboxStats: async ({ podSandboxId }) => ({ stats: await collector.podStats(sandboxOf(context, podSandboxId)) }),
    listPodSandboxStats: async ({ filter }) => {
      collector.retain();
      // A stopped sandbox uses nothing: it is left out, as everywhere.
      const wanted = filterSandboxes(sandboxRecords(context), {
        id: filter?.id ?? '',
        labelSelector: filter?.labelSelector ?? {},
        state: { state: PodSandboxState.SANDBOX_READY },
      });
      const sandboxes = present(wanted.map(({ id }) => context.sandboxes.get(id)));
      return { stats: await mapLimited(sandboxes, (sandbox) => collector.podStats(sandbox)) };
    },
    listMetricDescriptors: async () => ({ descriptors: [...METRIC_DESCRIPTORS] }),
    listPodSandboxMetrics: async () => {
      collector.retain();
      const pods = await mapLimited(ready(), (sandbox) => collector.readPod(sandbox));
      return { podMetrics: await mapLimited(pods, renderPodMetrics) };
    },
  };
}
