// A world in which plans come true: actions change it as the runtime and the disk would, events happen to it. For tests.
import type { V1Pod } from '@kubernetes/client-node';
import type { DesiredPod } from '../../source/source.ts';
import type { PodRecord } from '../../status/record.ts';
import type { NodeFacts } from '../../status/status.ts';
import type { Failures } from '../backoff.ts';
import { byAge, type ObservedContainer, type ObservedPod, type ObservedSandbox } from '../observed.ts';
import { type Action, type PodPlan, plan } from '../plan.ts';

export const UID = '5b3c0b52-0000-8000-8000-000000000001';
export const NODE: NodeFacts = { nodeName: 'node', hostIps: ['192.0.2.10'], runtimeName: 'tskubelet' };

export function makePod(policy: string, names: readonly string[] = ['web'], fields: Partial<V1Pod['spec']> = {}): V1Pod {
  return {
    metadata: { name: 'web', namespace: 'default', uid: UID },
    spec: {
      restartPolicy: policy,
      terminationGracePeriodSeconds: 30,
      containers: names.map((name) => ({ name, image: 'localhost/node:host', imagePullPolicy: 'IfNotPresent' })),
      ...fields,
    },
  };
}

export function makeDesired(pod: V1Pod, hash = 'one'): DesiredPod {
  return { pod, hash, origin: { source: 'file', file: '/pods/web.yaml', document: 1 } };
}

export class World {
  desired: DesiredPod | undefined;
  removed = false;
  nowMs = 1_000_000;
  failures: Failures = new Map();
  sandboxes: ObservedSandbox[] = [];
  containers: ObservedContainer[] = [];
  directory = false;
  record: PodRecord | undefined;
  /** Every action that came true, in words. */
  readonly steps: string[] = [];
  #next = 0;

  constructor(desired: DesiredPod | undefined) {
    this.desired = desired;
  }

  observe(): ObservedPod {
    return {
      uid: UID,
      namespace: 'default',
      name: 'web',
      sandboxes: this.sandboxes.toSorted((a, b) => b.attempt - a.attempt),
      containers: this.containers.toSorted(byAge),
      directory: this.directory,
      ...(this.record === undefined ? {} : { record: this.record }),
    };
  }

  plan(): PodPlan {
    return plan({
      ...(this.desired === undefined ? {} : { desired: this.desired }),
      removed: this.removed,
      observed: this.observe(),
      failures: this.failures,
      nowMs: this.nowMs,
      node: NODE,
    });
  }

  /** One sync of a worker: publish, then walk. */
  sync(): PodPlan {
    const next = this.plan();
    const { desired, record } = this;
    if (
      next.status !== undefined &&
      desired !== undefined &&
      !next.gone &&
      !this.removed &&
      (record === undefined || record.hash === desired.hash)
    ) {
      const { uid, namespace, name } = this.observe();
      this.record = { uid, namespace, name, hash: desired.hash, originFile: '', released: record?.released ?? false, status: next.status };
      this.directory = true;
    }
    this.#apply(next.actions);
    return next;
  }

  /** Syncs until there is nothing to do now; throws when that takes too long. */
  settle(limit = 20): PodPlan {
    for (let i = 0; i < limit; i++) {
      const next = this.sync();
      if (next.actions.length === 0) return next;
    }
    throw new Error(`the plan does not settle: ${JSON.stringify(this.plan().actions)}`);
  }

  #apply(actions: readonly Action[]): void {
    for (const action of actions) {
      if (action.action === 'together') for (const lane of action.lanes) this.#apply(lane);
      else {
        this.steps.push(describe(action));
        this.#do(action);
      }
    }
  }

  #do(action: Exclude<Action, { action: 'together' }>): void {
    this.nowMs += 1;
    const hash = this.desired?.hash ?? '';
    switch (action.action) {
      case 'createSandbox':
        if (this.sandboxes.some(({ ready }) => ready)) throw new Error('a second ready sandbox');
        if (this.sandboxes.some((sandbox) => sandbox.hash !== hash)) throw new Error('the old pod is not gone');
        this.sandboxes.push({
          id: `s${this.#next++}`,
          attempt: action.attempt,
          ready: true,
          createdAtMs: this.nowMs,
          ips: ['10.244.0.2'],
          hash,
        });
        break;
      case 'createContainer':
        this.containers.push(this.#newContainer(action));
        break;
      case 'startContainer': {
        const id = action.id ?? this.newest(action.container).id;
        if (this.containers.some(({ name, state }) => name === action.container && state === 'running')) throw new Error('two run at once');
        this.change(id, { state: 'running', startedAtMs: this.nowMs });
        break;
      }
      case 'killContainer':
        this.change(action.id, { state: 'exited', exitCode: 137, reason: 'Error', finishedAtMs: this.nowMs });
        break;
      case 'stopSandbox':
        this.loseSandbox(action.id);
        break;
      case 'removeContainer':
        this.containers = this.containers.filter(({ id }) => id !== action.id);
        break;
      case 'removeSandbox':
        this.sandboxes = this.sandboxes.filter(({ id }) => id !== action.id);
        break;
      case 'release':
        if (this.record !== undefined) this.record = { ...this.record, released: true };
        break;
      case 'cleanup':
        this.directory = false;
        this.record = undefined;
        break;
      default:
        break;
    }
  }

  #newContainer({ container, restartCount, backoffStep }: Extract<Action, { action: 'createContainer' }>): ObservedContainer {
    const sandbox = this.sandboxes.find(({ ready }) => ready);
    if (sandbox === undefined) throw new Error('a container without a sandbox');
    return {
      ...{ id: `c${this.#next++}`, sandboxId: sandbox.id, name: container, restartCount, backoffStep, graceSeconds: 30 },
      ...{ state: 'created', createdAtMs: this.nowMs, startedAtMs: 0, finishedAtMs: 0, exitCode: 0, reason: '', message: '' },
      ...{ image: 'localhost/node:host', imageRef: 'sha256:1', imageId: 'sha256:1' },
    };
  }

  newest(name: string): ObservedContainer {
    const found = this.containers.toSorted(byAge).find((container) => container.name === name);
    if (found === undefined) throw new Error(`no container ${name}`);
    return found;
  }

  change(id: string, change: Partial<ObservedContainer>): void {
    this.containers = this.containers.map((container) => (container.id === id ? { ...container, ...change } : container));
  }

  /** The program ends by itself. */
  exit(name: string, exitCode: number, reason = exitCode === 0 ? 'Completed' : 'Error'): void {
    this.change(this.newest(name).id, { state: 'exited', exitCode, reason, finishedAtMs: this.nowMs });
  }

  /** The pause process dies, or the sandbox is stopped. */
  loseSandbox(id = this.sandboxes.find(({ ready }) => ready)?.id): void {
    this.sandboxes = this.sandboxes.map((sandbox) => (sandbox.id === id ? { ...sandbox, ready: false, ips: [] } : sandbox));
  }
}

function describe(action: Exclude<Action, { action: 'together' }>): string {
  const { action: name, ...rest } = action;
  const id = 'container' in rest ? rest.container : 'id' in rest ? rest.id : 'attempt' in rest ? String(rest.attempt) : '';
  return id === '' ? name : `${name} ${id}${'restartCount' in rest && name === 'createContainer' ? ` ${rest.restartCount}` : ''}`;
}
