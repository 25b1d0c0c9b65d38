// The values that kube-apiserver gives to fields that a pod leaves out, for those that the agent reads.
import type { V1Container, V1Pod, V1PodSpec, V1ResourceRequirements, V1Volume } from '@kubernetes/client-node';
import { parseQuantity, renderQuantity } from './quantity.ts';

/** Returns a new pod; quantities come out in canonical form. */
export function applyDefaults(pod: V1Pod): V1Pod {
  const spec: Partial<V1PodSpec> = pod.spec ?? {};
  return {
    ...pod,
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...pod.metadata, namespace: pod.metadata?.namespace || 'default' },
    spec: {
      ...spec,
      restartPolicy: spec.restartPolicy || 'Always',
      dnsPolicy: spec.dnsPolicy || 'ClusterFirst',
      terminationGracePeriodSeconds: spec.terminationGracePeriodSeconds ?? 30,
      enableServiceLinks: spec.enableServiceLinks ?? true,
      schedulerName: spec.schedulerName || 'default-scheduler',
      securityContext: spec.securityContext ?? {},
      containers: (spec.containers ?? []).map((container) => defaultContainer(container, spec.hostNetwork === true)),
      ...(spec.volumes ? { volumes: spec.volumes.map(defaultVolume) } : {}),
    },
  };
}

function defaultContainer(container: V1Container, hostNetwork: boolean): V1Container {
  return {
    ...container,
    imagePullPolicy: container.imagePullPolicy || defaultPullPolicy(container.image ?? ''),
    terminationMessagePath: container.terminationMessagePath || '/dev/termination-log',
    terminationMessagePolicy: container.terminationMessagePolicy || 'File',
    resources: defaultResources(container.resources),
    ...(container.ports
      ? {
          ports: container.ports.map((port) => ({
            ...port,
            protocol: port.protocol || 'TCP',
            // In the host's network a container's port is the host's.
            ...(hostNetwork && !port.hostPort ? { hostPort: port.containerPort } : {}),
          })),
        }
      : {}),
    ...(container.env
      ? {
          env: container.env.map((variable) =>
            variable.valueFrom?.fieldRef
              ? { ...variable, valueFrom: { ...variable.valueFrom, fieldRef: { apiVersion: 'v1', ...variable.valueFrom.fieldRef } } }
              : variable,
          ),
        }
      : {}),
  };
}

/** Always for the tag that moves, which is also the one that is meant when none is written. */
export function defaultPullPolicy(image: string): 'Always' | 'IfNotPresent' {
  const [name = '', digest] = image.split('@');
  const tag = /:([^/:]+)$/.exec(name)?.[1];
  return tag === 'latest' || (tag === undefined && digest === undefined) ? 'Always' : 'IfNotPresent';
}

function defaultResources(resources: V1ResourceRequirements | undefined): V1ResourceRequirements {
  const limits = canonical(resources?.limits);
  const requests = { ...limits, ...canonical(resources?.requests) };
  return {
    ...resources,
    ...(limits ? { limits } : {}),
    ...(Object.keys(requests).length > 0 ? { requests } : {}),
  };
}

function canonical(quantities: Record<string, string> | undefined): Record<string, string> | undefined {
  return quantities && Object.fromEntries(Object.entries(quantities).map(([name, text]) => [name, renderQuantity(parseQuantity(text))]));
}

function defaultVolume(volume: V1Volume): V1Volume {
  const { name, ...source } = volume;
  if (Object.keys(source).length === 0) return { name, emptyDir: {} };
  const sizeLimit = volume.emptyDir?.sizeLimit;
  if (sizeLimit !== undefined) return { ...volume, emptyDir: { ...volume.emptyDir, sizeLimit: renderQuantity(parseQuantity(sizeLimit)) } };
  const { image } = volume;
  if (image !== undefined)
    return { ...volume, image: { ...image, pullPolicy: image.pullPolicy || defaultPullPolicy(image.reference ?? '') } };
  return volume.hostPath ? { ...volume, hostPath: { ...volume.hostPath, type: volume.hostPath.type ?? '' } } : volume;
}
