// Owns what a lifecycle event says: the sandbox's status and all its containers' as they are now, so that a reader needs no second call.
import type { ContainerEventType } from '../../cri-proto/gen/api.ts';
import type { Container } from '../container/container.ts';
import { isVisible, renderContainerStatus } from '../container/status.ts';
import type { RuntimeContext } from '../context.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { renderSandboxStatus } from '../sandbox/status.ts';
import { nowNs } from '../time.ts';

/** The id of a sandbox's own events is the sandbox's. */
export function publishEvent(context: RuntimeContext, object: Container | Sandbox, type: ContainerEventType): void {
  const ofContainer = 'sandboxId' in object.record;
  const sandboxId = ofContainer ? (object as Container).record.sandboxId : object.id;
  // A sandbox that was just removed is told as it was last: the kubelet looks for the pod's uid in it.
  const sandbox = ofContainer ? context.sandboxes.get(sandboxId) : (object as Sandbox);
  const images = new Map(context.images.list().map((image) => [image.id, image]));
  context.lifecycle.publish({
    containerId: object.id,
    containerEventType: type,
    createdAt: nowNs(),
    podSandboxStatus: sandbox === undefined ? undefined : renderSandboxStatus(sandbox.record),
    containersStatuses: [...context.containers.values()]
      .filter(({ record }) => record.sandboxId === sandboxId && isVisible(record))
      .map(({ record }) => renderContainerStatus(record, images.get(record.imageId))),
  });
}
