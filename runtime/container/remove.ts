// Owns RemoveContainer: killed if it runs, then everything that it owns, its record last.
import { ContainerEventType } from '../../cri-proto/gen/api.ts';
import type { RuntimeContext } from '../context.ts';
import { containerKey } from '../ids.ts';
import { publishEvent } from '../service/publish.ts';
import type { Container } from './container.ts';
import { releaseContainer } from './exit.ts';
import { killContainerNow } from './stop.ts';

/** Idempotent and repeatable: a removal cut short is finished by the next one. The log file is the client's to delete. */
export async function removeContainer(context: RuntimeContext, container: Container): Promise<void> {
  if (!context.containers.has(container.id)) return;
  await killContainerNow(context, container);
  await container.ended;
  container.change({ state: 'removing' });
  context.faultPoint('container removing');
  await releaseContainer(context, container);
  await context.images.removeSnapshot(container.id);
  context.faultPoint('container snapshot removed');
  await container.forget();
  context.containers.delete(container.id);
  releaseName(context, container);
  publishEvent(context, container, ContainerEventType.CONTAINER_DELETED_EVENT);
}

export function releaseName(context: RuntimeContext, container: Container): void {
  for (const key of nameKeys(context, container)) if (context.names.get(key) === container.id) context.names.delete(key);
}

function nameKeys(context: RuntimeContext, { record }: Container): string[] {
  const sandbox = context.sandboxes.get(record.sandboxId)?.record.config.metadata;
  const { metadata } = record.config;
  return sandbox === undefined || metadata === undefined ? [] : [containerKey(metadata, sandbox)];
}
