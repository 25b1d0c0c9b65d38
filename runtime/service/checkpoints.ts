// Owns the checkpoint calls of RuntimeService. Where criu does not work they answer UNIMPLEMENTED with its reason, which the kubelet
// passes on as "not found".
import { ContainerEventType } from '../../cri-proto/gen/api.ts';
import { requireCriu } from '../checkpoint/criu.ts';
import { checkpointContainer } from '../checkpoint/dump.ts';
import { checkNames, checkpointPod, restorePod } from '../checkpoint/pod.ts';
import { refuseOptions } from '../checkpoint/pod-directory.ts';
import type { RuntimeContext } from '../context.ts';
import { invalidArgument } from '../errors.ts';
import { checkSandboxConfig } from '../sandbox/run.ts';
import type { CriHandlers } from '../server/handlers.ts';
import { checkContainer, checkSandbox } from './check-config.ts';
import { runningContainerOf } from './containers.ts';
import { publishEvent } from './publish.ts';
import { sandboxOf } from './sandboxes.ts';

export function checkpointHandlers(context: RuntimeContext): CriHandlers {
  return {
    checkpointContainer: async ({ containerId, location, timeout }, { signal }) => {
      const container = runningContainerOf(context, containerId);
      await container.serial.run(() => checkpointContainer(context, container, { location, timeoutS: timeout, signal }));
      return {};
    },
    checkpointPod: async ({ podSandboxId, outputPath, containerIds, options }, { signal }) => {
      const sandbox = sandboxOf(context, podSandboxId);
      await requireCriu();
      refuseOptions(options);
      if (containerIds.length === 0) throw invalidArgument('the request names no container');
      const containers = containerIds.map((id) => runningContainerOf(context, id));
      const stranger = containers.find(({ record }) => record.sandboxId !== sandbox.id);
      if (stranger !== undefined) throw invalidArgument(`container ${stranger.id} is not in sandbox ${sandbox.id}`);
      checkNames(containers);
      await checkpointPod(context, sandbox, { containers, outputPath, signal });
      return {};
    },
    restorePod: async ({ checkpointPath, config, runtimeHandler, options, containerConfigs }) => {
      await requireCriu();
      refuseOptions(options);
      if (config !== undefined) checkSandbox(config);
      for (const containerConfig of containerConfigs) checkContainer(containerConfig);
      const { sandbox, containers } = await restorePod(context, {
        checkpointPath,
        config: checkSandboxConfig(config, runtimeHandler, context.ociRuntimes),
        runtimeHandler,
        containerConfigs,
      });
      publishEvent(context, sandbox, ContainerEventType.CONTAINER_CREATED_EVENT);
      publishEvent(context, sandbox, ContainerEventType.CONTAINER_STARTED_EVENT);
      for (const container of containers) publishEvent(context, container, ContainerEventType.CONTAINER_CREATED_EVENT);
      return {
        podSandboxId: sandbox.id,
        restoredContainers: containers.map(({ id, record }) => ({ name: record.config.metadata?.name ?? '', containerId: id })),
      };
    },
  };
}
