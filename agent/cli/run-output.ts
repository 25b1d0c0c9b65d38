// Owns the output of `run`: the logs of all containers on stdout as they are written, each line with its container where there are several.
import type { IncomingMessage } from 'node:http';
import type { V1Pod } from '@kubernetes/client-node';
import { request } from './agent-client.ts';
import { runsOf } from './run-status.ts';
import type { Settings } from './settings.ts';

export interface RunOutput {
  /** Follows what has newly got a log. */
  update(pod: V1Pod): void;
  /** Resolves when everything that is followed has ended and is written. */
  drained(): Promise<void>;
}

const NEWLINE = 10;

/** Prefixes each line. A last line without its newline is given one, so that two containers never share a line. */
export async function* prefixLines(chunks: AsyncIterable<Buffer>, prefix: string): AsyncGenerator<Buffer> {
  let rest = Buffer.alloc(0);
  const head = Buffer.from(prefix);
  for await (const chunk of chunks) {
    rest = Buffer.concat([rest, chunk]);
    const lines: Buffer[] = [];
    for (let end = rest.indexOf(NEWLINE); end !== -1; end = rest.indexOf(NEWLINE)) {
      lines.push(head, rest.subarray(0, end + 1));
      rest = rest.subarray(end + 1);
    }
    if (lines.length > 0) yield Buffer.concat(lines);
  }
  if (rest.length > 0) yield Buffer.concat([head, rest, Buffer.from('\n')]);
}

export function openRunOutput(settings: Settings, prefixOf: (pod: V1Pod, container: string) => string): RunOutput {
  const followed = new Map<string, Promise<void>>();
  return {
    update(pod) {
      for (const { container, restart } of runsOf(pod)) {
        const { namespace = '', name = '', uid = '' } = pod.metadata ?? {};
        const key = `${uid}/${container}/${restart}`;
        if (followed.has(key)) continue;
        // One run's output after the other's.
        const before = followed.get(`${uid}/${container}/${restart - 1}`) ?? Promise.resolve();
        const place = ['containerLogs', namespace, name, container].map(encodeURIComponent).join('/');
        const body = request(settings, `/${place}?follow=true`, { timeoutMs: 0 });
        followed.set(
          key,
          before.then(async () => write(await body, prefixOf(pod, container))),
        );
      }
    },
    drained: async () => {
      for (let size = -1; size !== followed.size; ) {
        size = followed.size;
        await Promise.allSettled(followed.values());
      }
    },
  };
}

async function write({ status, body }: { status: number; body: IncomingMessage }, prefix: string): Promise<void> {
  // The container was restarted meanwhile, or the pod is gone: there is nothing to show any more.
  if (status !== 200) return void body.resume();
  for await (const chunk of prefix === '' ? body : prefixLines(body, prefix))
    if (!process.stdout.write(chunk as Buffer)) await new Promise<void>((resolve) => process.stdout.once('drain', resolve));
}
