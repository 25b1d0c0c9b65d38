// Wires the agent by hand and runs it: sources, pods, the runtime over CRI, HTTP. It speaks to the runtime over its socket only.
import fs from 'node:fs/promises';
import path from 'node:path';
import { connectCri } from '../cri-proto/client.ts';
import type { AuthConfig } from '../cri-proto/gen/api.ts';
import { detectCgroupHost } from '../runtime/cgroup/host.ts';
import { cgroupProblem, gatherCgroupRootFacts, planCgroupRoot } from '../runtime/cgroup/root.ts';
import type { Logger } from '../runtime/logger.ts';
import { type DnsSettings, openNodeDns } from './dns/node-dns.ts';
import { zonePods } from './dns/zone-pods.ts';
import { describeError } from './error.ts';
import { createEventLog } from './event/events.ts';
import { collectImages } from './image/gc.ts';
import type { ImageGcPolicy } from './image/gc-plan.ts';
import { ImagePulls } from './image/pulls.ts';
import { instrumentCri } from './metrics/instrument.ts';
import { createMetrics, type PodCounts } from './metrics/metrics.ts';
import { readHost } from './node/host.ts';
import type { ConfigNode } from './pod/cri-config.ts';
import { Observer } from './pod/observe.ts';
import { Pods } from './pod/pods.ts';
import { followRuntime } from './pod/runtime-events.ts';
import { createPodCgroups, noPodCgroups, type PodCgroups } from './resource/pod-cgroups.ts';
import { type Listener, listen } from './server/http.ts';
import { readOnlyRoutes, type Served, socketRoutes } from './server/routes.ts';
import { type Run, type RunEvent, startRun } from './server/run.ts';
import { streamRoutes } from './server/streams.ts';
import { serveUpgrades } from './server/upgrade.ts';
import { openFileSource } from './source/file-source.ts';
import type { PodSource, Problem } from './source/source.ts';

export interface AgentOptions {
  readonly nodeName: string;
  /** <root-dir>: pods/<uid> stands in it. */
  readonly rootDir: string;
  /** <run-dir>: agent.sock is made in it. */
  readonly runDir: string;
  readonly logDir: string;
  /** unix:///… or an absolute path; waited for. */
  readonly criEndpoint: string;
  /** Folders and files with manifests. */
  readonly manifests: readonly string[];
  /** How often they are looked at without an event. */
  readonly fileCheckFrequencyMs?: number;
  /** --cgroup-root, if given, and what distinguishes this node's cgroups from another's on the machine ("" for the default run-dir). */
  readonly cgroupRoot?: string;
  readonly cgroupSuffix: string;
  readonly allowNoLimits: boolean;
  readonly dns: DnsSettings;
  /** podPidsLimit; absent or -1: none. */
  readonly podPidsLimit?: number;
  readonly imageGc: ImageGcPolicy;
  /** Credentials to pull an image with, best first. */
  readonly credentialsFor: (image: string) => Promise<readonly Partial<AuthConfig>[]>;
  readonly readOnlyAddress: string;
  /** 0: no read-only port. */
  readonly readOnlyPort: number;
  readonly version: string;
  readonly logger: Logger;
  /** Called before each step of a pod's plan: crash tests stop the process there. */
  readonly onStep?: (step: string) => void;
}

export interface Agent {
  readonly socket: string;
  /** The port that the read-only server got; undefined when it is off. */
  readonly readOnlyPort: number | undefined;
  readonly pods: Pods;
  readonly problems: readonly Problem[];
  /** Pods that live until Run.remove(): `tskubelet run` without a daemon. file: for messages and UIDs. */
  run(text: string, file: string, onEvent: (event: RunEvent) => void): Run;
  /** With stopPods every pod is ended gracefully and cleaned up; without, they run on. Resolves when nothing is under way any more. */
  stop(options: { readonly stopPods: boolean }): Promise<void>;
}

const RUNTIME_TIMEOUT_MS = 30_000;
const MANIFESTS = 'manifests';

