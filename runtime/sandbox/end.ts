// Owns telling clients that a sandbox has stopped: once, by its stop or when its pause process has ended by itself.
import { ContainerEventType } from '../../cri-proto/gen/api.ts';
import type { RuntimeContext } from '../context.ts';
import { publishEvent } from '../service/publish.ts';
import type { Sandbox } from './sandbox.ts';

export function tellStopped(context: RuntimeContext, sandbox: Sandbox): void {
  // One that failed before it was ready has never been told of.
  if (sandbox.toldStopped || sandbox.record.state === 'creating') return;
  sandbox.toldStopped = true;
  publishEvent(context, sandbox, ContainerEventType.CONTAINER_STOPPED_EVENT);
}

/** `ended` resolves when the pause process has ended, whoever ended it. */
export function watchSandbox(context: RuntimeContext, sandbox: Sandbox, ended: Promise<void>): void {
  void ended.then(() => {
    if (!sandbox.stopping) tellStopped(context, sandbox);
  });
}
