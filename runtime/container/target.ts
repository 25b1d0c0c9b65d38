// Owns the target of a debug container: the running container of its sandbox whose PID namespace it joins.
import { type ContainerConfig, NamespaceMode as Mode } from '../../cri-proto/gen/api.ts';
import type { RuntimeContext } from '../context.ts';
import { failedPrecondition, invalidArgument } from '../errors.ts';
import { findByPrefix } from '../ids.ts';
import type { ContainerProcess } from '../process/container.ts';

/**
 * Undefined where none is asked for. Looked up by create to tell at once, and again by each start: a target that has ended since must not
 * leave the container in the sandbox's PID namespace, which may be the host's.
 */
export function findTarget(
  { containers }: Pick<RuntimeContext, 'containers'>,
  sandboxId: string,
  config: ContainerConfig,
): ContainerProcess | undefined {
  const options = config.linux?.securityContext?.namespaceOptions;
  if (options?.pid !== Mode.TARGET) return undefined;
  const target = findByPrefix(containers, options.targetId);
  if (target === undefined || target.record.sandboxId !== sandboxId)
    throw invalidArgument(`target container "${options.targetId}" is not in sandbox ${sandboxId}`);
  if (target.record.state !== 'running' || target.process === undefined)
    throw failedPrecondition(`target container "${options.targetId}" is not running`);
  return target.process;
}
