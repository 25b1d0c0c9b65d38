// Owns GET /explain: what the runtime tells about a pod's sandbox and containers when it is asked for everything.
import type { CriClient } from '../../cri-proto/client.ts';
import type { NodeNames } from '../dns/node-dns.ts';
import { POD_UID } from '../pod/labels.ts';
import type { Pods } from '../pod/pods.ts';
import { findContainer, findPod, runtimeId } from './find.ts';
import { type Exchange, sendJson } from './http.ts';

export interface ServedExplain {
  readonly pods: Pods;
  readonly cri: CriClient;
  /** Where this node answers for its pods' names; undefined where a cluster does. */
  readonly names: () => NodeNames | undefined;
}

/** Values of CRI's info map are JSON as text, as far as they are. */
export function decodeInfo(info: Readonly<Record<string, string>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(info).map(([key, text]) => {
      try {
        return [key, JSON.parse(text)];
      } catch {
        return [key, text];
      }
    }),
  );
}

export async function serveExplain({ response, params, query }: Exchange, { pods, cri, names }: ServedExplain): Promise<void> {
  const { namespace = '', pod = '' } = params;
  const worker = findPod(pods, namespace, pod);
  const only = query.get('container');
  if (only !== null) findContainer(worker, only);
  const { items } = await cri.runtime.listPodSandbox({ filter: { labelSelector: { [POD_UID]: worker.pod.uid } } });
  const newest = items.sort((a, b) => (b.metadata?.attempt ?? 0) - (a.metadata?.attempt ?? 0))[0];
  const sandbox = newest === undefined ? undefined : await cri.runtime.podSandboxStatus({ podSandboxId: newest.id, verbose: true });
  const wanted = (worker.status?.containerStatuses ?? []).filter(({ name }) => only === null || name === only);
  const containers = await Promise.all(
    wanted.flatMap(({ name, containerID }) => {
      const id = runtimeId(containerID);
      return id === undefined ? [] : [explainContainer(cri, name, id)];
    }),
  );
  sendJson(response, {
    namespace,
    pod,
    uid: worker.pod.uid,
    names: names(),
    sandbox:
      newest === undefined
        ? null
        : { id: newest.id, state: newest.state === 0 ? 'ready' : 'not ready', ...decodeInfo(sandbox?.info ?? {}) },
    containers,
  });
}

async function explainContainer(cri: CriClient, name: string, id: string): Promise<object> {
  const { status, info } = await cri.runtime.containerStatus({ containerId: id, verbose: true });
  const state = ['created', 'running', 'exited', 'unknown'][status?.state ?? 3];
  return { name, id, state, exitCode: status?.exitCode, reason: status?.reason, message: status?.message, ...decodeInfo(info) };
}
