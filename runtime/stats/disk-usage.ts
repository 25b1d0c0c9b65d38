// Owns how much each container wrote to its root file system. A tree of a million files takes seconds to measure: answers come from the
// last measurement, one tree at a time is measured in the background, and seldom the more it costs.
import type { FsUsage } from '../image/store.ts';

/** How long an answer may wait for the first measurement of a container. */
const FIRST_WAIT_MS = 500;
const FRESH_MS = 10_000;
/** At most a fiftieth of the time goes into measuring one container again and again. */
const COST_FACTOR = 50;

interface Measured {
  readonly usage: FsUsage;
  readonly atNs: bigint;
  readonly dueMs: number;
}

export interface DiskUsageAnswer {
  readonly usage: FsUsage;
  /** When it was measured. */
  readonly atNs: bigint;
}

export class DiskUsage {
  readonly #measure: (id: string) => Promise<FsUsage>;
  readonly #nowNs: () => bigint;
  readonly #known = new Map<string, Measured>();
  readonly #running = new Map<string, Promise<void>>();
  #turn: Promise<unknown> = Promise.resolve();

  constructor(measure: (id: string) => Promise<FsUsage>, nowNs: () => bigint) {
    this.#measure = measure;
    this.#nowNs = nowNs;
  }

  /** Undefined while the first measurement takes its time, and for what cannot be measured. */
  async read(id: string): Promise<DiskUsageAnswer | undefined> {
    const known = this.#known.get(id);
    if (known === undefined) {
      let timer: NodeJS.Timeout | undefined;
      const patience = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, FIRST_WAIT_MS);
      });
      await Promise.race([this.#refresh(id), patience]);
      clearTimeout(timer);
    } else if (performance.now() >= known.dueMs) void this.#refresh(id);
    return this.#known.get(id);
  }

  retain(exists: (id: string) => boolean): void {
    for (const id of this.#known.keys()) if (!exists(id)) this.#known.delete(id);
  }

  #refresh(id: string): Promise<void> {
    const running = this.#running.get(id);
    if (running !== undefined) return running;
    const next = this.#turn
      .then(async () => {
        const startedMs = performance.now();
        const usage = await this.#measure(id);
        const tookMs = performance.now() - startedMs;
        this.#known.set(id, { usage, atNs: this.#nowNs(), dueMs: performance.now() + Math.max(FRESH_MS, tookMs * COST_FACTOR) });
      })
      // Its container was removed meanwhile: there is nothing to tell.
      .catch(() => undefined)
      .finally(() => this.#running.delete(id));
    this.#turn = next;
    this.#running.set(id, next);
    return next;
  }
}
