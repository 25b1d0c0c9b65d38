// Owns the events that nobody does but that show in the status: a container ended, a restart has to wait. Pure.
import type { V1ContainerStatus, V1PodStatus } from '@kubernetes/client-node';

export interface StatusEvent {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
  readonly container?: string;
}

/**
 * What changed between two looks at one pod; without an earlier look nothing is news. While the pod is being removed its containers end
 * because we ended them: whatever their exit codes, that is no warning.
 */
export function computeStatusEvents(previous: V1PodStatus | undefined, next: V1PodStatus, removed: boolean): readonly StatusEvent[] {
  if (previous === undefined) return [];
  const before = new Map((previous.containerStatuses ?? []).map((status) => [status.name, status]));
  const events = (next.containerStatuses ?? []).flatMap((status) => {
    const old = before.get(status.name);
    return old === undefined ? [] : [...endEvents(old, status, removed), ...backOffEvents(old, status)];
  });
  if (previous.phase !== next.phase && (next.phase === 'Succeeded' || next.phase === 'Failed'))
    events.push({ type: next.phase === 'Failed' ? 'Warning' : 'Normal', reason: next.phase, message: `pod has finished: ${next.phase}` });
  return events;
}

const endOf = (status: V1ContainerStatus) => status.state?.terminated ?? status.lastState?.terminated;

function endEvents(old: V1ContainerStatus, status: V1ContainerStatus, removed: boolean): StatusEvent[] {
  const ended = endOf(status);
  const known = endOf(old);
  if (ended?.containerID === undefined || known?.containerID === ended.containerID) return [];
  // When the newest container is removed, the one before it is the last that shows.
  if (known !== undefined && Number(known.finishedAt ?? 0) > Number(ended.finishedAt ?? 0)) return [];
  // The failed start has been told already, by whoever tried it.
  if (ended.reason === 'StartError') return [];
  const detail = ended.message ? `: ${ended.message}` : '';
  return [
    {
      type: ended.exitCode === 0 || removed ? 'Normal' : 'Warning',
      reason: ended.reason ?? 'Error',
      message: `Container ${status.name} ended with exit code ${ended.exitCode} (${ended.reason ?? 'Error'})${detail}`,
      container: status.name,
    },
  ];
}

const WAITS_LONGER: Readonly<Record<string, true>> = { CrashLoopBackOff: true, ImagePullBackOff: true };

function backOffEvents(old: V1ContainerStatus, status: V1ContainerStatus): StatusEvent[] {
  const waiting = status.state?.waiting;
  if (waiting?.reason === undefined || !WAITS_LONGER[waiting.reason]) return [];
  const was = old.state?.waiting;
  if (was?.reason === waiting.reason && was.message === waiting.message) return [];
  return [{ type: 'Warning', reason: 'BackOff', message: waiting.message ?? waiting.reason, container: status.name }];
}
