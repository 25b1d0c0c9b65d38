// Owns the decision what to do next for one pod, from what is desired and what was observed. Pure: worker.ts executes the actions.
//
//   no pod ─▶ (volumes, sandbox, containers) ─▶ running ─▶ finished (policy Never, OnFailure): stays listed
//                 ▲            │ sandbox lost: kill the rest, sandbox with attempt + 1
//                 └────────────┤
//                              │ removed, or another hash desired: kill, stop, remove, clean up
//                              ▼
//                            gone ─▶ (another hash) starts as if it had never been
import type { V1PodStatus } from '@kubernetes/client-node';
import type { DesiredPod } from '../source/source.ts';
import { computeStatus, isFinished, type NodeFacts } from '../status/status.ts';
import type { Failures } from './backoff.ts';
import { activeSandbox, type Decision, decideContainer } from './containers.ts';
import type { ObservedContainer, ObservedPod } from './observed.ts';

export type Action =
  /** Cgroup, directories and volumes. Idempotent, before anything is started. */
  | { readonly action: 'ensureVolumes' }
  | { readonly action: 'createSandbox'; readonly attempt: number }
  /** /etc/hosts, which names the sandbox's address. */
  | { readonly action: 'ensureHosts' }
  | { readonly action: 'ensureImage'; readonly container: string }
  | { readonly action: 'createContainer'; readonly container: string; readonly restartCount: number; readonly backoffStep: number }
  | { readonly action: 'startContainer'; readonly container: string; readonly id?: string }
  | {
      readonly action: 'killContainer';
      readonly container: string;
      readonly id: string;
      readonly graceSeconds: number;
      /** One sentence for the event. */
      readonly reason: string;
    }
  | { readonly action: 'stopSandbox'; readonly id: string }
  | { readonly action: 'removeContainer'; readonly id: string; readonly container: string; readonly restartCount: number }
  | { readonly action: 'removeSandbox'; readonly id: string }
  /** The pod has finished: volumes and cgroup go, record and logs stay. */
  | { readonly action: 'release' }
  /** Volumes, cgroup, directory, logs: nothing is left afterwards. */
  | { readonly action: 'cleanup' }
  /** Each lane in its own order, the lanes side by side: an image that takes long holds up its own container only. */
  | { readonly action: 'together'; readonly lanes: readonly (readonly Action[])[] };

export interface PlanInput {
  /** Absent for pods that are known from the runtime alone. */
  readonly desired?: DesiredPod;
  /** It shall go: its manifest is gone, or the node stops its pods. */
  readonly removed: boolean;
  readonly observed: ObservedPod;
  readonly failures: Failures;
  readonly nowMs: number;
  readonly node: NodeFacts;
}

export interface PodPlan {
  readonly actions: readonly Action[];
  /** Absent when nobody knows the pod's spec. */
  readonly status?: V1PodStatus;
  /** Look again then, even if nothing happens; absent: only when something does. */
  readonly wakeAtMs?: number;
  /** Nothing of the pod is left, and nothing shall be. */
  readonly gone: boolean;
}

export function plan(input: PlanInput): PodPlan {
  const { desired, removed, observed } = input;
  const stale = desired !== undefined && isStale(desired.hash, observed);
  const ending = removed || desired === undefined || stale;
  // The record of another hash tells of another pod: its times and its end are not this one's.
  const previous = desired !== undefined && observed.record?.hash === desired.hash ? observed.record.status : undefined;
  const status =
    desired === undefined
      ? undefined
      : computeStatus({
          pod: desired.pod,
          observed: stale ? { ...observed, sandboxes: [], containers: [] } : observed,
          failures: input.failures,
          nowMs: input.nowMs,
          node: input.node,
          ending: removed,
          ...(previous === undefined ? {} : { previous }),
        });
  const held = heldUntil(input, 'end');
  const next =
    held !== undefined
      ? { actions: [], wakeAtMs: held }
      : ending
        ? planEnd(input, stale)
        : isFinished(status)
          ? planFinished(observed)
          : planRun(input, desired);
  return {
    actions: next.actions,
    ...(status === undefined ? {} : { status }),
    ...(next.wakeAtMs === undefined ? {} : { wakeAtMs: next.wakeAtMs }),
    gone: (removed || desired === undefined) && isGone(observed),
  };
}

type Next = Pick<PodPlan, 'actions' | 'wakeAtMs'>;

/** Made for an earlier version of the manifest: the old pod ends completely before the new one starts. */
function isStale(hash: string, observed: ObservedPod): boolean {
  return observed.sandboxes.some((sandbox) => sandbox.hash !== hash) || (observed.record !== undefined && observed.record.hash !== hash);
}

function isGone({ sandboxes, containers, directory }: ObservedPod): boolean {
  return sandboxes.length === 0 && containers.length === 0 && !directory;
}

/** An action that failed is not tried again before its time. */
function heldUntil({ failures, nowMs }: PlanInput, key: 'end' | 'volumes' | 'sandbox'): number | undefined {
  const failure = failures.get(key);
  return failure !== undefined && nowMs < failure.untilMs ? failure.untilMs : undefined;
}

function planEnd(input: PlanInput, stale: boolean): Next {
  const { observed } = input;
  if (isGone(observed)) return { actions: [] };
  const reason = stale && !input.removed ? 'its manifest changed' : 'its pod is removed';
  return {
    actions: [
      ...killTogether(observed.containers.filter(isAlive), reason),
      ...observed.sandboxes.map(({ id }): Action => ({ action: 'stopSandbox', id })),
      ...observed.containers.map(remove),
      ...observed.sandboxes.map(({ id }): Action => ({ action: 'removeSandbox', id })),
      { action: 'cleanup' },
    ],
  };
}

