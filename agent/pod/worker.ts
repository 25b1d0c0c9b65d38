// Owns one pod from its first sight until nothing is left of it: observe, plan, walk, wait, one sync at a time. A pod that hangs
// holds up nobody else: each has a worker of its own.
import { setTimeout as delay } from 'node:timers/promises';
import type { V1Pod, V1PodStatus } from '@kubernetes/client-node';
import type { Logger } from '../../runtime/logger.ts';
import { describeError } from '../error.ts';
import type { EventLog } from '../event/events.ts';
import { computeStatusEvents } from '../event/status-events.ts';
import type { DesiredPod } from '../source/source.ts';
import { type PodRecord, writeRecord } from '../status/record.ts';
import { isFinished, type NodeFacts } from '../status/status.ts';
import { addFailure, clearFailure, type Failures } from './backoff.ts';
import type { Observer } from './observe.ts';
import type { ObservedPod } from './observed.ts';
import { type PodName, podDir } from './paths.ts';
import { type PodPlan, plan } from './plan.ts';
import { Walk, type WalkNode } from './walk.ts';

export interface WorkerNode extends WalkNode {
  readonly observer: Observer;
  readonly facts: NodeFacts;
  readonly logger: Logger;
  readonly events: EventLog;
  readonly onSync: (operation: string, durationMs: number) => void;
  readonly onRunning: (durationMs: number) => void;
  readonly onChange: (worker: PodWorker) => void;
  readonly onGone: (worker: PodWorker) => void;
}

const UNREACHABLE_RETRY_MS = 1_000;
/** A plan that changes nothing must not spin: from this many syncs without a rest on, each waits. */
const SYNCS_WITHOUT_REST = 20;
const REST_MS = 1_000;
/** From a change during a walk to the look at it. */
const REFRESH_AFTER_MS = 200;
const MAX_TIMER_MS = 2 ** 31 - 1;

export class PodWorker {
  readonly pod: PodName;
  readonly #node: WorkerNode;
  #desired: DesiredPod | undefined;
  #removedAt: Date | undefined;
  #status: V1PodStatus | undefined;
  #failures: Failures = new Map();
  #walk: AbortController | undefined;
  #walkEnds = false;
  #woken = false;
  #rouse: (() => void) | undefined;
  #stopped = false;
  #refreshing = false;
  #unreachable = false;
  #startedMs: number | undefined;
  readonly done: Promise<void>;

  constructor(pod: PodName, desired: DesiredPod | undefined, node: WorkerNode) {
    this.pod = pod;
    this.#node = node;
    this.#desired = desired;
    if (desired === undefined) this.#removedAt = new Date();
    this.done = this.#run();
  }

  get desired(): DesiredPod | undefined {
    return this.#desired;
  }

  get status(): V1PodStatus | undefined {
    return this.#status;
  }

  get removed(): boolean {
    return this.#removedAt !== undefined;
  }

