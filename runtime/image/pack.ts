// Owns the packing of a layer in a thread of its own: packing is rare, so no thread waits for the next one.
import { Worker } from 'node:worker_threads';
import type { Packed, PackJob } from './pack-job.ts';

// Compiled, this file and the worker are .js; run from the sources they are .ts.
const script = new URL(`./pack.worker.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url);

/** An abort ends the worker in the middle of its work; the file is its caller's to remove. */
export async function packLayer(job: PackJob, signal?: AbortSignal): Promise<Packed> {
  signal?.throwIfAborted();
  const worker = new Worker(script, { workerData: job });
  const { promise, resolve, reject } = Promise.withResolvers<Packed>();
  const aborted = () => reject(signal?.reason);
  worker.on('message', resolve).on('error', reject);
  worker.on('exit', () => reject(new Error('the packing thread ended')));
  signal?.addEventListener('abort', aborted);
  try {
    return await promise;
  } catch (cause) {
    signal?.throwIfAborted();
    throw new Error(`pack the layer ${job.source}`, { cause });
  } finally {
    signal?.removeEventListener('abort', aborted);
    await worker.terminate();
  }
}
