// Owns how far each pull is: what people watch, in numbers. It decides nothing, and nothing here outlives its pull by more than a word.
import type { Descriptor } from './manifest.ts';

/** waiting → downloading → unpacking → done. cached: the layer was here already, or another pull brings it. */
export type LayerState = 'waiting' | 'downloading' | 'unpacking' | 'done' | 'cached';

export interface LayerProgress {
  /** Of the archive, as the manifest names it. */
  readonly digest: string;
  readonly totalBytes: number;
  /** On this machine; bytes that an earlier, interrupted download left count from the start. */
  readonly receivedBytes: number;
  readonly state: LayerState;
}

export interface PullProgress {
  /** Unique among the pulls of this process. */
  readonly pullId: string;
  /** "docker.io/library/busybox:latest" */
  readonly reference: string;
  /** resolving: the manifest is on its way, so there are no layers yet. */
  readonly state: 'resolving' | 'pulling' | 'done' | 'failed';
  /** What went wrong, when it failed. */
  readonly error?: string;
  readonly startedAtMs: number;
  /** Bottom first. */
  readonly layers: readonly LayerProgress[];
}

export interface PullProgressSource {
  /** The pulls that go on now. */
  list(): readonly PullProgress[];
  /** By pull id, or by the reference in its one spelling (the newest pull of it); undefined when none goes on. */
  get(key: string): PullProgress | undefined;
  /**
   * Calls `listener` with a pull's progress: at once when a state changes, at most every 100 ms while only bytes come, and a last time
   * with `done` or `failed`. Gives the way to stop.
   */
  watch(listener: (progress: PullProgress) => void): () => void;
}

/** How one pull reports. */
export interface PullReport {
  /** The manifest is known; layers bottom first. */
  layers(layers: readonly Pick<Descriptor, 'digest' | 'sizeBytes'>[]): void;
  layer(index: number, state: LayerState): void;
  /** Bytes of the layer that are here now, all together. */
  received(index: number, bytes: number): void;
  end(error?: string): void;
}

export interface PullProgressBoard extends PullProgressSource {
  start(reference: string): PullReport;
}

const BYTES_EVERY_MS = 100;

export function createPullProgress(): PullProgressBoard {
  const running = new Map<string, PullProgress>();
  const listeners = new Set<(progress: PullProgress) => void>();
  let pulls = 0;

  const tell = (progress: PullProgress) => {
    for (const listener of [...listeners]) listener(progress);
  };

  return {
    list: () => [...running.values()],
    get: (key) => running.get(key) ?? [...running.values()].findLast(({ reference }) => reference === key),
    watch: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    start: (reference) => {
      const pullId = `pull-${++pulls}`;
      let progress: PullProgress = { pullId, reference, state: 'resolving', startedAtMs: Date.now(), layers: [] };
      let timer: NodeJS.Timeout | undefined;
      const change = (next: Partial<PullProgress>) => {
        progress = { ...progress, ...next };
        if (progress.state === 'resolving' || progress.state === 'pulling') running.set(pullId, progress);
        else running.delete(pullId);
      };
      const now = () => {
        clearTimeout(timer);
        timer = undefined;
        tell(progress);
      };
      const changeLayer = (index: number, fields: Partial<LayerProgress>) =>
        change({ layers: progress.layers.map((layer, i) => (i === index ? { ...layer, ...fields } : layer)) });
      change({});
      now();
      return {
        layers: (layers) => {
          change({
            state: 'pulling',
            layers: layers.map(({ digest, sizeBytes }) => ({ digest, totalBytes: sizeBytes, receivedBytes: 0, state: 'waiting' })),
          });
          now();
        },
        layer: (index, state) => {
          if (progress.layers[index]?.state === state) return;
          changeLayer(index, { state });
          now();
        },
        received: (index, receivedBytes) => {
          changeLayer(index, { receivedBytes });
          if (timer !== undefined) return;
          timer = setTimeout(now, BYTES_EVERY_MS);
          timer.unref();
        },
        end: (error) => {
          change(error === undefined ? { state: 'done' } : { state: 'failed', error });
          now();
        },
      };
    },
  };
}