  /** The Pod as the API shows it. */
  view(): V1Pod | undefined {
    if (this.#desired === undefined) return undefined;
    const { pod } = this.#desired;
    const grace = pod.spec?.terminationGracePeriodSeconds ?? 30;
    const ending = this.#removedAt === undefined ? {} : { deletionTimestamp: this.#removedAt, deletionGracePeriodSeconds: grace };
    return {
      ...pod,
      metadata: { ...pod.metadata, ...ending },
      ...(this.#status === undefined ? {} : { status: this.#withPulls(this.#status) }),
    };
  }

  /** How far a pull is changes many times a second: it is added for whoever looks, and no change of the status. */
  #withPulls(status: V1PodStatus): V1PodStatus {
    const { pulls } = this.#node;
    const containerStatuses = (status.containerStatuses ?? []).map((container) => {
      const { waiting } = container.state ?? {};
      const message = waiting?.reason === 'ContainerCreating' ? pulls.describe(this.pod.uid, container.name) : undefined;
      return message === undefined ? container : { ...container, state: { waiting: { ...waiting, message } } };
    });
    return { ...status, containerStatuses };
  }

  /** The manifest, new or changed. A pod that is being removed stays so: the next worker takes it up. */
  update(desired: DesiredPod): void {
    if (this.#removedAt !== undefined) return;
    if (desired.hash === this.#desired?.hash) return;
    this.#desired = desired;
    this.#failures = new Map();
    this.#interrupt();
  }

  remove(): void {
    if (this.#removedAt !== undefined) return;
    this.#removedAt = new Date();
    this.#interrupt();
    this.#node.onChange(this);
  }

  /** Something happened to the pod in the runtime. */
  wake(): void {
    this.#woken = true;
    this.#rouse?.();
    if (this.#walk !== undefined) void this.#refresh();
  }

  /** Leaves the pod as it is. */
  stop(): void {
    this.#stopped = true;
    this.#walk?.abort();
    this.wake();
  }

  /** Starts in vain are given up at the next step; an end under way goes on. */
  #interrupt(): void {
    if (!this.#walkEnds) this.#walk?.abort();
    this.wake();
  }

  async #run(): Promise<void> {
    let busy = 0;
    while (!this.#stopped) {
      this.#woken = false;
      let restMs: number | undefined;
      try {
        const next = await this.#sync();
        this.#unreachable = false;
        if (next === 'gone') break;
        restMs = next === 'again' ? (++busy > SYNCS_WITHOUT_REST ? REST_MS : 0) : next;
        if (next !== 'again') busy = 0;
      } catch (error) {
        this.#complain(error);
        restMs = UNREACHABLE_RETRY_MS;
      }
      if (restMs !== 0) await this.#rest(restMs);
    }
    this.#node.observer.forget(this.pod.uid);
    if (!this.#stopped) this.#node.onGone(this);
  }

  /** Once per outage: the runtime or the disk does not answer. */
  #complain(error: unknown): void {
    if (this.#unreachable || this.#stopped) return;
    this.#unreachable = true;
    const pod = `${this.pod.namespace}/${this.pod.name}`;
    this.#node.logger.error({ pod }, `cannot look after the pod: ${describeError(error)}`);
  }

  async #sync(): Promise<'gone' | 'again' | number | undefined> {
    const desired = this.#desired;
    const observed = await this.#node.observer.observe(this.pod);
    const next = this.#plan(observed);
    this.#startedMs ??= observed.sandboxes.length === 0 && observed.record === undefined ? Date.now() : 0;
    await this.#publish(next, observed, { persist: true });
    if (next.gone) return 'gone';
    if (next.actions.length === 0) return next.wakeAtMs === undefined ? undefined : Math.max(next.wakeAtMs - Date.now(), 1);
    const walk = new AbortController();
    this.#walk = walk;
    this.#walkEnds = next.actions.some(({ action }) => action === 'cleanup');
    const startedMs = Date.now();
    try {
      // What was desired may have changed while we looked.
      if (desired !== this.#desired || this.#stopped) return 'again';
      const result = await new Walk(this.#node, desired, observed, walk.signal).run(next.actions);
      for (const key of result.succeeded) this.#failures = clearFailure(this.#failures, key);
      // Failures of a manifest that was replaced meanwhile are not the new one's.
      if (desired?.hash === this.#desired?.hash)
        for (const { key, reason, message } of result.failures)
          this.#failures = addFailure(this.#failures, key, { reason, message, nowMs: Date.now() });
      if (result.released && observed.record !== undefined)
        await this.#write({ ...observed.record, status: this.#status!, released: true });
    } finally {
      this.#walk = undefined;
      this.#node.onSync(operationOf(next), Date.now() - startedMs);
    }
    return 'again';
  }

  #plan(observed: ObservedPod): PodPlan {
    return plan({
      ...(this.#desired === undefined ? {} : { desired: this.#desired }),
      removed: this.#removedAt !== undefined,
      observed,
      failures: this.#failures,
      nowMs: Date.now(),
      node: this.#node.facts,
    });
  }

  /** What can be seen from outside is kept current also while a walk takes its time (a long pull, a grace period). */
  async #refresh(): Promise<void> {
    if (this.#refreshing) return;
    this.#refreshing = true;
    const walk = this.#walk;
    try {
      // A walk that is over by then has been followed by a sync, which makes this look needless: most are.
      await delay(REFRESH_AFTER_MS, undefined, { ref: false });
      if (this.#walk !== walk) return;
      const observed = await this.#node.observer.observe(this.pod);
      // The sync after the walk has seen more than this look.
      if (this.#walk === walk) await this.#publish(this.#plan(observed), observed, { persist: false });
    } catch {
      // The next sync meets the same error and tells it.
    } finally {
      this.#refreshing = false;
    }
  }

  async #publish({ status, gone }: PodPlan, observed: ObservedPod, { persist }: { persist: boolean }): Promise<void> {
    if (status === undefined || gone) return;
    const previous = this.#status ?? (observed.record?.hash === this.#desired?.hash ? observed.record?.status : undefined);
    const changed = JSON.stringify(this.#status) !== JSON.stringify(status);
    this.#status = status;
    if (changed) {
      for (const event of computeStatusEvents(previous, status, this.removed)) this.#node.events.record({ ...event, pod: this.pod });
      const started = status.containerStatuses?.every(({ state }) => state?.running !== undefined || state?.terminated?.exitCode === 0);
      if (this.#startedMs && started) {
        this.#node.onRunning(Date.now() - this.#startedMs);
        this.#startedMs = 0;
      }
      this.#node.onChange(this);
    }
    const desired = this.#desired;
    if (!persist || desired === undefined || this.removed) return;
    const { record } = observed;
    // The record of an earlier version stays until that one is cleaned up.
    if (record !== undefined && record.hash !== desired.hash) return;
    if (record !== undefined && JSON.stringify(record.status) === JSON.stringify(status)) return;
    await this.#write({
      ...this.pod,
      ...{ hash: desired.hash, originFile: desired.origin.file, released: record?.released ?? false, status },
    });
  }

  #write(record: PodRecord): Promise<void> {
    return writeRecord(podDir(this.#node.config.paths, this.pod.uid), record, { durable: isFinished(record.status) });
  }

  #rest(durationMs: number | undefined): Promise<void> {
    if (this.#woken || this.#stopped) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = durationMs === undefined ? undefined : setTimeout(() => this.#rouse?.(), Math.min(durationMs, MAX_TIMER_MS));
      this.#rouse = () => {
        clearTimeout(timer);
        this.#rouse = undefined;
        resolve();
      };
    });
  }
}

function operationOf({ actions }: PodPlan): string {
  const names = new Set(actions.map(({ action }) => action));
  if (names.has('cleanup')) return 'kill';
  return names.has('createSandbox') ? 'create' : 'sync';
}