export async function startAgent(options: AgentOptions): Promise<Agent> {
  const { logger, nodeName } = options;
  const closing = new AbortController();
  const undo: (() => Promise<void> | void)[] = [() => closing.abort()];
  const close = async () => {
    for (const step of undo.splice(0).reverse()) await step();
  };
  try {
    const cgroups = openCgroups(options);
    undo.push(() => cgroups.removeEmpty());
    await fs.mkdir(options.runDir, { recursive: true, mode: 0o711 });
    const host = await readHost();
    const plain = connectCri(options.criEndpoint);
    undo.push(() => plain.close());
    await plain.waitReady({ timeoutMs: RUNTIME_TIMEOUT_MS });
    const { runtimeName, runtimeVersion } = await plain.runtime.version({}, { timeoutMs: RUNTIME_TIMEOUT_MS });

    const metrics = createMetrics(nodeName, () => countPods(pods));
    undo.push(() => metrics.close());
    const cri = instrumentCri(plain, metrics.runtimeOperation);
    const paths = { podsDir: path.join(options.rootDir, 'pods'), logDir: options.logDir };
    const config: ConfigNode = {
      nodeName,
      hostIps: host.hostIps,
      memoryBytes: host.memoryBytes,
      mapsTmpfs: host.mapsTmpfs,
      clusterDomain: options.dns.clusterDomain,
      paths,
    };
    const events = createEventLog(logger);
    const pulls = new ImagePulls(cri);
    metrics.watchPulls(() => pulls.list());
    const runs = new Map<string, Run>();
    const pods: Pods = new Pods({
      node: {
        ...{ cri, config, cgroups, events, pulls, logger },
        observer: new Observer(cri, paths),
        dnsSources: () => dns.sources(),
        credentialsFor: options.credentialsFor,
        facts: { nodeName, hostIps: host.hostIps, runtimeName },
        ...(options.onStep === undefined ? {} : { onStep: options.onStep }),
        onStarted: (what) => (what === 'pod' ? metrics.podStarted() : metrics.containerStarted()),
        onPulled: (durationMs, sizeBytes) => metrics.imagePulled(durationMs / 1000, sizeBytes),
        onSync: (operation, durationMs) => metrics.podSync(operation, durationMs / 1000),
        onRunning: (durationMs) => metrics.podRunning(durationMs / 1000),
      },
      // Without manifests nobody says that a pod of an earlier start is not wanted any more: `run` leaves it alone.
      expectedSources: [MANIFESTS],
      onDesired: (desired) => {
        cgroups
          .updateQos(desired.map(({ pod }) => pod))
          .catch((error: unknown) => logger.warn({}, `cannot weigh the QoS classes: ${describeError(error)}`));
      },
    });
    undo.push(() => pods.close());
    const dns = await openNodeDns({
      ...{ ...options.dns, cri, logger, pods: () => zonePods(pods.list()) },
      subscribe: (listener) => pods.subscribe(listener),
    });
    undo.push(() => dns.close());
    await pods.start(closing.signal);
    const following = followRuntime({ cri, pods, logger, signal: closing.signal });
    undo.push(() => {
      closing.abort();
      return following;
    });

    const run: Agent['run'] = (text, file, onEvent) => {
      const started = startRun(text, { pods, nodeName, file, onEvent, onEnd: ({ id }) => runs.delete(id) });
      runs.set(started.id, started);
      return started;
    };
    const served: Served = {
      ...{ nodeName, version: options.version, pods, cri, metrics, events, pulls, paths, runs, startRun: run, names: () => dns.names() },
      runtime: { name: runtimeName, version: runtimeVersion },
    };
    const socket = path.join(options.runDir, 'agent.sock');
    const listeners: Listener[] = [];
    const closeListeners = async () => void (await Promise.all(listeners.splice(0).map((listener) => listener.close())));
    undo.push(closeListeners);
    const readOnlyPort = await openReadOnly(options, served, listeners);
    const commands = await listen({ socketPath: socket }, socketRoutes(served), logger);
    listeners.push(commands);
    undo.push(serveUpgrades(commands.server, streamRoutes(pods, cri), logger));
    const source = await openSource(options, pods);
    undo.push(() => source?.close());
    // Not for a pod in the foreground, which says nothing about what the node needs.
    const collecting =
      source === undefined
        ? undefined
        : collectImages({
            ...{ cri, events, logger, policy: options.imageGc, signal: closing.signal, onRemoved: metrics.imageCollected },
            pods: () => pods.list().flatMap(({ desired }) => desired?.pod ?? []),
          });
    undo.push(() => {
      closing.abort();
      return collecting;
    });
    return {
      ...{ socket, readOnlyPort, pods, run },
      get problems() {
        return pods.problems;
      },
      async stop({ stopPods }) {
        await source?.close();
        if (stopPods) await pods.stopPods();
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function openCgroups({ cgroupRoot, cgroupSuffix, allowNoLimits, podPidsLimit, logger }: AgentOptions): PodCgroups {
  const host = detectCgroupHost();
  const problem = cgroupProblem(host);
  if (problem !== undefined) {
    if (!allowNoLimits) throw new Error(problem);
    logger.warn({}, `pods run without limits: ${problem}`);
    return noPodCgroups;
  }
  const flag = cgroupRoot === undefined ? {} : { flag: cgroupRoot };
  const { root } = planCgroupRoot(gatherCgroupRootFacts(host, { ...flag, suffix: cgroupSuffix }));
  return createPodCgroups({ host, root, podPidsLimit: BigInt(podPidsLimit ?? -1) });
}

async function openReadOnly({ readOnlyAddress, readOnlyPort, logger }: AgentOptions, served: Served, listeners: Listener[]) {
  if (readOnlyPort === 0) return undefined;
  const where = { address: readOnlyAddress, port: readOnlyPort, flag: 'read-only-port' };
  const listener = await listen(where, readOnlyRoutes(served), logger);
  listeners.push(listener);
  const address = listener.server.address();
  return typeof address === 'object' && address !== null ? address.port : undefined;
}

async function openSource(
  { manifests, fileCheckFrequencyMs, nodeName, rootDir, logger }: AgentOptions,
  pods: Pods,
): Promise<PodSource | undefined> {
  if (manifests.length === 0) return undefined;
  return openFileSource({
    ...{ paths: manifests, nodeName, logger },
    ...(fileCheckFrequencyMs === undefined ? {} : { rescanMs: fileCheckFrequencyMs }),
    lastGoodFile: path.join(rootDir, 'manifests-last-good.json'),
    onUpdate: (update) => pods.update(MANIFESTS, update),
  });
}

function countPods(pods: Pods): PodCounts {
  const workers = pods.list();
  const containers: Record<string, number> = { created: 0, running: 0, exited: 0, unknown: 0 };
  let runningPods = 0;
  for (const { status } of workers) {
    const states = (status?.containerStatuses ?? []).map(({ state, lastState, containerID }) => {
      if (state?.running !== undefined) return 'running';
      if (state?.terminated !== undefined || lastState?.terminated !== undefined) return 'exited';
      return containerID === undefined ? undefined : 'created';
    });
    if (states.includes('running')) runningPods++;
    for (const state of states) if (state !== undefined) containers[state] = (containers[state] ?? 0) + 1;
  }
  return { runningPods, desiredPods: workers.filter(({ removed }) => !removed).length, containers };
}
