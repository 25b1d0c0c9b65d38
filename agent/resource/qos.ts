// Owns the QoS class and the sums over a pod's containers. Pure.
import type { V1Container, V1Pod } from '@kubernetes/client-node';
import { compareQuantities, toBytes, toMilliCpu } from '../manifest/quantity.ts';

export type QosClass = 'Guaranteed' | 'Burstable' | 'BestEffort';

/** Only cpu and memory count for the class. */
const COMPUTE = ['cpu', 'memory'] as const;

const isPositive = (quantity: string | undefined): quantity is string => quantity !== undefined && compareQuantities(quantity, '0') > 0;

/** requests of a container; a limit without a request is the request, as the API server defaults it. */
export function requestOf(container: V1Container, resource: string): string | undefined {
  return container.resources?.requests?.[resource] ?? container.resources?.limits?.[resource];
}

export function computeQosClass(pod: V1Pod): QosClass {
  const containers = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])];
  let any = false;
  let guaranteed = true;
  for (const container of containers) {
    for (const resource of COMPUTE) {
      const limit = container.resources?.limits?.[resource];
      const request = requestOf(container, resource);
      if (isPositive(limit) || isPositive(request)) any = true;
      if (!isPositive(limit) || request === undefined || compareQuantities(limit, request) !== 0) guaranteed = false;
    }
  }
  if (!any) return 'BestEffort';
  return guaranteed ? 'Guaranteed' : 'Burstable';
}

export interface PodSums {
  readonly requestMilliCpu: bigint;
  /** undefined unless every container has one: one container without is no limit for the pod. */
  readonly limitMilliCpu: bigint | undefined;
  readonly limitMemoryBytes: bigint | undefined;
}

export function sumResources(pod: V1Pod): PodSums {
  const containers = pod.spec?.containers ?? [];
  const sum = (values: readonly bigint[]) => values.reduce((total, value) => total + value, 0n);
  const sumLimits = (resource: string, convert: (quantity: string) => bigint) => {
    const limits = containers.map((container) => container.resources?.limits?.[resource]);
    return limits.length > 0 && limits.every(isPositive) ? sum(limits.map(convert)) : undefined;
  };
  return {
    requestMilliCpu: sum(containers.map((container) => toMilliCpu(requestOf(container, 'cpu') ?? '0'))),
    limitMilliCpu: sumLimits('cpu', toMilliCpu),
    limitMemoryBytes: sumLimits('memory', toBytes),
  };
}
