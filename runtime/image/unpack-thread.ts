// What the worker thread does: it unpacks archives and walks trees, so that hashing and thousands of small files never hold the event
// loop. Jobs take turns: one that waits for its download does not keep another from the work.
import { parentPort } from 'node:worker_threads';
import { BlobFeed } from './blob-feed.ts';
import { type Completed, type CompleteJob, completeLayer } from './complete-layer.ts';
import type { Unpacked } from './unpack.ts';
import { runUnpackJob, type UnpackJob } from './unpack-job.ts';
import { measureTree, type TreeUsage } from './usage.ts';

/** What a thread can be asked to do, and what comes of it. */
export interface Tasks {
  readonly unpack: { readonly job: UnpackJob; readonly result: Unpacked };
  readonly complete: { readonly job: CompleteJob; readonly result: Completed };
  readonly measure: { readonly job: string; readonly result: TreeUsage };
}

export type Task = { [Kind in keyof Tasks]: { readonly kind: Kind; readonly job: Tasks[Kind]['job'] } }[keyof Tasks];

/** A new job, or news of one: more of its blob has arrived, or nobody wants it any more. */
export type UnpackMessage =
  | { readonly id: number; readonly task: Task; readonly arrivedBytes: number }
  | { readonly id: number; readonly arrivedBytes: number }
  | { readonly id: number; readonly abort: true };

/** What comes back: the result, or the error's sentence and its errno name. */
export type UnpackAnswer = { readonly id: number } & (
  | { readonly result: Tasks[keyof Tasks]['result'] }
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

function perform(task: Task, feed: BlobFeed): Tasks[keyof Tasks]['result'] | Promise<Unpacked> {
  // umask is the process's; directories and nodes get their modes by chmod, so it does not matter.
  if (task.kind === 'unpack') return runUnpackJob(task.job, feed);
  return task.kind === 'complete' ? completeLayer(task.job) : measureTree(task.job);
}

async function run(id: number, task: Task, arrivedBytes: number): Promise<void> {
  const feed = new BlobFeed(arrivedBytes);
  feeds.set(id, feed);
  let answer: UnpackAnswer;
  try {
    answer = { id, result: await perform(task, feed) };
  } catch (error) {
    answer = { id, ...explain(error) };
  }
  feeds.delete(id);
  parentPort?.postMessage(answer);
}

parentPort?.on('message', (message: UnpackMessage) => {
  if ('task' in message) void run(message.id, message.task, message.arrivedBytes);
  else if ('abort' in message) feeds.get(message.id)?.abort();
  else feeds.get(message.id)?.tell(message.arrivedBytes);
});
