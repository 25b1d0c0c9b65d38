// The worker thread that unpacks archives, so that hashing and thousands of small files never hold the event loop. Jobs take turns: one
// that waits for its download does not keep another from the work.
import { parentPort } from 'node:worker_threads';
import { BlobFeed } from './blob-feed.ts';
import type { Unpacked } from './unpack.ts';
import { runUnpackJob, type UnpackJob } from './unpack-job.ts';

/** A new job, or news of one: more of its blob has arrived, or nobody wants it any more. */
export type UnpackMessage =
  | { readonly id: number; readonly job: UnpackJob; readonly arrivedBytes: number }
  | { readonly id: number; readonly arrivedBytes: number }
  | { readonly id: number; readonly abort: true };

/** What comes back: the result, or the error's sentence and its errno name. */
export type UnpackAnswer = { readonly id: number } & (
  | { readonly unpacked: Unpacked }
  | { readonly message: string; readonly code: string | undefined }
);

const feeds = new Map<number, BlobFeed>();

function explain(error: unknown): { message: string; code: string | undefined } {
  const messages: string[] = [];
  let code: string | undefined;
  for (let link = error; link instanceof Error; link = link.cause) {
    messages.push(link.message);
    code ??= (link as NodeJS.ErrnoException).code;
  }
  return { message: messages.join(': ') || String(error), code };
}

async function run(id: number, job: UnpackJob, arrivedBytes: number): Promise<void> {
  const feed = new BlobFeed(arrivedBytes);
  feeds.set(id, feed);
  let answer: UnpackAnswer;
  try {
    // umask is the process's; directories and nodes get their modes by chmod, so it does not matter.
    answer = { id, unpacked: await runUnpackJob(job, feed) };
  } catch (error) {
    answer = { id, ...explain(error) };
  }
  feeds.delete(id);
  parentPort?.postMessage(answer);
}

parentPort?.on('message', (message: UnpackMessage) => {
  if ('job' in message) void run(message.id, message.job, message.arrivedBytes);
  else if ('abort' in message) feeds.get(message.id)?.abort();
  else feeds.get(message.id)?.tell(message.arrivedBytes);
});
