// Owns what happened to the pods and to the node, in Kubernetes' words: the newest kept in memory, each told to the log as one line when it happens.
import type { Logger } from '../../runtime/logger.ts';

export interface EventPod {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
}

export interface PodEvent {
  readonly type: 'Normal' | 'Warning';
  /** Pulling, Started, BackOff, … */
  readonly reason: string;
  readonly message: string;
  /** Absent: it is the node's. */
  readonly pod?: EventPod;
  readonly container?: string;
  readonly atMs: number;
}

export interface EventLog {
  record(event: Omit<PodEvent, 'atMs'>): void;
  /** Oldest first. */
  list(): readonly PodEvent[];
}

/** Of all pods together: memory has a limit. */
const KEPT = 1000;

/** A step on the way to Started, which a line of its own tells soon: made, or an image that nobody had to pull. */
function isStep({ reason }: Pick<PodEvent, 'reason'>, before: PodEvent | undefined): boolean {
  return reason === 'Created' || (reason === 'Pulled' && before?.reason !== 'Pulling');
}

export function createEventLog(logger: Logger, now: () => number = Date.now): EventLog {
  const events: PodEvent[] = [];
  return {
    record(event) {
      const before = events.findLast(({ pod, container }) => pod?.uid === event.pod?.uid && container === event.container);
      events.push({ ...event, atMs: now() });
      if (events.length > KEPT) events.shift();
      const fields = {
        event: event.reason,
        ...(event.pod === undefined ? {} : { pod: `${event.pod.namespace}/${event.pod.name}` }),
        ...(event.container === undefined ? {} : { container: event.container }),
      };
      if (event.type === 'Warning') logger.warn(fields, event.message);
      else if (isStep(event, before)) logger.debug(fields, event.message);
      else logger.info(fields, event.message);
    },
    list: () => [...events],
  };
}
