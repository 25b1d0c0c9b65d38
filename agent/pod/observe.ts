// Owns looking at the runtime: one pod at a time for its worker, all of them for the fallback relist. Changes nothing.
import fs from 'node:fs/promises';
import { CriCallError, type CriClient } from '../../cri-proto/client.ts';
import { type Container, type PodSandbox, PodSandboxState } from '../../cri-proto/gen/api.ts';
import { readRecord } from '../status/record.ts';
import * as labels from './labels.ts';
import { byAge, convertContainer, convertSandbox, type ObservedContainer, type ObservedPod, type ObservedSandbox } from './observed.ts';
import { type NodePaths, type PodName, podDir } from './paths.ts';

const TIMEOUT_MS = 120_000;

/** One line of the relist: enough to see that something changed. */
export interface ListedPod extends PodName {
  /** Differs when a container or sandbox came, went or changed its state. */
  readonly fingerprint: string;
  /** The node whose agent made it, and the file it came from; empty for pods of other agents. */
  readonly agentNode: string;
  readonly originFile: string;
}

export class Observer {
  readonly #cri: CriClient;
  readonly #paths: NodePaths;
  /** A container's status changes with its state only: what was read once per state is not asked for again. */
  readonly #known = new Map<string, Map<string, ObservedContainer>>();

  constructor(cri: CriClient, paths: NodePaths) {
    this.#cri = cri;
    this.#paths = paths;
  }

  async observe(pod: PodName): Promise<ObservedPod> {
    const labelSelector = { [labels.POD_UID]: pod.uid };
    const directory = podDir(this.#paths, pod.uid);
    const [{ items }, { containers }, record, exists] = await Promise.all([
      this.#cri.runtime.listPodSandbox({ filter: { labelSelector } }, { timeoutMs: TIMEOUT_MS }),
      this.#cri.runtime.listContainers({ filter: { labelSelector } }, { timeoutMs: TIMEOUT_MS }),
      readRecord(directory),
      fs.stat(directory).then(
        () => true,
        () => false,
      ),
    ]);
    const sandboxes = await Promise.all(items.map((item) => this.#sandbox(item)));
    const known = this.#known.get(pod.uid) ?? new Map<string, ObservedContainer>();
    const observed = await Promise.all(containers.map((container) => this.#container(container, known)));
    const present = observed.filter((container) => container !== undefined);
    this.#known.set(pod.uid, new Map(present.map((container) => [container.id, container])));
    return {
      ...pod,
      sandboxes: sandboxes
        .filter((sandbox) => sandbox !== undefined)
        .sort((a, b) => b.attempt - a.attempt || b.createdAtMs - a.createdAtMs),
      containers: present.sort(byAge),
      directory: exists,
      ...(record === undefined ? {} : { record }),
    };
  }

  forget(uid: string): void {
    this.#known.delete(uid);
  }

  /** Only a ready sandbox has addresses to ask for. */
  async #sandbox(item: PodSandbox): Promise<ObservedSandbox | undefined> {
    const { id, metadata, state, createdAt, annotations } = item;
    if (state !== PodSandboxState.SANDBOX_READY) {
      const attempt = metadata?.attempt ?? 0;
      const createdAtMs = Number(createdAt / 1_000_000n);
      return { id, attempt, ready: false, createdAtMs, ips: [], hash: annotations[labels.CONFIG_HASH] ?? '' };
    }
    return orGone(async () => {
      const { status } = await this.#cri.runtime.podSandboxStatus({ podSandboxId: id }, { timeoutMs: TIMEOUT_MS });
      return status === undefined ? undefined : convertSandbox(status);
    });
  }

  #container(listed: Container, known: ReadonlyMap<string, ObservedContainer>): Promise<ObservedContainer | undefined> {
    const before = known.get(listed.id);
    const state = ['created', 'running', 'exited', 'unknown'][listed.state];
    if (before !== undefined && before.state === state) return Promise.resolve(before);
    return orGone(async () => {
      const { status } = await this.#cri.runtime.containerStatus({ containerId: listed.id }, { timeoutMs: TIMEOUT_MS });
      return status === undefined ? undefined : convertContainer(status, listed.podSandboxId);
    });
  }

  /** Every pod in the runtime by UID, whoever made it. */
  async relist(): Promise<ReadonlyMap<string, ListedPod>> {
    const [{ items }, { containers }] = await Promise.all([
      this.#cri.runtime.listPodSandbox({}, { timeoutMs: TIMEOUT_MS }),
      this.#cri.runtime.listContainers({}, { timeoutMs: TIMEOUT_MS }),
    ]);
    const pods = new Map<string, ListedPod>();
    for (const { id, state, metadata, labels: own, annotations } of [...items, ...containers].sort((a, b) => (a.id < b.id ? -1 : 1))) {
      const uid = own[labels.POD_UID] ?? '';
      if (uid === '' || metadata === undefined) continue;
      const before = pods.get(uid);
      pods.set(uid, {
        uid,
        namespace: own[labels.POD_NAMESPACE] ?? '',
        name: own[labels.POD_NAME] ?? '',
        fingerprint: `${before?.fingerprint ?? ''}${id}:${state} `,
        agentNode: before?.agentNode || (annotations[labels.AGENT_NODE] ?? ''),
        originFile: before?.originFile || (annotations[labels.ORIGIN_FILE] ?? ''),
      });
    }
    return pods;
  }
}

/** What vanished between the list and the look at it is not there. */
async function orGone<T>(look: () => Promise<T>): Promise<T | undefined> {
  try {
    return await look();
  } catch (error) {
    if (error instanceof CriCallError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}
