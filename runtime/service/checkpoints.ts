// Owns the checkpoint calls of RuntimeService. Where criu does not work they answer UNIMPLEMENTED with its reason, which the kubelet
// passes on as "not found".
import { requireCriu } from '../checkpoint/criu.ts';
import { checkpointContainer } from '../checkpoint/dump.ts';
import type { RuntimeContext } from '../context.ts';
import { unimplemented } from '../errors.ts';
import type { CriHandlers } from '../server/handlers.ts';
import { runningContainerOf } from './containers.ts';
import { sandboxOf } from './sandboxes.ts';

export function checkpointHandlers(context: RuntimeContext): CriHandlers {
  return {
    checkpointContainer: async ({ containerId, location, timeout }, { signal }) => {
      const container = runningContainerOf(context, containerId);
      await container.serial.run(() => checkpointContainer(context, container, { location, timeoutS: timeout, signal }));
      return {};
    },
    checkpointPod: async ({ podSandboxId }) => {
      sandboxOf(context, podSandboxId);
      await requireCriu();
      throw unimplemented('pods are not checkpointed as a whole by this version of tskubelet: checkpoint their containers one by one');
    },
    restorePod: async () => {
      await requireCriu();
      throw unimplemented('pods are not restored from checkpoints by this version of tskubelet');
    },
  };
}
