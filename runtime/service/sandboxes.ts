// Owns the sandbox calls of RuntimeService: CRI messages in and out; sandbox/ does the work.
import { ContainerEventType, LinuxPodSandboxConfig } from '../../cri-proto/gen/api.ts';
import { checkResources, mergeResources } from '../container/merge-resources.ts';
import { isVisible as isContainerVisible, renderContainerStatus } from '../container/status.ts';
import type { RuntimeContext } from '../context.ts';
import { notFound } from '../errors.ts';
import { findByPrefix } from '../ids.ts';
import type { SandboxRecord } from '../sandbox/record.ts';
import { checkSandboxConfig, runPodSandbox } from '../sandbox/run.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { isVisible, renderSandbox, renderSandboxStatus } from '../sandbox/status.ts';
import { removePodSandbox, stopPodSandbox } from '../sandbox/stop.ts';
import type { CriHandlers } from '../server/handlers.ts';
import { nowNs } from '../time.ts';
import { checkSandbox } from './check-config.ts';
import { filterSandboxes } from './filter.ts';
import { sandboxInfo } from './info.ts';
import { publishEvent } from './publish.ts';

export function sandboxRecords(context: RuntimeContext): Map<string, SandboxRecord> {
  return new Map([...context.sandboxes].map(([id, { record }]) => [id, record]));
}

/** By id or unique prefix; NOT_FOUND otherwise. */
export function sandboxOf(context: RuntimeContext, id: string): Sandbox {
  const sandbox = findByPrefix(context.sandboxes, id);
  if (sandbox === undefined || !isVisible(sandbox.record)) throw notFound(`no sandbox with id "${id}"`);
  return sandbox;
}

export function sandboxHandlers(context: RuntimeContext): CriHandlers {
  return {
    runPodSandbox: async ({ config, runtimeHandler }) => {
      if (config !== undefined) checkSandbox(config);
      const sandbox = await runPodSandbox(context, checkSandboxConfig(config, runtimeHandler, context.ociRuntimes), runtimeHandler);
      publishEvent(context, sandbox, ContainerEventType.CONTAINER_CREATED_EVENT);
      publishEvent(context, sandbox, ContainerEventType.CONTAINER_STARTED_EVENT);
      return { podSandboxId: sandbox.id };
    },
    stopPodSandbox: async ({ podSandboxId }) => {
      const sandbox = findByPrefix(context.sandboxes, podSandboxId);
      if (sandbox === undefined) return {};
      await sandbox.serial.run(() => stopPodSandbox(context, sandbox));
      return {};
    },
    removePodSandbox: async ({ podSandboxId }) => {
      const sandbox = findByPrefix(context.sandboxes, podSandboxId);
      if (sandbox === undefined) return {};
      await sandbox.serial.run(() => removePodSandbox(context, sandbox));
      publishEvent(context, sandbox, ContainerEventType.CONTAINER_DELETED_EVENT);
      return {};
    },
    // The client has written the pod's cgroup itself: what it says is kept for whoever asks.
    updatePodSandboxResources: async ({ podSandboxId, overhead, resources }) => {
      const sandbox = sandboxOf(context, podSandboxId);
      for (const its of [overhead, resources]) if (its !== undefined) checkResources(its);
      await sandbox.serial.run(async () => {
        const { config } = sandbox.record;
        const linux = LinuxPodSandboxConfig.create(config.linux ?? {});
        sandbox.change({
          config: {
            ...config,
            linux: {
              ...linux,
              overhead: overhead === undefined ? linux.overhead : mergeResources(linux.overhead, overhead),
              resources: resources === undefined ? linux.resources : mergeResources(linux.resources, resources),
            },
          },
        });
      });
      return {};
    },
    podSandboxStatus: async ({ podSandboxId, verbose }) => {
      const sandbox = sandboxOf(context, podSandboxId);
      const images = new Map(context.images.list().map((image) => [image.id, image]));
      const containers = [...context.containers.values()].filter(
        ({ record }) => record.sandboxId === sandbox.id && isContainerVisible(record),
      );
      return {
        status: renderSandboxStatus(sandbox.record),
        info: verbose ? await sandboxInfo(context, sandbox) : {},
        containersStatuses: containers.map(({ record }) => renderContainerStatus(record, images.get(record.imageId))),
        timestamp: nowNs(),
      };
    },
    listPodSandbox: async ({ filter }) => ({ items: filterSandboxes(sandboxRecords(context), filter).map(renderSandbox) }),
  };
}
