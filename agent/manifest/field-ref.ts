// env.valueFrom.fieldRef: which fields of its own pod a container may read, and their values.
import type { V1Pod } from '@kubernetes/client-node';
import { checkQualifiedName } from './syntax.ts';

/** What is known of a pod only once its sandbox is up. */
export interface PodAddresses {
  readonly podIPs: readonly string[];
  readonly hostIPs: readonly string[];
}

type Read = (pod: V1Pod, addresses: PodAddresses) => string;

const readers: Readonly<Record<string, Read>> = {
  'metadata.name': (pod) => pod.metadata?.name ?? '',
  'metadata.namespace': (pod) => pod.metadata?.namespace ?? '',
  'metadata.uid': (pod) => pod.metadata?.uid ?? '',
  'spec.nodeName': (pod) => pod.spec?.nodeName ?? '',
  'spec.serviceAccountName': (pod) => pod.spec?.serviceAccountName ?? '',
  'status.podIP': (_, { podIPs }) => podIPs[0] ?? '',
  'status.podIPs': (_, { podIPs }) => podIPs.join(','),
  'status.hostIP': (_, { hostIPs }) => hostIPs[0] ?? '',
  'status.hostIPs': (_, { hostIPs }) => hostIPs.join(','),
};

// metadata.labels['app'] and metadata.annotations['example.com/x']
const subscript = /^metadata\.(labels|annotations)\['(.+)'\]$/;

/** What is wrong with a fieldPath, or undefined. */
export function checkFieldPath(fieldPath: string): string | undefined {
  if (fieldPath === '') return 'fieldRef needs a fieldPath';
  if (Object.hasOwn(readers, fieldPath)) return undefined;
  const key = subscript.exec(fieldPath)?.[2];
  if (key !== undefined) return checkQualifiedName(key);
  return `${JSON.stringify(fieldPath)} is not one of ${Object.keys(readers).join(', ')}, metadata.labels['<key>'], metadata.annotations['<key>']`;
}

/** The value of a fieldPath that checkFieldPath accepts; an absent label or annotation is the empty string. */
export function fieldRefValue(pod: V1Pod, fieldPath: string, addresses: PodAddresses): string {
  const match = subscript.exec(fieldPath);
  if (match?.[2] !== undefined) {
    const map = match[1] === 'labels' ? pod.metadata?.labels : pod.metadata?.annotations;
    return map?.[match[2]] ?? '';
  }
  return readers[fieldPath]?.(pod, addresses) ?? '';
}
