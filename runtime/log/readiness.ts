// Owns when each output stream is stepped: woken by one epoll for all of them, in turns short enough for the event loop, round robin, and
// with a pause after small batches so that the pump does not chase a writer line by line.
import { type Epoll, openEpoll } from '../linux/epoll.ts';

/** What a step wants next: another turn at once, a turn after so many milliseconds, a turn when its descriptor is ready, or none. */
export type Next = 'again' | 'wait' | 'stop' | number;

export interface Source {
  readonly fd: number;
  /** One bounded piece of work. */
  step(): Next;
}

/** A turn of the event loop that works on streams ends after this; a single step takes about a third of it. */
const TURN_MS = 1;

const SMALL_BATCH_BYTES = 16 * 1024;
const LARGE_BATCH_BYTES = 64 * 1024;
const MIN_PAUSE_MS = 1;
const MAX_PAUSE_MS = 16;

/**
 * How long to let a writer go on before its pipe is read again, 0 for not at all: pauses grow while batches stay small and a pipe is
 * never left to fill up (256 KiB in 1 ms is as fast as a program writes lines).
 */
export function planPause(bytes: number, lastPauseMs: number): number {
  if (bytes >= LARGE_BATCH_BYTES) return 0;
  if (bytes >= SMALL_BATCH_BYTES) return Math.min(lastPauseMs, MIN_PAUSE_MS);
  return Math.min(Math.max(lastPauseMs * 2, MIN_PAUSE_MS), MAX_PAUSE_MS);
}

export class Readiness {
  readonly epoll: Epoll = openEpoll();
  private readonly sources = new Set<Source>();
  private readonly ready = new Set<Source>();
  private readonly pauses = new Map<Source, NodeJS.Timeout>();
  private turn: NodeJS.Immediate | undefined;

  add(source: Source): void {
    this.sources.add(source);
    this.epoll.add(source.fd, () => this.wake(source));
  }

  /** Gives a source a turn, whatever its descriptor says. */
  wake(source: Source): void {
    if (!this.sources.has(source)) return;
    this.endPause(source);
    this.ready.add(source);
    this.turn ??= setImmediate(() => this.takeTurn());
  }

  /** Before the source's descriptor is closed. */
  remove(source: Source): void {
    if (!this.sources.delete(source)) return;
    this.ready.delete(source);
    this.endPause(source);
    this.epoll.remove(source.fd);
  }

  async close(): Promise<void> {
    for (const source of this.sources) this.remove(source);
    clearImmediate(this.turn);
    await this.epoll.close();
  }

  private takeTurn(): void {
    this.turn = undefined;
    const end = performance.now() + TURN_MS;
    // A copy: one step per stream and turn, those that want more queue up behind the others.
    for (const source of [...this.ready]) {
      this.ready.delete(source);
      this.follow(source, source.step());
      if (performance.now() > end) break;
    }
    if (this.ready.size > 0) this.turn ??= setImmediate(() => this.takeTurn());
  }

  private follow(source: Source, next: Next): void {
    if (!this.sources.has(source) || next === 'stop') return;
    if (next === 'again') this.ready.add(source);
    else if (next === 'wait') this.epoll.arm(source.fd);
    else
      this.pauses.set(
        source,
        setTimeout(() => this.wake(source), next),
      );
  }

  private endPause(source: Source): void {
    clearTimeout(this.pauses.get(source));
    this.pauses.delete(source);
  }
}
