// Owns GET /containerLogs: which file a container's log is, and the query of kubectl.
import { once } from 'node:events';
import fs from 'node:fs/promises';
import path from 'node:path';
import type { V1ContainerStatus } from '@kubernetes/client-node';
import { readContainerLog } from '../log/reader.ts';
import { containerLogPath, type NodePaths, podLogDir } from '../pod/paths.ts';
import type { Pods } from '../pod/pods.ts';
import type { PodWorker } from '../pod/worker.ts';
import { findContainer, findPod } from './find.ts';
import { type Exchange, HttpError } from './http.ts';

export interface LogQuery {
  readonly follow: boolean;
  readonly previous: boolean;
  readonly timestamps: boolean;
  readonly tailLines?: number;
  readonly limitBytes?: number;
  readonly sinceSeconds?: number;
}

export function parseLogQuery(query: URLSearchParams): LogQuery {
  const flag = (name: string) => {
    const value = query.get(name);
    if (value === null) return false;
    if (!/^(true|false|1|0|)$/.test(value)) throw new HttpError(400, `${name}=${value}: expected true or false`);
    return value !== 'false' && value !== '0';
  };
  const count = (name: 'tailLines' | 'limitBytes' | 'sinceSeconds', least: number) => {
    const value = query.get(name);
    if (value === null) return {};
    if (!/^\d{1,15}$/.test(value) || Number(value) < least)
      throw new HttpError(400, `${name}=${value}: expected a whole number from ${least} on`);
    return { [name]: Number(value) };
  };
  return {
    ...{ follow: flag('follow'), previous: flag('previous'), timestamps: flag('timestamps') },
    ...count('tailLines', 0),
    ...count('limitBytes', 1),
    ...count('sinceSeconds', 1),
  };
}

/** The restart whose log is asked for. While a container waits for its next run, its last run is both the current and the previous one. */
export function chooseRestart({ name, state, lastState, restartCount, containerID }: V1ContainerStatus, previous: boolean): number {
  const waits = state?.waiting !== undefined;
  const ended = lastState?.terminated !== undefined;
  if (previous) {
    if (!ended) throw new HttpError(400, `container "${name}" has no earlier run: it was not restarted`);
    return waits ? restartCount : restartCount - 1;
  }
  if (waits && !ended)
    throw new HttpError(
      400,
      `container "${name}" waits to start: ${[state?.waiting?.reason, state?.waiting?.message].filter(Boolean).join(': ')}`,
    );
  if (containerID === undefined) throw new HttpError(400, `container "${name}" has not run`);
  return restartCount;
}

export async function serveLogs({ response, params, query, signal }: Exchange, pods: Pods, paths: NodePaths): Promise<void> {
  const { namespace = '', pod = '', container = '' } = params;
  const worker = findPod(pods, namespace, pod);
  const { previous, follow, ...options } = parseLogQuery(query);
  const restart = chooseRestart(findContainer(worker, container), previous);
  const file = path.join(podLogDir(paths, worker.pod), containerLogPath(container, restart));
  await fs.access(file).catch((error: unknown) => {
    throw new HttpError(404, `container "${container}" has no log at ${file}`, error);
  });
  const run = watchEnd(pods, worker, container, restart);
  // Before the first line: a follower waits for the answer, not for what is written next.
  begin(response);
  try {
    const log = readContainerLog(file, { ...options, follow: follow && !previous, ended: run.ended, signal });
    // A reader that does not keep up holds the reading up, not the memory.
    for await (const piece of log) if (!response.write(piece)) await drained(response, signal);
  } finally {
    run.close();
  }
  response.end();
}

function begin(response: Exchange['response']): void {
  response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' });
  response.flushHeaders();
}

async function drained(response: Exchange['response'], signal: AbortSignal): Promise<void> {
  await Promise.race([once(response, 'drain'), once(response, 'close')]).catch(() => undefined);
  signal.throwIfAborted();
}

/** Aborts once this run of the container is over: the runtime says so after its output is in the log. */
function watchEnd(pods: Pods, worker: PodWorker, container: string, restart: number): { ended: AbortSignal; close(): void } {
  const over = new AbortController();
  const check = () => {
    const status = worker.status?.containerStatuses?.find(({ name }) => name === container);
    const runs = status?.state?.running !== undefined && status.restartCount === restart;
    if (!runs || pods.worker(worker.pod.uid) !== worker) over.abort();
  };
  const close = pods.subscribe((uid) => uid === worker.pod.uid && check());
  check();
  return { ended: over.signal, close };
}
