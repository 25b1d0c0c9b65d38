// Owns the decision about one container of a pod: keep it, start it, wait, or leave it ended. Pure; plan.ts and the status share it.
import type { V1Container, V1Pod } from '@kubernetes/client-node';
import { type Failures, nextBackoffStep, renderDelay, restartDelayMs } from './backoff.ts';
import { newestOf, type ObservedContainer, type ObservedPod, type ObservedSandbox } from './observed.ts';

export type Decision =
  | { readonly decision: 'keep'; readonly container: ObservedContainer }
  /** Ended, and its restart policy leaves it so. */
  | { readonly decision: 'ended'; readonly container: ObservedContainer }
  /** Never started, and never will be: its sandbox is gone and the policy is Never. */
  | { readonly decision: 'lost' }
  /** Created by an agent that died before it was started. */
  | { readonly decision: 'resume'; readonly container: ObservedContainer }
  | { readonly decision: 'start'; readonly restartCount: number; readonly backoffStep: number; readonly previous?: ObservedContainer }
  | {
      readonly decision: 'wait';
      readonly reason: string;
      readonly message: string;
      readonly untilMs: number;
      readonly previous?: ObservedContainer;
    };

export interface DecisionInput {
  readonly pod: V1Pod;
  readonly observed: ObservedPod;
  readonly failures: Failures;
  readonly nowMs: number;
}

/** The sandbox that the pod lives in: the newest one, while it is ready. */
export function activeSandbox(observed: ObservedPod): ObservedSandbox | undefined {
  const newest = observed.sandboxes[0];
  return newest?.ready ? newest : undefined;
}

/** Does the policy want another run after this end? */
export function restarts(policy: string | undefined, ended: { readonly exitCode: number }): boolean {
  if (policy === 'Never') return false;
  return policy === 'OnFailure' ? ended.exitCode !== 0 : true;
}

export function decideContainer(container: V1Container, input: DecisionInput): Decision {
  const { pod, observed, failures, nowMs } = input;
  const policy = pod.spec?.restartPolicy;
  const newest = newestOf(observed, container.name);
  const active = activeSandbox(observed);
  if (newest === undefined) {
    if (active === undefined && policy === 'Never' && observed.containers.length > 0) return { decision: 'lost' };
    return waitFor(container, input) ?? { decision: 'start', restartCount: 0, backoffStep: 0 };
  }
  const here = newest.sandboxId === active?.id;
  if (newest.state === 'running' && here) return { decision: 'keep', container: newest };
  if (newest.state === 'created' && here && !failures.has(`start ${container.name}`)) return { decision: 'resume', container: newest };
  if (newest.state === 'created') {
    if (policy === 'Never') return { decision: 'lost' };
  } else if (newest.state !== 'running' && !restarts(policy, newest)) return { decision: 'ended', container: newest };
  // Running without its sandbox: it is about to be killed, and follows its policy then.
  if (newest.state === 'running' && policy === 'Never') return { decision: 'keep', container: newest };
  const failed = waitFor(container, input);
  if (failed !== undefined) return { ...failed, previous: newest };
  const backoffStep = here ? nextBackoffStep(newest) : 0;
  const delayMs = restartDelayMs(backoffStep);
  const untilMs = newest.finishedAtMs + delayMs;
  if (nowMs < untilMs) return { ...crashWait(newest, pod, delayMs), untilMs, previous: newest };
  return { decision: 'start', restartCount: highestRestartCount(observed, container.name) + 1, backoffStep, previous: newest };
}

/** The runtime's annotations count, not the agent's memory: the highest of a container's past. */
function highestRestartCount(observed: ObservedPod, name: string): number {
  return Math.max(...observed.containers.filter((container) => container.name === name).map(({ restartCount }) => restartCount));
}

function crashWait(ended: ObservedContainer, pod: V1Pod, delayMs: number): { decision: 'wait'; reason: string; message: string } {
  // A program that could not even be started is named so while it waits: "crash" would send the reader to look for logs.
  if (ended.reason === 'StartError')
    return { decision: 'wait', reason: 'RunContainerError', message: `${ended.message}; next try after ${renderDelay(delayMs)}` };
  const { name, namespace, uid } = pod.metadata ?? {};
  const message = `back-off ${renderDelay(delayMs)} restarting failed container=${ended.name} pod=${name}_${namespace}(${uid})`;
  return { decision: 'wait', reason: 'CrashLoopBackOff', message };
}

type Wait = Extract<Decision, { decision: 'wait' }>;

const PULL_FAILURES: ReadonlySet<string> = new Set(['ErrImagePull', 'RegistryUnavailable', 'SignatureValidationFailed']);

function waitFor(container: V1Container, { failures, nowMs }: DecisionInput): Wait | undefined {
  const image = failures.get(`image ${container.name}`);
  if (image !== undefined && nowMs < image.untilMs) {
    // The kubelet shows the error first and the back-off from the second time on.
    const again = PULL_FAILURES.has(image.reason) && image.count > 1;
    return {
      decision: 'wait',
      reason: again ? 'ImagePullBackOff' : image.reason,
      message: again ? `Back-off pulling image "${container.image}": ${image.reason}: ${image.message}` : image.message,
      untilMs: image.untilMs,
    };
  }
  for (const key of [`create ${container.name}`, `start ${container.name}`] as const) {
    const failure = failures.get(key);
    if (failure !== undefined && nowMs < failure.untilMs)
      return { decision: 'wait', reason: failure.reason, message: failure.message, untilMs: failure.untilMs };
  }
  return undefined;
}

/** Succeeded or Failed once nothing runs and nothing will: undefined before. */
export function finishedPhase(pod: V1Pod, decisions: readonly Decision[]): 'Succeeded' | 'Failed' | undefined {
  if (pod.spec?.restartPolicy === 'Always' || pod.spec?.restartPolicy === undefined) return undefined;
  let failed = false;
  for (const decision of decisions) {
    if (decision.decision === 'lost') failed = true;
    else if (decision.decision !== 'ended') return undefined;
    else if (decision.container.exitCode !== 0) failed = true;
  }
  return failed ? 'Failed' : 'Succeeded';
}
