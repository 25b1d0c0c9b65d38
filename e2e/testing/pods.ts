// Owns short ways to Pods for tests: manifests, what the agent says of a pod, what the runtime has of it, what is left of it.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import type { V1Container, V1Pod, V1PodList, V1PodSpec } from '@kubernetes/client-node';
import type { ContainerState, ContainerStatus } from '../../cri-proto/gen/api.ts';
import { BUSYBOX } from './cri.ts';
import { poll } from './poll.ts';
import type { TestNode } from './test-node.ts';

/** A shell script that runs until SIGTERM and obeys it at once, which a plain `sleep` as PID 1 does not. */
export const FOREVER = 'trap "exit 0" TERM; sleep 100000 & wait';

/** A pod of one container "main" with the host's busybox, if nothing else is said. JSON is YAML too. */
export function podManifest(name: string, container: Partial<V1Container>, spec: Partial<V1PodSpec> = {}): string {
  const main = { name: 'main', image: BUSYBOX, ...container };
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: { terminationGracePeriodSeconds: 5, containers: [main], ...spec },
  });
}

export const sh = (script: string): Partial<V1Container> => ({ command: ['sh', '-c', script] });

/** What the agent serves at its socket. */
export function getJson<T>(node: TestNode, where: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = http.get({ socketPath: path.join(node.runDir, 'agent.sock'), path: where, timeout: 10_000 }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => resolve(JSON.parse(Buffer.concat(chunks).toString()) as T));
    });
    request.on('timeout', () => request.destroy(new Error(`no answer for ${where}`)));
    request.on('error', reject);
  });
}

export async function listPods(node: TestNode): Promise<V1Pod[]> {
  return (await getJson<V1PodList>(node, '/pods')).items;
}

/** The pod once it satisfies `when`. */
export function untilPod(node: TestNode, name: string, when: (pod: V1Pod) => boolean, timeoutMs?: number): Promise<V1Pod> {
  return poll(
    `pod ${name}`,
    async () => {
      const pod = (await listPods(node)).find(({ metadata }) => metadata?.name === name);
      if (pod === undefined) throw new Error(`no pod ${name}`);
      if (!when(pod)) throw new Error(JSON.stringify(pod.status));
      return pod;
    },
    timeoutMs,
  );
}

export const isRunning = ({ status }: V1Pod) => (status?.containerStatuses ?? []).some(({ state }) => state?.running !== undefined);

/** Statuses of a pod's containers by name, once `count` of them are there and all in `state`. */
export function untilContainers(
  node: TestNode,
  podName: string,
  { state, count = 1, timeoutMs }: { readonly state: ContainerState; readonly count?: number; readonly timeoutMs?: number },
): Promise<Map<string, ContainerStatus>> {
  return poll(
    `the containers of ${podName}`,
    async () => {
      const { runtime } = node.cri;
      const { containers } = await runtime.listContainers({ filter: { labelSelector: { 'io.kubernetes.pod.name': podName } } });
      const statuses = await Promise.all(containers.map(async ({ id }) => (await runtime.containerStatus({ containerId: id })).status));
      const found = statuses.filter((status) => status !== undefined);
      if (found.length < count || found.some((status) => status.state !== state)) return undefined;
      return new Map(found.map((status) => [status.metadata?.name ?? '', status]));
    },
    timeoutMs,
  );
}

/** Everything on the machine that belongs to a pod of this node, in words. The daemon, its keeper of output, images and bridge may stay. */
export async function leftOfPods(node: TestNode): Promise<string[]> {
  const links = (await node.inNetwork(['ip', '-br', 'link'])).stdout.split('\n').filter((line) => line.startsWith('veth'));
  const directories = [
    ...['root/pods', 'root/sandboxes', 'root/containers', 'root/images/snapshots', 'run/sandboxes', 'run/containers', 'log'],
  ].flatMap((directory) => namesIn(path.join(node.dir, directory)).map((name) => `${directory}/${name}`));
  return [
    ...podProcesses(node).map((pid) => `process ${pid}`),
    ...node.mounts().filter((target) => target.startsWith(path.join(node.rootDir, 'pods'))),
    ...node.cgroups().filter((directory) => /^(pod.*|[0-9a-f]{64})$/.test(path.basename(directory))),
    ...links,
    ...directories,
  ];
}

function podProcesses(node: TestNode): number[] {
  return [...new Set(node.processes())].filter((pid) => {
    try {
      return !fs.readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith('tskubelet-keeper');
    } catch {
      return false;
    }
  });
}

export function namesIn(directory: string): string[] {
  return fs.existsSync(directory) ? fs.readdirSync(directory) : [];
}

export async function untilNothingLeft(node: TestNode, timeoutMs?: number): Promise<void> {
  await poll(
    'nothing to be left',
    async () => {
      const left = await leftOfPods(node);
      if (left.length > 0) throw new Error(`left: ${left.slice(0, 20).join(', ')}`);
      return true;
    },
    timeoutMs,
  );
}
