// Owns how a command names a pod: POD, pod/POD or POD/CONTAINER, in --namespace.
import type { V1Pod, V1PodList } from '@kubernetes/client-node';
import { CommandError, usageError } from '../error.ts';
import { getJson } from './agent-client.ts';
import type { Flags } from './flags.ts';
import type { Settings } from './settings.ts';

export interface PodName {
  readonly namespace: string;
  readonly name: string;
  readonly container: string | undefined;
}

export function parsePodName(word: string | undefined, flags: Flags, usage: string): PodName {
  if (word === undefined) throw usageError(`which pod? usage: tskubelet ${usage}`);
  const parts = word.split('/').filter((part) => part !== '');
  if (parts[0] === 'pod' || parts[0] === 'pods') parts.shift();
  const [name, container] = parts;
  if (name === undefined || parts.length > 2) throw usageError(`"${word}" names no pod; usage: tskubelet ${usage}`);
  return { namespace: flags.namespace ?? 'default', name, container: flags.container ?? container };
}

export async function listPods(settings: Settings): Promise<readonly V1Pod[]> {
  return (await getJson<V1PodList>(settings, '/pods')).items;
}

export async function findPod(settings: Settings, { namespace, name }: PodName): Promise<V1Pod> {
  const pods = await listPods(settings);
  const found = pods.find(({ metadata }) => metadata?.namespace === namespace && metadata.name === name);
  if (found !== undefined) return found;
  const elsewhere = pods.find(({ metadata }) => metadata?.name === name)?.metadata?.namespace;
  throw new CommandError(
    elsewhere === undefined
      ? `pod "${namespace}/${name}" is not on this node; 'tskubelet get pods -A' lists what is`
      : `pod "${name}" is in namespace ${elsewhere}: add -n ${elsewhere}`,
  );
}

/** The named container, or the pod's first; an unknown one is refused with the names that there are. */
export function containerOf(pod: V1Pod, container: string | undefined): string {
  const names = (pod.spec?.containers ?? []).map(({ name }) => name);
  const name = container ?? names[0];
  if (name === undefined || !names.includes(name))
    throw new CommandError(`container "${name}" is not in pod ${pod.metadata?.name}: it has ${names.join(', ')}`);
  return name;
}

/** "/exec/default/web/app": a kubelet's paths. */
export function streamPath(
  kind: 'exec' | 'attach' | 'portForward',
  { namespace, name, container }: { readonly namespace: string; readonly name: string; readonly container?: string },
): string {
  const parts = [kind, namespace, name, ...(container === undefined ? [] : [container])];
  return `/${parts.map(encodeURIComponent).join('/')}`;
}
