// Owns one entry of status.containerStatuses. Pure.
import type { V1Container, V1ContainerState, V1ContainerStatus } from '@kubernetes/client-node';
import type { Failures } from '../pod/backoff.ts';
import type { Decision } from '../pod/containers.ts';
import { newestOf, type ObservedContainer, type ObservedPod } from '../pod/observed.ts';

export interface ContainerStatusInput {
  readonly container: V1Container;
  readonly observed: ObservedPod;
  readonly decision: Decision;
  readonly failures: Failures;
  /** The runtime's name from CRI Version: the scheme of containerID. */
  readonly runtimeName: string;
  readonly ended: boolean;
}

export function computeContainerStatus(input: ContainerStatusInput): V1ContainerStatus {
  const { container, observed, runtimeName } = input;
  const newest = newestOf(observed, container.name);
  const state = computeState(input, newest);
  const waits = state.waiting !== undefined;
  // While it waits for its next run, the last end is the past; otherwise the past is the container before this one.
  const last = waits && newest?.state === 'exited' ? newest : previousOf(observed, newest);
  const lastState: V1ContainerState = last === undefined ? {} : terminated(last, runtimeName);
  const running = state.running !== undefined;
  return {
    name: container.name,
    state,
    lastState,
    ready: running,
    started: running,
    restartCount: newest?.restartCount ?? 0,
    image: newest?.image || (container.image ?? ''),
    imageID: newest?.imageRef || newest?.imageId || '',
    ...(newest === undefined ? {} : { containerID: `${runtimeName}://${newest.id}` }),
  };
}

function previousOf(observed: ObservedPod, newest: ObservedContainer | undefined): ObservedContainer | undefined {
  if (newest === undefined) return undefined;
  return observed.containers.find(({ name, id, state }) => name === newest.name && id !== newest.id && state === 'exited');
}

function computeState(input: ContainerStatusInput, newest: ObservedContainer | undefined): V1ContainerState {
  const { decision, runtimeName } = input;
  if (newest?.state === 'running') return { running: { startedAt: new Date(newest.startedAtMs) } };
  if (decision.decision === 'wait' && !input.ended) return { waiting: { reason: decision.reason, message: decision.message } };
  if (decision.decision === 'lost' || (input.ended && newest?.state !== 'exited' && newest !== undefined)) {
    const message = 'The container could not be located when the pod was terminated';
    return { terminated: { exitCode: 137, reason: 'ContainerStatusUnknown', message } };
  }
  const failure = failureOf(input);
  if (failure !== undefined && !input.ended) return { waiting: failure };
  if (newest?.state === 'exited' || newest?.state === 'unknown') return terminated(newest, runtimeName);
  return { waiting: { reason: 'ContainerCreating' } };
}

/** What keeps the container from starting, also while it is being tried again. */
function failureOf({ container, failures }: ContainerStatusInput): { reason: string; message: string } | undefined {
  for (const key of [`image ${container.name}`, `create ${container.name}`, `start ${container.name}`] as const) {
    const failure = failures.get(key);
    if (failure !== undefined) return { reason: failure.reason, message: failure.message };
  }
  const pod = failures.get('volumes') ?? failures.get('sandbox');
  return pod === undefined ? undefined : { reason: 'ContainerCreating', message: pod.message };
}

export function terminated(container: ObservedContainer, runtimeName: string): V1ContainerState {
  const reason = container.reason || (container.exitCode === 0 ? 'Completed' : 'Error');
  return {
    terminated: {
      exitCode: container.exitCode,
      reason,
      ...(container.message === '' ? {} : { message: container.message }),
      ...(container.startedAtMs > 0 ? { startedAt: new Date(container.startedAtMs) } : {}),
      finishedAt: new Date(container.finishedAtMs),
      containerID: `${runtimeName}://${container.id}`,
    },
  };
}
