// Owns `logs`: a container's output from the running agent.
import { pipeline } from 'node:stream/promises';
import { usageError } from '../error.ts';
import { readText, request } from './agent-client.ts';
import { type Flags, type Invocation, numberFlag } from './flags.ts';
import { containerOf, findPod, parsePodName } from './pod-name.ts';
import { readSettings } from './settings.ts';

const USAGE = 'logs POD [-c CONTAINER] [-f] [--previous] [--tail N] [--since 5m]';

/** "5s", "2m", "1h30m" in whole seconds. */
export function parseSince(text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(h|m|s)/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== text) throw usageError(`--since ${text}: expected a duration such as 30s, 5m or 2h`);
  const unit = { h: 3600, m: 60, s: 1 } as const;
  return Math.ceil(parts.reduce((sum, [, value, name]) => sum + Number(value) * unit[name as keyof typeof unit], 0));
}

export function logQuery(flags: Flags): string {
  const query = new URLSearchParams();
  if (flags.follow) query.set('follow', 'true');
  if (flags.previous) query.set('previous', 'true');
  if (flags.timestamps) query.set('timestamps', 'true');
  const tail = numberFlag(flags, 'tail', { min: 0, max: 2 ** 31 - 1 });
  if (tail !== undefined) query.set('tailLines', String(tail));
  if (flags.since !== undefined) query.set('sinceSeconds', String(parseSince(flags.since)));
  return query.toString();
}

export async function logs({ flags, words }: Invocation): Promise<number> {
  const settings = readSettings(flags);
  const target = parsePodName(words[0], flags, USAGE);
  const query = logQuery(flags);
  const container = containerOf(await findPod(settings, target), target.container);
  const response = await request(settings, `/containerLogs/${target.namespace}/${target.name}/${container}?${query}`);
  if (response.status >= 400) await readText(response);
  await pipeline(response.body, process.stdout, { end: false });
  return 0;
}
