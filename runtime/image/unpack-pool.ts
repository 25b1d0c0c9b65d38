// Owns the worker threads: made when there is work, at most a few, ended when there has been none for a while.
import { Worker } from 'node:worker_threads';
import type { Unpacked } from './unpack.ts';
import type { UnpackAnswer } from './unpack.worker.ts';
import type { UnpackJob } from './unpack-job.ts';

const WORKER_LIMIT = 3;
const IDLE_MS = 5_000;

export interface UnpackPool {
  /** Unpacks in a worker. An abort ends the worker in the middle of its work. */
  run(job: UnpackJob, signal?: AbortSignal): Promise<Unpacked>;
  close(): Promise<void>;
}

// Compiled, this file and the worker are .js; run from the sources they are .ts.
const script = new URL(`./unpack.worker.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url);

export function createUnpackPool(limit = WORKER_LIMIT): UnpackPool {
  const idle: { worker: Worker; timer: NodeJS.Timeout }[] = [];
  const busy = new Set<Worker>();
  const waiting: (() => void)[] = [];

  function take(): Worker {
    const kept = idle.pop();
    if (kept === undefined) return new Worker(script);
    clearTimeout(kept.timer);
    kept.worker.ref();
    return kept.worker;
  }

  function giveBack(worker: Worker): void {
    worker.unref();
    const timer = setTimeout(() => {
      idle.splice(
        idle.findIndex((item) => item.worker === worker),
        1,
      );
      void worker.terminate();
    }, IDLE_MS);
    timer.unref();
    idle.push({ worker, timer });
  }

  async function work(job: UnpackJob, signal: AbortSignal | undefined): Promise<Unpacked> {
    signal?.throwIfAborted();
    const worker = take();
    busy.add(worker);
    let whole = false;
    const { promise, resolve, reject } = Promise.withResolvers<UnpackAnswer>();
    const ended = () => reject(new Error('the unpacking thread ended'));
    const aborted = () => reject(signal?.reason);
    worker.on('message', resolve).on('error', reject).on('exit', ended);
    signal?.addEventListener('abort', aborted);
    try {
      worker.postMessage(job);
      const answer = await promise;
      whole = true;
      if ('unpacked' in answer) return answer.unpacked;
      throw Object.assign(new Error(answer.message), answer.code === undefined ? {} : { code: answer.code });
    } finally {
      // One by one: removing all listeners of a Worker takes Node's own away as well, and it never answers again.
      worker.off('message', resolve).off('error', reject).off('exit', ended);
      signal?.removeEventListener('abort', aborted);
      busy.delete(worker);
      // Awaited, so that nothing is written into the target after the caller removes it.
      if (whole) giveBack(worker);
      else await worker.terminate();
      waiting.shift()?.();
    }
  }

  return {
    run: async (job, signal) => {
      while (busy.size >= limit) await new Promise<void>((resolve) => waiting.push(resolve));
      return work(job, signal);
    },
    close: async () => {
      for (const { timer } of idle) clearTimeout(timer);
      await Promise.all([...idle.splice(0).map(({ worker }) => worker), ...busy].map((worker) => worker.terminate()));
    },
  };
}