const isAlive = ({ state }: ObservedContainer) => state === 'running' || state === 'unknown';

const remove = ({ id, name, restartCount }: ObservedContainer): Action => ({
  action: 'removeContainer',
  id,
  container: name,
  restartCount,
});

function killTogether(containers: readonly ObservedContainer[], reason: string): Action[] {
  if (containers.length === 0) return [];
  return [
    {
      action: 'together',
      lanes: containers.map(({ id, name, graceSeconds }) => [
        { action: 'killContainer', container: name, id, graceSeconds, reason } satisfies Action,
      ]),
    },
  ];
}

/** Stopped for good, but listed, with its logs, until its manifest goes. */
function planFinished(observed: ObservedPod): Next {
  const actions: Action[] = [
    ...killTogether(observed.containers.filter(isAlive), 'its pod has finished'),
    ...observed.sandboxes.filter(({ ready }) => ready).map(({ id }): Action => ({ action: 'stopSandbox', id })),
  ];
  if (observed.record?.released !== true) actions.push({ action: 'release' });
  return { actions };
}

function planRun(input: PlanInput, desired: DesiredPod): Next {
  const { observed } = input;
  const containers = desired.pod.spec?.containers ?? [];
  const decisions = containers.map((container) => ({
    name: container.name,
    decision: decideContainer(container, { pod: desired.pod, observed, failures: input.failures, nowMs: input.nowMs }),
  }));
  const active = activeSandbox(observed);
  const starts = decisions.filter(({ decision }) => decision.decision === 'start' || decision.decision === 'resume');
  const wakes = decisions.flatMap(({ decision }) => (decision.decision === 'wait' ? [decision.untilMs] : []));
  const actions: Action[] = [...planStrays(observed, active?.id)];

  const held = heldUntil(input, 'volumes') ?? heldUntil(input, 'sandbox');
  if (starts.length > 0 && held !== undefined) wakes.push(held);
  else if (starts.length > 0) {
    // A sandbox whose pause process died still holds its address until it is stopped.
    const dead = active === undefined ? observed.sandboxes.filter(({ ready }) => !ready) : [];
    actions.push(...dead.map(({ id }): Action => ({ action: 'stopSandbox', id })), { action: 'ensureVolumes' });
    if (active === undefined) actions.push({ action: 'createSandbox', attempt: nextAttempt(observed) });
    actions.push({ action: 'ensureHosts' }, { action: 'together', lanes: starts.map(({ name, decision }) => planStart(name, decision)) });
  }
  actions.push(...planGarbage(observed, actions.length > 0));
  return { actions, ...(wakes.length === 0 ? {} : { wakeAtMs: Math.min(...wakes) }) };
}

function nextAttempt(observed: ObservedPod): number {
  return Math.max(-1, ...observed.sandboxes.map(({ attempt }) => attempt)) + 1;
}

function planStart(container: string, decision: Decision): readonly Action[] {
  if (decision.decision === 'resume') return [{ action: 'startContainer', container, id: decision.container.id }];
  if (decision.decision !== 'start') return [];
  const { restartCount, backoffStep, previous } = decision;
  return [
    // What the runtime lost sight of must not run beside its successor.
    ...(previous?.state === 'unknown' ? [kill(previous, 'its state is unknown')] : []),
    { action: 'ensureImage', container },
    { action: 'createContainer', container, restartCount, backoffStep },
    { action: 'startContainer', container },
  ];
}

const kill = ({ id, name, graceSeconds }: ObservedContainer, reason: string): Action => ({
  action: 'killContainer',
  container: name,
  id,
  graceSeconds,
  reason,
});

/** Whatever runs outside of the pod's one sandbox, and any sandbox beside it. */
function planStrays(observed: ObservedPod, activeId: string | undefined): Action[] {
  const lost = observed.containers.filter(({ state, sandboxId }) => state === 'running' && sandboxId !== activeId);
  const stray = observed.sandboxes.filter(({ id, ready }) => id !== activeId && ready);
  return [...killTogether(lost, 'its sandbox is gone'), ...stray.map(({ id }): Action => ({ action: 'stopSandbox', id }))];
}

/** One dead container per name stays, for `logs --previous`; so do the sandboxes that kept ones belong to. */
function planGarbage(observed: ObservedPod, busy: boolean): Action[] {
  // While containers change, the next look knows better what is old.
  if (busy) return [];
  const seen = new Set<string>();
  const current = new Set<string>();
  const dead: ObservedContainer[] = [];
  for (const container of observed.containers) {
    if (container.state === 'running' || (container.state === 'created' && !current.has(container.name))) {
      current.add(container.name);
    } else if (seen.has(container.name)) dead.push(container);
    else {
      seen.add(container.name);
      current.add(container.name);
    }
  }
  const removed = new Set(dead.map(({ id }) => id));
  const used = new Set(observed.containers.filter(({ id }) => !removed.has(id)).map(({ sandboxId }) => sandboxId));
  const sandboxes = observed.sandboxes.slice(1).filter(({ id, ready }) => !ready && !used.has(id));
  return [...dead.map(remove), ...sandboxes.map(({ id }): Action => ({ action: 'removeSandbox', id }))];
}
