// Owns every waiting time of a pod: restarts in a row, and steps that failed. Pure.
import type { ObservedContainer } from './observed.ts';

const FIRST_RESTART_DELAY_MS = 10_000;
const MAX_RESTART_DELAY_MS = 300_000;
/** A container that ran this long starts over at the first step. */
const STEADY_RUN_MS = 600_000;

/** The delay before the container of this step starts: the first restart is at once, then 10 s, doubled up to 300 s. */
export function restartDelayMs(step: number): number {
  return step <= 1 ? 0 : Math.min(FIRST_RESTART_DELAY_MS * 2 ** Math.min(step - 2, 16), MAX_RESTART_DELAY_MS);
}

/** Which restart in a row follows this ended container. */
export function nextBackoffStep(ended: ObservedContainer): number {
  const ranMs = ended.startedAtMs > 0 ? ended.finishedAtMs - ended.startedAtMs : 0;
  return ranMs >= STEADY_RUN_MS ? 1 : ended.backoffStep + 1;
}

/** What failed, by what it is retried on: the volumes and the sandbox of the pod, image and creation of each container, its end. */
export type FailureKey = 'volumes' | 'sandbox' | 'end' | `image ${string}` | `create ${string}` | `start ${string}`;

export interface Failure {
  /** A Kubernetes reason: ErrImagePull, CreateContainerError, … */
  readonly reason: string;
  readonly message: string;
  /** Failures in a row. */
  readonly count: number;
  readonly untilMs: number;
}

export type Failures = ReadonlyMap<FailureKey, Failure>;

interface Delay {
  readonly firstMs: number;
  readonly maxMs: number;
}

const DELAYS: Readonly<Record<string, Delay>> = {
  // What a person is about to mend on this machine is looked at often.
  volumes: { firstMs: 1_000, maxMs: 60_000 },
  sandbox: { firstMs: 2_000, maxMs: 60_000 },
  end: { firstMs: 1_000, maxMs: 30_000 },
  image: { firstMs: 10_000, maxMs: 300_000 },
  create: { firstMs: 10_000, maxMs: 300_000 },
  start: { firstMs: 10_000, maxMs: 300_000 },
};

/** The failures with one more of this key: count and delay go up from the last one. */
export function addFailure(failures: Failures, key: FailureKey, what: { reason: string; message: string; nowMs: number }): Failures {
  const { firstMs, maxMs } = DELAYS[key.split(' ')[0] ?? ''] ?? { firstMs: 10_000, maxMs: 300_000 };
  const count = (failures.get(key)?.count ?? 0) + 1;
  const untilMs = what.nowMs + Math.min(firstMs * 2 ** Math.min(count - 1, 16), maxMs);
  return new Map(failures).set(key, { reason: what.reason, message: what.message, count, untilMs });
}

export function clearFailure(failures: Failures, key: FailureKey): Failures {
  if (!failures.has(key)) return failures;
  const rest = new Map(failures);
  rest.delete(key);
  return rest;
}

/** As Go prints a duration of whole seconds: 10s, 1m20s, 5m0s. */
export function renderDelay(delayMs: number): string {
  const seconds = Math.ceil(delayMs / 1000);
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}
