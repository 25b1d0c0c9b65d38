// Owns finding what a path names: a pod, a container of it, its id in the runtime.
import type { V1ContainerStatus } from '@kubernetes/client-node';
import type { Pods } from '../pod/pods.ts';
import type { PodWorker } from '../pod/worker.ts';
import { HttpError } from './http.ts';

export function findPod(pods: Pods, namespace: string, name: string): PodWorker {
  const worker = pods.find(namespace, name);
  if (worker === undefined) throw new HttpError(404, `pod "${namespace}/${name}" is not on this node`);
  return worker;
}

export function findContainer(worker: PodWorker, container: string): V1ContainerStatus {
  const names = (worker.desired?.pod.spec?.containers ?? []).map(({ name }) => name);
  const status = worker.status?.containerStatuses?.find(({ name }) => name === container);
  if (!names.includes(container))
    throw new HttpError(404, `container "${container}" is not in pod ${worker.pod.name}: it has ${names.join(', ')}`);
  if (status === undefined) throw new HttpError(400, `container "${container}" of pod ${worker.pod.name} is not created yet`);
  return status;
}

/** "tskubelet://0123…" without its scheme. */
export function runtimeId(containerID: string | undefined): string | undefined {
  return containerID === undefined ? undefined : /^[^:]*:\/\/(.+)$/.exec(containerID)?.[1];
}

/** The id of a container that a command can run in. */
export function runningId(worker: PodWorker, container: string): string {
  const status = findContainer(worker, container);
  const id = runtimeId(status.containerID);
  if (status.state?.running !== undefined && id !== undefined) return id;
  const { waiting, terminated } = status.state ?? {};
  const why = waiting !== undefined ? `it waits (${waiting.reason})` : `it has ended (${terminated?.reason ?? 'Unknown'})`;
  throw new HttpError(400, `container "${container}" of pod ${worker.pod.name} does not run: ${why}`);
}
