// Owns `logs`: a container's output from the running agent, or from the log files where none runs.
import { pipeline } from 'node:stream/promises';
import { usageError } from '../error.ts';
import { readText, request } from './agent-client.ts';
import { type Flags, type Invocation, numberFlag } from './flags.ts';
import { listens } from './listens.ts';
import { containerOf, findPod, parsePodName } from './pod-name.ts';
import { readSettings } from './settings.ts';

const USAGE = 'logs POD [-c CONTAINER] [-f] [--previous] [--tail N] [--since 5m]';

/** "5s", "2m", "1h30m" in whole seconds. */
export function parseSince(text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(h|m|s)/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== text)
    throw usageError(`--since ${text}: expected a duration such as 30s, 5m or 2h`);
  const unit = { h: 3600, m: 60, s: 1 } as const;
  return Math.ceil(parts.reduce((sum, [, value, name]) => sum + Number(value) * unit[name as keyof typeof unit], 0));
}

export interface LogWish {
  readonly follow: boolean;
  readonly previous: boolean;
  readonly timestamps: boolean;
  readonly tailLines?: number;
  readonly sinceSeconds?: number;
}

export function parseLogWish(flags: Flags): LogWish {
  const tailLines = flags.tail === '-1' ? undefined : numberFlag(flags, 'tail', { min: 0, max: 2 ** 31 - 1 });
  const sinceSeconds = flags.since === undefined ? undefined : parseSince(flags.since);
  return {
    follow: flags.follow ?? false,
    previous: flags.previous ?? false,
    timestamps: flags.timestamps ?? false,
    ...(tailLines === undefined ? {} : { tailLines }),
    ...(sinceSeconds === undefined ? {} : { sinceSeconds }),
  };
}

/** "/containerLogs/default/web/app?follow=true" */
export function planLogRequest(
  { namespace, name, container }: { namespace: string; name: string; container: string },
  wish: LogWish,
): string {
  const query = new URLSearchParams(
    Object.entries(wish)
      .filter(([, value]) => value !== false)
      .map(([key, value]): [string, string] => [key, String(value)]),
  ).toString();
  return `/${['containerLogs', namespace, name, container].map(encodeURIComponent).join('/')}${query === '' ? '' : `?${query}`}`;
}

export async function logs({ flags, words }: Invocation): Promise<number> {
  const settings = readSettings(flags);
  const target = parsePodName(words[0], flags, USAGE);
  if (words.length > 1) throw usageError(`one pod at a time, and the container with -c: tskubelet ${USAGE}`);
  const wish = parseLogWish(flags);
  if (!(await listens(settings.agentSocket))) {
    const { readLogFiles } = await import('./log-files.ts');
    await pipeline(readLogFiles(settings, target, wish), process.stdout, { end: false });
    return 0;
  }
  const container = containerOf(await findPod(settings, target), target.container);
  const response = await request(settings, planLogRequest({ ...target, container }, wish), { timeoutMs: 0 });
  if (response.status >= 400) await readText(response);
  await pipeline(response.body, process.stdout, { end: false });
  return 0;
}
