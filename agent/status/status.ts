// Owns PodStatus: phase, conditions, addresses and the containers' states, from what was observed. Pure.
import type { V1ContainerStatus, V1Pod, V1PodCondition, V1PodStatus } from '@kubernetes/client-node';
import type { Failures } from '../pod/backoff.ts';
import { activeSandbox, decideContainer, finishedPhase } from '../pod/containers.ts';
import type { ObservedPod } from '../pod/observed.ts';
import { computeQosClass } from '../resource/qos.ts';
import { computeContainerStatus } from './container-status.ts';

/** What is the same for every pod of the node. */
export interface NodeFacts {
  readonly nodeName: string;
  /** Primary first. */
  readonly hostIps: readonly string[];
  readonly runtimeName: string;
}

export interface StatusInput {
  readonly pod: V1Pod;
  readonly observed: ObservedPod;
  readonly failures: Failures;
  readonly nowMs: number;
  readonly node: NodeFacts;
  readonly previous?: V1PodStatus;
  /** The pod is being ended: no container will be started again. */
  readonly ending: boolean;
}

const FINISHED = new Set(['Succeeded', 'Failed']);

export function isFinished(status: V1PodStatus | undefined): boolean {
  return FINISHED.has(status?.phase ?? '');
}

export function computeStatus(input: StatusInput): V1PodStatus {
  const { pod, observed, node, previous, failures, ending } = input;
  // A finished pod never comes back: what was said about it stays said, whatever becomes of its containers.
  if (previous !== undefined && isFinished(previous)) return previous;
  const containers = pod.spec?.containers ?? [];
  const decisions = containers.map((container) => decideContainer(container, input));
  const statuses = containers.map((container, index) =>
    computeContainerStatus({
      container,
      observed,
      decision: decisions[index]!,
      failures,
      runtimeName: node.runtimeName,
      ended: ending,
    }),
  );
  const finished = finishedPhase(pod, decisions);
  const phase = finished ?? computePhase(pod, statuses);
  const ips = podIps(input, finished !== undefined);
  return {
    phase,
    conditions: computeConditions(input, statuses, phase),
    ...(node.hostIps.length === 0 ? {} : { hostIP: node.hostIps[0]!, hostIPs: node.hostIps.map((ip) => ({ ip })) }),
    ...(ips.length === 0 ? {} : { podIP: ips[0]!, podIPs: ips.map((ip) => ({ ip })) }),
    qosClass: computeQosClass(pod),
    startTime: previous?.startTime ?? new Date(input.nowMs),
    containerStatuses: statuses,
  };
}

function podIps({ pod, observed, node, previous }: StatusInput, finished: boolean): readonly string[] {
  const active = activeSandbox(observed);
  if (active !== undefined) return pod.spec?.hostNetwork ? node.hostIps : active.ips;
  return finished ? (previous?.podIPs ?? []).map(({ ip }) => ip) : [];
}

/** Pending until every container has run once, Running while one runs or is to run again. */
function computePhase(pod: V1Pod, statuses: readonly V1ContainerStatus[]): string {
  const started = statuses.every(({ state, lastState }) => state?.waiting === undefined || lastState?.terminated !== undefined);
  if (!started || statuses.length === 0) return 'Pending';
  if (pod.spec?.restartPolicy === 'Never' || pod.spec?.restartPolicy === 'OnFailure') {
    const ended = statuses.every(({ state }) => state?.terminated !== undefined);
    if (ended && statuses.every(({ state }) => state?.terminated?.exitCode === 0)) return 'Succeeded';
    if (ended && pod.spec.restartPolicy === 'Never') return 'Failed';
  }
  return 'Running';
}

interface ConditionState {
  readonly status: 'True' | 'False';
  readonly reason?: string;
  readonly message?: string;
}

function computeConditions(input: StatusInput, statuses: readonly V1ContainerStatus[], phase: string): V1PodCondition[] {
  const unready = statuses.filter(({ ready }) => !ready).map(({ name }) => name);
  const ready: ConditionState =
    phase === 'Succeeded'
      ? { status: 'False', reason: 'PodCompleted' }
      : phase === 'Failed'
        ? { status: 'False', reason: 'PodFailed' }
        : unready.length > 0
          ? { status: 'False', reason: 'ContainersNotReady', message: `containers with unready status: [${unready.join(' ')}]` }
          : { status: 'True' };
  const states: readonly (readonly [string, ConditionState])[] = [
    ['PodReadyToStartContainers', { status: activeSandbox(input.observed) === undefined ? 'False' : 'True' }],
    ['Initialized', phase === 'Succeeded' ? { status: 'True', reason: 'PodCompleted' } : { status: 'True' }],
    ['Ready', ready],
    ['ContainersReady', ready],
    ['PodScheduled', { status: 'True' }],
  ];
  return states.map(([type, state]) => ({ type, ...state, lastTransitionTime: transitionTime(input, type, state.status) }));
}

/** The time of the last change of True to False or back, not of the last look. */
function transitionTime({ previous, nowMs }: StatusInput, type: string, status: string): Date {
  const before = previous?.conditions?.find((condition) => condition.type === type);
  return before?.status === status && before.lastTransitionTime !== undefined ? before.lastTransitionTime : new Date(nowMs);
}
