// Owns which pods there are: merges what the sources want with what the runtime and the disk know, and keeps a worker for each.
import fs from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { DesiredPod, Problem, SourceUpdate } from '../source/source.ts';
import { readRecord } from '../status/record.ts';
import type { ListedPod } from './observe.ts';
import { type PodName, podDir } from './paths.ts';
import { PodWorker, type WorkerNode } from './worker.ts';

const RELIST_RETRY_MS = 1_000;
const CLOSE_TIMEOUT_MS = 2_000;

export interface PodsOptions {
  readonly node: Omit<WorkerNode, 'onChange' | 'onGone'>;
  /** Names of the sources that must have reported before a pod without a manifest counts as removed. */
  readonly expectedSources: readonly string[];
  /** Burstable pods changed what they ask for together. */
  readonly onDesired: (pods: readonly DesiredPod[]) => void;
}

/** gone: nothing is left of the pod. */
export type PodListener = (uid: string, what: 'changed' | 'gone') => void;

const fullName = ({ namespace, name }: { namespace: string; name: string }) => `${namespace}/${name}`;

export class Pods {
  readonly #options: PodsOptions;
  readonly #workers = new Map<string, PodWorker>();
  readonly #sources = new Map<string, SourceUpdate>();
  readonly #missing: Set<string>;
  /** Known from the runtime or the disk at start, not (yet) from a manifest. */
  readonly #found = new Map<string, ListedPod>();
  #fingerprints = new Map<string, string>();
  #clashes: readonly Problem[] = [];
  #ready = false;
  #stopping = false;
  #stopped = false;
  readonly #listeners = new Set<PodListener>();

  constructor(options: PodsOptions) {
    this.#options = options;
    this.#missing = new Set(options.expectedSources);
  }

