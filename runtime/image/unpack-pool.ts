// Owns the worker threads: made when there is work, as many as there are processors, ended when there has been none for a while. Each
// does several jobs in turns.
import os from 'node:os';
import { Worker } from 'node:worker_threads';
import type { BlobProgress } from './blob-feed.ts';
import type { Completed, CompleteJob } from './complete-layer.ts';
import type { Unpacked } from './unpack.ts';
import type { UnpackJob } from './unpack-job.ts';
import type { Task, Tasks, UnpackAnswer, UnpackMessage } from './unpack-thread.ts';
import type { TreeUsage } from './usage.ts';

const IDLE_MS = 60_000;
/** Of archives that are there whole. Those that are still coming are few anyway, and must not keep these waiting. */
const WHOLE_AT_ONCE = 6;

export interface UnpackOptions {
  readonly signal?: AbortSignal | undefined;
  /** The blob is still being written: it is unpacked as it comes. */
  readonly progress?: BlobProgress | undefined;
}

export interface UnpackPool {
  /** Unpacks in a worker. When it has rejected, after an abort too, nothing writes into the target any more. */
  run(job: UnpackJob, options?: UnpackOptions): Promise<Unpacked>;
  /** Gives an unpacked layer what it takes from those below. */
  complete(job: CompleteJob): Promise<Completed>;
  /** Measures a directory tree. */
  measure(root: string): Promise<TreeUsage>;
  close(): Promise<void>;
}

// Compiled, this file and the worker are .js; run from the sources they are .ts.
const script = new URL(`./unpack.worker.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url);

interface Crew {
  readonly worker: Worker;
  readonly jobs: Map<number, PromiseWithResolvers<UnpackAnswer>>;
  timer: NodeJS.Timeout | undefined;
}

export function createUnpackPool(limit = Math.min(4, Math.max(2, os.availableParallelism()))): UnpackPool {
  const crews = new Set<Crew>();
  const waiting: (() => void)[] = [];
  let wholeAtOnce = 0;
  let nextId = 1;

  function hire(): Crew {
    const worker = new Worker(script);
    const crew: Crew = { worker, jobs: new Map(), timer: undefined };
    const end = (error: Error) => {
      crews.delete(crew);
      clearTimeout(crew.timer);
      for (const { reject } of crew.jobs.values()) reject(error);
      crew.jobs.clear();
    };
    worker.on('message', (answer: UnpackAnswer) => crew.jobs.get(answer.id)?.resolve(answer));
    worker.on('error', end);
    worker.on('exit', () => end(new Error('the unpacking thread ended')));
    crews.add(crew);
    return crew;
  }

  /** The one with the fewest jobs; a new one rather than a second job for anyone. */
  function choose(): Crew {
    const [least] = [...crews].sort((a, b) => a.jobs.size - b.jobs.size);
    const crew = least === undefined || (least.jobs.size > 0 && crews.size < limit) ? hire() : least;
    clearTimeout(crew.timer);
    crew.worker.ref();
    return crew;
  }

  function rest(crew: Crew): void {
    if (crew.jobs.size > 0) return;
    crew.worker.unref();
    crew.timer = setTimeout(() => void crew.worker.terminate(), IDLE_MS);
    crew.timer.unref();
  }

  async function work<Kind extends keyof Tasks>(
    kind: Kind,
    job: Tasks[Kind]['job'],
    { signal, progress }: UnpackOptions = {},
  ): Promise<Tasks[Kind]['result']> {
    signal?.throwIfAborted();
    const crew = choose();
    const id = nextId++;
    const answered = Promise.withResolvers<UnpackAnswer>();
    crew.jobs.set(id, answered);
    const tell = (message: UnpackMessage) => crew.worker.postMessage(message);
    const abort = () => tell({ id, abort: true });
    // One message for all that comes in a turn of the event loop.
    let scheduled: NodeJS.Immediate | undefined;
    const unfollow = progress?.follow(() => {
      scheduled ??= setImmediate(() => {
        scheduled = undefined;
        tell({ id, arrivedBytes: progress.arrivedBytes });
      });
    });
    signal?.addEventListener('abort', abort);
    try {
      tell({ id, task: { kind, job } as Task, arrivedBytes: progress?.arrivedBytes ?? Number.POSITIVE_INFINITY });
      const answer = await answered.promise;
      if ('result' in answer) return answer.result as Tasks[Kind]['result'];
      signal?.throwIfAborted();
      throw Object.assign(new Error(answer.message), answer.code === undefined ? {} : { code: answer.code });
    } finally {
      unfollow?.();
      clearImmediate(scheduled);
      signal?.removeEventListener('abort', abort);
      crew.jobs.delete(id);
      rest(crew);
    }
  }

  return {
    run: async (job, options = {}) => {
      if (options.progress !== undefined) return work('unpack', job, options);
      while (wholeAtOnce >= WHOLE_AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
      wholeAtOnce++;
      try {
        return await work('unpack', job, options);
      } finally {
        wholeAtOnce--;
        waiting.shift()?.();
      }
    },
    complete: (job) => work('complete', job),
    measure: (root) => work('measure', root),
    close: async () => {
      await Promise.all([...crews].map(({ worker }) => worker.terminate()));
    },
  };
}
