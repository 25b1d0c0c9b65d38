// Who a pod from a manifest is: namespace, UID, node, hash and the annotations that a kubelet writes.
import { createHash } from 'node:crypto';
import type { V1Pod } from '@kubernetes/client-node';
import type { Origin } from '../source/source.ts';

export interface Placement {
  readonly origin: Origin;
  readonly nodeName: string;
  readonly seen: Date;
}

/**
 * Stable over restarts of the agent and changes of the pod: a hash of node, file, namespace and name, in the form of a
 * UUID (version 8: its bits have no standard meaning).
 */
export function computeUid(nodeName: string, file: string, namespace: string, name: string): string {
  const hex = createHash('sha256')
    .update(JSON.stringify([nodeName, file, namespace, name]))
    .digest('hex');
  const variant = '89ab'[Number.parseInt(hex[16] ?? '0', 16) & 3];
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/**
 * Changes exactly when the pod must be replaced. Taken of the pod as it was written, before defaults: so neither white space,
 * the order of fields and empty values nor a newer tskubelet with other defaults replaces a pod that runs.
 */
export function computeHash(decoded: V1Pod): string {
  return createHash('sha256').update(renderSorted(decoded)).digest('hex').slice(0, 32);
}

function renderSorted(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(renderSorted).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const entries = Object.entries(value).filter(([, field]) => !isEmpty(field));
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, field]) => `${JSON.stringify(key)}:${renderSorted(field)}`).join(',')}}`;
}

function isEmpty(value: unknown): boolean {
  return value === undefined || value === null || (typeof value === 'object' && Object.keys(value).length === 0);
}

/** pod: with defaults. In standalone mode it keeps its name. */
export function namePod(pod: V1Pod, hash: string, { origin, nodeName, seen }: Placement): V1Pod {
  const namespace = pod.metadata?.namespace || 'default';
  const name = pod.metadata?.name ?? '';
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      name,
      namespace,
      uid: pod.metadata?.uid || computeUid(nodeName, origin.file, namespace, name),
      annotations: {
        ...pod.metadata?.annotations,
        'kubernetes.io/config.hash': hash,
        'kubernetes.io/config.seen': seen.toISOString(),
        'kubernetes.io/config.source': origin.source,
      },
    },
    spec: { ...pod.spec, containers: pod.spec?.containers ?? [], nodeName },
    status: { phase: 'Pending' },
  };
}
