// Owns `describe pod`: what the agent knows of a pod, in kubectl's layout.
import { usageError } from '../error.ts';
import { getJson } from './agent-client.ts';
import { type PodEventRow, renderPod } from './describe-text.ts';
import type { Invocation } from './flags.ts';
import { listPulls } from './image-pulls.ts';
import { findPod, parsePodName } from './pod-name.ts';
import { readSettings } from './settings.ts';

const USAGE = 'describe pod POD… [-n NAMESPACE]';

export async function describe({ flags, words }: Invocation): Promise<number> {
  const [kind, ...rest] = words;
  if (kind === undefined || !/^(pods?|po)(\/.+)?$/.test(kind)) throw usageError(`describe what? usage: tskubelet ${USAGE}`);
  const names = [...(kind.includes('/') ? [kind] : []), ...rest].map((word) => parsePodName(word, flags, USAGE));
  if (names.length === 0) throw usageError(`which pod? usage: tskubelet ${USAGE}`);
  const settings = readSettings(flags);
  const pods = await Promise.all(names.map((name) => findPod(settings, name)));
  const [events, pulls] = await Promise.all([getJson<readonly PodEventRow[]>(settings, '/events'), listPulls(settings)]);
  process.stdout.write(pods.map((pod) => renderPod(pod, { events, pulls, nowMs: Date.now() })).join('\n\n'));
  return 0;
}
