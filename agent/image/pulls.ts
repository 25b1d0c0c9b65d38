// Owns which images are being pulled for which pods, and how far each pull is. Our own runtime tells that in a service beside CRI; of a
// pull of another one it is known that it goes on, and no more.
import type { CriClient } from '../../cri-proto/client.ts';
import type { TransferLayer } from '../../cri-proto/images.ts';
import { addSample, computeTransfer, percentOf, renderTransfer, type Sample, type Transfer } from './transfer.ts';

export interface ImagePull {
  readonly uid: string;
  readonly container: string;
  /** As the manifest has it. */
  readonly image: string;
  readonly startedMs: number;
  readonly layers: readonly TransferLayer[];
  readonly transfer: Transfer;
}

/** When a pull that goes on tells how far it is: soon, then ever more seldom. */
const FIRST_NEWS_MS = 5_000;
const RAREST_NEWS_MS = 60_000;

interface Tracked extends Pick<ImagePull, 'uid' | 'container' | 'image' | 'startedMs'> {
  layers: readonly TransferLayer[];
  samples: readonly Sample[];
}

export class ImagePulls {
  readonly #cri: CriClient;
  readonly #tracked = new Set<Tracked>();

  constructor(cri: CriClient) {
    this.#cri = cri;
  }

  /** Follows a pull for as long as it takes. `onNews` gets how far it is: '43 %, 120/280MB, 31MB/s, ~4s left'. */
  async track<T>(
    what: Pick<ImagePull, 'uid' | 'container' | 'image'>,
    pull: () => Promise<T>,
    onNews: (progress: string) => void,
  ): Promise<T> {
    const tracked: Tracked = { ...what, startedMs: Date.now(), layers: [], samples: [] };
    const ended = new AbortController();
    this.#tracked.add(tracked);
    void this.#follow(tracked, ended.signal);
    let timer: NodeJS.Timeout | undefined;
    const tellIn = (waitMs: number) => {
      timer = setTimeout(() => {
        if (tracked.layers.length > 0) onNews(renderTransfer(computeTransfer(tracked.layers, tracked.samples, Date.now())));
        tellIn(Math.min(2 * waitMs, RAREST_NEWS_MS));
      }, waitMs);
    };
    tellIn(FIRST_NEWS_MS);
    try {
      return await pull();
    } finally {
      clearTimeout(timer);
      ended.abort();
      this.#tracked.delete(tracked);
    }
  }

  list(): readonly ImagePull[] {
    const nowMs = Date.now();
    return [...this.#tracked].map(({ samples, ...pull }) => ({ ...pull, transfer: computeTransfer(pull.layers, samples, nowMs) }));
  }

  /** What a container waits for, in one sentence: 'pulling image "x": 43 %, 120/280MB, 31MB/s, ~4s left'. */
  describe(uid: string, container: string): string | undefined {
    const pull = this.list().find((candidate) => candidate.uid === uid && candidate.container === container);
    return pull === undefined ? undefined : describePull(pull);
  }

  async #follow(tracked: Tracked, signal: AbortSignal): Promise<void> {
    try {
      for await (const { layers } of this.#cri.admin.watchPulls({ reference: tracked.image }, { signal })) {
        tracked.layers = layers.map(({ digest, state, totalBytes, doneBytes }) => ({
          ...{ digest, state, totalBytes: Number(totalBytes), doneBytes: Number(doneBytes) },
        }));
        if (layers.length === 0) continue;
        const atMs = Date.now();
        tracked.samples = addSample(tracked.samples, { atMs, bytes: computeTransfer(tracked.layers, [], atMs).doneBytes });
      }
    } catch {
      // UNIMPLEMENTED by another runtime, or the end of the pull, which its caller hears of.
    }
  }
}

export function describePull({ image, layers, transfer }: Pick<ImagePull, 'image' | 'layers' | 'transfer'>): string {
  return layers.length === 0 ? `pulling image "${image}"` : `pulling image "${image}": ${renderTransfer(transfer)}`;
}

/** The pulls of one pod as one number, for a column: 'Pulling 43%'. */
export function summarizePulls(pulls: readonly { readonly transfer: Pick<Transfer, 'doneBytes' | 'totalBytes'> }[]): string {
  const sum = (field: 'doneBytes' | 'totalBytes') => pulls.reduce((total, { transfer }) => total + transfer[field], 0);
  const all = { doneBytes: sum('doneBytes'), totalBytes: sum('totalBytes') };
  return all.totalBytes === 0 ? 'Pulling' : `Pulling ${percentOf(all)}%`;
}
