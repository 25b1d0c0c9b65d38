// Owns the container calls of RuntimeService: CRI messages in and out; container/ does the work.
import { ContainerEventType } from '../../cri-proto/gen/api.ts';
import type { Container } from '../container/container.ts';
import { createContainer } from '../container/create.ts';
import { execSync } from '../container/exec.ts';
import type { ContainerRecord } from '../container/record.ts';
import { removeContainer } from '../container/remove.ts';
import { startContainer } from '../container/start.ts';
import { isVisible, renderContainer, renderContainerStatus } from '../container/status.ts';
import { stopContainer } from '../container/stop.ts';
import { updateContainer } from '../container/update.ts';
import type { RuntimeContext } from '../context.ts';
import { failedPrecondition, invalidArgument, notFound } from '../errors.ts';
import { findByPrefix } from '../ids.ts';
import type { CriHandlers } from '../server/handlers.ts';
import { checkContainer } from './check-config.ts';
import { filterContainers } from './filter.ts';
import { containerInfo } from './info.ts';
import { publishEvent } from './publish.ts';
import { sandboxOf, sandboxRecords } from './sandboxes.ts';

function containerRecords(context: RuntimeContext): Map<string, ContainerRecord> {
  return new Map([...context.containers].map(([id, { record }]) => [id, record]));
}

/** By id or unique prefix; NOT_FOUND otherwise. */
function containerOf(context: RuntimeContext, id: string): Container {
  const container = findByPrefix(context.containers, id);
  if (container === undefined || !isVisible(container.record)) throw notFound(`no container with id "${id}"`);
  return container;
}

export function runningContainerOf(context: RuntimeContext, id: string): Container {
  const container = containerOf(context, id);
  if (container.record.state !== 'running')
    throw failedPrecondition(`container ${container.id} is not running but ${container.record.state}`);
  return container;
}

export function containerHandlers(context: RuntimeContext): CriHandlers {
  return {
    createContainer: async ({ podSandboxId, config, sandboxConfig }) => {
      const sandbox = sandboxOf(context, podSandboxId);
      if (config === undefined) throw invalidArgument('the request has no container config');
      checkContainer(config);
      const container = await createContainer(context, sandbox, config, { sandboxConfig: sandboxConfig ?? sandbox.record.config });
      publishEvent(context, container, ContainerEventType.CONTAINER_CREATED_EVENT);
      return { containerId: container.id };
    },
    startContainer: async ({ containerId }) => {
      const container = containerOf(context, containerId);
      const sandbox = sandboxOf(context, container.record.sandboxId);
      await container.serial.run(() => startContainer(context, container, sandbox));
      publishEvent(context, container, ContainerEventType.CONTAINER_STARTED_EVENT);
      return {};
    },
    stopContainer: async ({ containerId, timeout }, { signal }) => {
      const container = findByPrefix(context.containers, containerId);
      if (container !== undefined) await stopContainer(context, container, timeout, signal);
      return {};
    },
    removeContainer: async ({ containerId }) => {
      const container = findByPrefix(context.containers, containerId);
      if (container !== undefined) await container.serial.run(() => removeContainer(context, container));
      return {};
    },
    updateContainerResources: async ({ containerId, linux }) => {
      const container = containerOf(context, containerId);
      // Windows' fields mean nothing here.
      if (linux !== undefined) await container.serial.run(() => updateContainer(context, container, linux));
      return {};
    },
    listContainers: async ({ filter }) => ({
      containers: filterContainers(containerRecords(context), sandboxRecords(context), filter).map(renderContainer),
    }),
    containerStatus: async ({ containerId, verbose }) => {
      const container = containerOf(context, containerId);
      const image = await context.images.status(container.record.imageId);
      return {
        status: renderContainerStatus(container.record, image),
        info: verbose ? await containerInfo(context, container) : {},
      };
    },
    execSync: async ({ containerId, cmd, timeout }, { signal }) => {
      if ((cmd[0] ?? '') === '') throw invalidArgument('the request has no command');
      return execSync(context, runningContainerOf(context, containerId), cmd, { timeoutS: timeout, signal });
    },
    reopenContainerLog: async ({ containerId }) => {
      await context.pump.reopen(runningContainerOf(context, containerId).id);
      return {};
    },
  };
}
