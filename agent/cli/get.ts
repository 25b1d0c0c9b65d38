// Owns `get pods`: kubectl's columns from the agent's pod list.
import type { V1ContainerStatus, V1Pod } from '@kubernetes/client-node';
import { CommandError, usageError } from '../error.ts';
import { summarizePulls } from '../image/pulls.ts';
import { getJson } from './agent-client.ts';
import type { Flags, Invocation } from './flags.ts';
import { listPulls, type PodPull } from './image-pulls.ts';
import { listPods, parsePodName } from './pod-name.ts';
import { readSettings, type Settings } from './settings.ts';
import { renderAge, renderTable } from './table.ts';

const USAGE = 'get pods [NAME] [-A] [-n NAMESPACE] [-o wide|json|yaml|name]';

export async function get({ flags, words }: Invocation): Promise<number> {
  const [kind, ...names] = words;
  if (kind === undefined || !/^(pods?|po)(\/.+)?$/.test(kind)) throw usageError(`get what? usage: tskubelet ${USAGE}`);
  const wanted = [...(kind.includes('/') ? [kind] : []), ...names].map((word) => parsePodName(word, flags, USAGE).name);
  const settings = readSettings(flags);
  const pods = (await listPods(settings))
    .filter(({ metadata }) => flags['all-namespaces'] === true || metadata?.namespace === (flags.namespace ?? 'default'))
    .filter(({ metadata }) => wanted.length === 0 || wanted.includes(metadata?.name ?? ''))
    .toSorted((a, b) => podKey(a).localeCompare(podKey(b)));
  const pulls = pods.length === 0 ? [] : await listPulls(settings);
  process.stdout.write(await render(pods, flags, { single: wanted.length === 1, pulls }));
  const missing = wanted.filter((name) => !pods.some(({ metadata }) => metadata?.name === name));
  if (wanted.length === 0 || missing.length > 0) await tellRefused(settings);
  if (missing.length > 0)
    throw new CommandError(`no pod ${missing.map((name) => `"${name}"`).join(', ')} in namespace ${flags.namespace ?? 'default'}`);
  if (pods.length === 0 && (flags.output ?? 'wide') === 'wide')
    process.stderr.write(
      flags['all-namespaces'] === true ? 'no pods on this node\n' : `no pods in namespace ${flags.namespace ?? 'default'}\n`,
    );
  return 0;
}

/** A manifest that is refused has no pod to be listed: whoever looks for it here is told. */
async function tellRefused(settings: Settings): Promise<void> {
  const problems = await getJson<readonly { readonly severity: string; readonly text: string }[]>(settings, '/problems');
  for (const { text } of problems.filter(({ severity }) => severity === 'refused')) process.stderr.write(`refused: ${text}\n`);
}

function podKey({ metadata }: V1Pod): string {
  return `${metadata?.namespace}/${metadata?.name}`;
}

interface Rendering {
  readonly single: boolean;
  readonly pulls: readonly PodPull[];
}

async function render(pods: readonly V1Pod[], flags: Flags, { single, pulls }: Rendering): Promise<string> {
  const list = single && pods.length === 1 ? pods[0] : { apiVersion: 'v1', kind: 'List', items: pods };
  switch (flags.output) {
    case 'json':
      return `${JSON.stringify(list, null, 2)}\n`;
    case 'yaml':
      return (await import('js-yaml')).dump(list, { noRefs: true, lineWidth: -1 });
    case 'name':
      return pods.map(({ metadata }) => `pod/${metadata?.name}\n`).join('');
    case undefined:
    case 'wide':
      return pods.length === 0 ? '' : renderPods(pods, flags, pulls);
    default:
      throw usageError(`-o ${flags.output}: expected wide, json, yaml or name`);
  }
}

function renderPods(pods: readonly V1Pod[], flags: Flags, pulls: readonly PodPull[]): string {
  const all = flags['all-namespaces'] === true;
  const wide = flags.output === 'wide';
  const now = Date.now();
  const header = [...(all ? ['NAMESPACE'] : []), 'NAME', 'READY', 'STATUS', 'RESTARTS', 'AGE', ...(wide ? ['IP', 'NODE', 'MESSAGE'] : [])];
  const rows = pods.map((pod) => [
    ...(all ? [pod.metadata?.namespace ?? ''] : []),
    pod.metadata?.name ?? '',
    renderReady(pod),
    podStatus(pod, pulls),
    renderRestarts(pod, now),
    renderAge(now - Date.parse(String(pod.status?.startTime ?? pod.metadata?.creationTimestamp ?? new Date(now).toISOString()))),
    ...(wide ? [pod.status?.podIP ?? '<none>', pod.spec?.nodeName ?? '<none>', podMessage(pod)] : []),
  ]);
  return renderTable(header, rows);
}

function renderReady({ status, spec }: V1Pod): string {
  const ready = (status?.containerStatuses ?? []).filter((container) => container.ready).length;
  return `${ready}/${spec?.containers.length ?? 0}`;
}

/** "3 (12s ago)" */
function renderRestarts({ status }: V1Pod, now: number): string {
  const statuses = status?.containerStatuses ?? [];
  const count = statuses.reduce((sum, { restartCount }) => sum + restartCount, 0);
  const ends = statuses
    .map(({ lastState }) => Date.parse(String(lastState?.terminated?.finishedAt ?? '')))
    .filter((end) => !Number.isNaN(end));
  return count === 0 || ends.length === 0 ? String(count) : `${count} (${renderAge(now - Math.max(...ends))} ago)`;
}

function reasonOf({ state }: V1ContainerStatus): string | undefined {
  if (state?.waiting?.reason !== undefined) return state.waiting.reason;
  const ended = state?.terminated;
  if (ended === undefined) return undefined;
  return ended.reason ?? (ended.signal ? `Signal:${ended.signal}` : `ExitCode:${ended.exitCode}`);
}

/** kubectl's STATUS column: the first container that has something to say, else the pod's reason or phase; and how far its pulls are. */
export function podStatus({ status, metadata }: V1Pod, pulls: readonly PodPull[] = []): string {
  if (metadata?.deletionTimestamp !== undefined) return 'Terminating';
  const reasons = (status?.containerStatuses ?? []).map(reasonOf).filter((reason) => reason !== undefined);
  const telling = reasons.find((reason) => reason !== 'Completed') ?? reasons[0];
  const own = pulls.filter(({ namespace, pod }) => namespace === metadata?.namespace && pod === metadata?.name);
  if (telling === 'ContainerCreating' && own.length > 0) return summarizePulls(own);
  const running = (status?.containerStatuses ?? []).some(({ state }) => state?.running !== undefined);
  if (telling === 'Completed' && running) return 'Running';
  return telling ?? status?.reason ?? status?.phase ?? 'Unknown';
}

/** The sentence of what is wrong, if anything is. */
export function podMessage({ status }: V1Pod): string {
  const messages = (status?.containerStatuses ?? []).map(({ state, lastState }) =>
    state?.running === undefined ? (state?.waiting?.message ?? state?.terminated?.message) : lastState?.terminated?.message,
  );
  return status?.message ?? messages.find((message) => message !== undefined && message !== '') ?? '';
}
