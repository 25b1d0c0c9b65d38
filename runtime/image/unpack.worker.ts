// The worker thread that unpacks archives: one job at a time, so that hashing, inflating and thousands of small files never hold the
// event loop.
import { parentPort, threadId } from 'node:worker_threads';
import type { Unpacked } from './unpack.ts';
import { runUnpackJob, type UnpackJob } from './unpack-job.ts';

/** What comes back: the result, or the error's sentence and its errno name. */
export type UnpackAnswer = { readonly unpacked: Unpacked } | { readonly message: string; readonly code: string | undefined };

function explain(error: unknown): UnpackAnswer {
  const messages: string[] = [];
  let code: string | undefined;
  for (let link = error; link instanceof Error; link = link.cause) {
    messages.push(link.message);
    code ??= (link as NodeJS.ErrnoException).code;
  }
  return { message: messages.join(': ') || `unpacking in thread ${threadId}: ${String(error)}`, code };
}

parentPort?.on('message', (job: UnpackJob) => {
  // umask is the process's; directories and nodes get their modes by chmod, so it does not matter.
  runUnpackJob(job).then(
    (unpacked) => parentPort?.postMessage({ unpacked } satisfies UnpackAnswer),
    (error: unknown) => parentPort?.postMessage(explain(error)),
  );
});