  /** Looks once at everything that is there; before that nothing is started, so that nothing is started twice. */
  async start(signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        await this.#find();
        break;
      } catch (error) {
        if (signal.aborted) throw error;
        this.#options.node.logger.warn({ err: error }, 'cannot list the pods of the runtime yet');
        await delay(RELIST_RETRY_MS);
      }
    }
    this.#ready = true;
    this.#reconcile();
  }

  async #find(): Promise<void> {
    const { observer, config, facts } = this.#options.node;
    const listed = await observer.relist();
    for (const pod of listed.values()) if (pod.agentNode === facts.nodeName) this.#found.set(pod.uid, pod);
    this.#fingerprints = new Map([...listed.values()].map(({ uid, fingerprint }) => [uid, fingerprint]));
    const uids = await fs.readdir(config.paths.podsDir).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return [] as string[];
      throw error;
    });
    for (const uid of uids.filter((name) => !this.#found.has(name) && !listed.has(name))) {
      const record = await readRecord(podDir(config.paths, uid));
      const { namespace = '', name = '', originFile = '' } = record ?? {};
      this.#found.set(uid, { uid, namespace, name, fingerprint: '', agentNode: facts.nodeName, originFile });
    }
  }

  update(source: string, update: SourceUpdate): void {
    if (this.#stopping) return;
    this.#sources.set(source, update);
    this.#missing.delete(source);
    this.#reconcile();
  }

  /** A source that ends for good, as the connection of `run` does: its pods go. */
  removeSource(source: string): void {
    if (this.#sources.delete(source)) this.#reconcile();
  }

  /** Refused because another manifest has the name: by source. */
  get problems(): readonly Problem[] {
    return [...[...this.#sources.values()].flatMap(({ problems }) => problems), ...this.#clashes];
  }

  list(): readonly PodWorker[] {
    return [...this.#workers.values()];
  }

  find(namespace: string, name: string): PodWorker | undefined {
    const named = this.list().filter(({ pod }) => pod.namespace === namespace && pod.name === name);
    return named.find(({ removed }) => !removed) ?? named[0];
  }

  worker(uid: string): PodWorker | undefined {
    return this.#workers.get(uid);
  }

  /** Tells of every change of every pod; gives the way to stop it. */
  subscribe(listener: PodListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #tell(uid: string, what: 'changed' | 'gone'): void {
    for (const listener of [...this.#listeners]) listener(uid, what);
  }

  /** An event of the runtime about a pod. */
  wake(uid: string): void {
    this.#workers.get(uid)?.wake();
  }

  wakeAll(): void {
    for (const worker of this.#workers.values()) worker.wake();
  }

  /** The fallback: whoever changed since the last look is woken. */
  async relist(): Promise<void> {
    const listed = await this.#options.node.observer.relist();
    const now = new Map([...listed.values()].map(({ uid, fingerprint }) => [uid, fingerprint]));
    for (const uid of new Set([...now.keys(), ...this.#fingerprints.keys()]))
      if (now.get(uid) !== this.#fingerprints.get(uid)) this.wake(uid);
    this.#fingerprints = now;
  }

  /** Ends every pod and resolves once nothing of them is left. */
  async stopPods(): Promise<void> {
    this.#stopping = true;
    this.#sources.clear();
    this.#reconcile();
    const { promise, resolve } = Promise.withResolvers<void>();
    const unsubscribe = this.subscribe(() => this.#workers.size === 0 && resolve());
    if (this.#workers.size === 0) resolve();
    await promise;
    unsubscribe();
  }

  /** Leaves the pods as they are. */
  async close(): Promise<void> {
    this.#stopped = true;
    for (const worker of this.#workers.values()) worker.stop();
    const done = Promise.all([...this.#workers.values()].map((worker) => worker.done));
    // A worker in the middle of a long grace period leaves the rest of it to the next start.
    const patience = new AbortController();
    await Promise.race([done, delay(CLOSE_TIMEOUT_MS, undefined, { signal: patience.signal }).catch(() => undefined)]);
    patience.abort();
  }

  #reconcile(): void {
    if (!this.#ready || this.#stopped) return;
    const desired = this.#merge();
    this.#options.onDesired([...desired.values()]);
    const uids = new Set([...desired.values()].map(({ pod }) => pod.metadata?.uid ?? ''));
    for (const worker of this.#workers.values()) if (!uids.has(worker.pod.uid)) worker.remove();
    this.#endOrphans(uids);
    for (const pod of desired.values()) this.#ensure(pod);
  }

  /** The first manifest of a name has it; a later one is refused and told which file has the name. */
  #merge(): Map<string, DesiredPod> {
    const desired = new Map<string, DesiredPod>();
    const clashes: Problem[] = [];
    // Whoever runs already goes first, whichever source was read first.
    const all = [...this.#sources.values()].flatMap(({ pods }) => pods);
    const runs = ({ pod }: DesiredPod) => this.#workers.get(pod.metadata?.uid ?? '')?.removed === false;
    for (const pod of [...all.filter(runs), ...all.filter((candidate) => !runs(candidate))]) {
      const { namespace = 'default', name = '', uid = '' } = pod.pod.metadata ?? {};
      const key = fullName({ namespace, name });
      const other = desired.get(key) ?? [...desired.values()].find((candidate) => candidate.pod.metadata?.uid === uid);
      if (other === undefined) desired.set(key, pod);
      else {
        const what = desired.has(key) ? `pod ${key}` : `the UID ${uid}`;
        const message = `${what} is defined already by ${other.origin.file} (document ${other.origin.document}): rename one of them`;
        clashes.push({ origin: pod.origin, fieldPath: 'metadata.name', severity: 'refused', message });
      }
    }
    const before = new Set(this.#clashes.map((problem) => JSON.stringify(problem)));
    for (const problem of clashes)
      if (!before.has(JSON.stringify(problem)))
        this.#options.node.logger.warn({ file: problem.origin.file }, `${problem.origin.file}: ${problem.message}`);
    this.#clashes = clashes;
    return desired;
  }

  /** Pods of this node without a manifest, once every source has spoken; not those whose file is there and cannot be read. */
  #endOrphans(wanted: ReadonlySet<string>): void {
    if (this.#missing.size > 0 && !this.#stopping) return;
    const refused = new Set(this.problems.filter(({ severity }) => severity === 'refused').map(({ origin }) => origin.file));
    for (const [uid, pod] of this.#found) {
      if (wanted.has(uid) || this.#workers.has(uid)) this.#found.delete(uid);
      else if (this.#stopping || pod.originFile === '' || !refused.has(pod.originFile)) {
        this.#found.delete(uid);
        this.#options.node.logger.info({ pod: fullName(pod) }, 'no manifest names this pod any more: it is removed');
        this.#add(pod, undefined);
      }
    }
  }

  #ensure(desired: DesiredPod): void {
    const { uid = '', namespace = 'default', name = '' } = desired.pod.metadata ?? {};
    const worker = this.#workers.get(uid);
    if (worker !== undefined) {
      worker.update(desired);
      return;
    }
    // An earlier pod of the name must be gone before this one starts; its end comes here again.
    const holds = ({ pod }: { pod: PodName }) => pod.namespace === namespace && pod.name === name;
    if (this.list().some(holds)) return;
    const orphan = [...this.#found.values()].find((pod) => pod.uid !== uid && pod.namespace === namespace && pod.name === name);
    if (orphan !== undefined) {
      this.#found.delete(orphan.uid);
      this.#add(orphan, undefined);
      return;
    }
    this.#found.delete(uid);
    this.#add({ uid, namespace, name }, desired);
  }

  #add({ uid, namespace, name }: PodName, desired: DesiredPod | undefined): void {
    const worker = new PodWorker({ uid, namespace, name }, desired, {
      ...this.#options.node,
      onChange: () => this.#tell(uid, 'changed'),
      onGone: (gone) => {
        if (this.#workers.get(uid) === gone) this.#workers.delete(uid);
        this.#tell(uid, 'gone');
        this.#reconcile();
      },
    });
    this.#workers.set(uid, worker);
    this.#tell(uid, 'changed');
  }
}
