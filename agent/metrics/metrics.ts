// Owns the agent's metrics: the kubelet's names where it has them, so that its dashboards and alerts work.
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

export interface PodCounts {
  readonly runningPods: number;
  readonly desiredPods: number;
  /** created, running, exited, unknown */
  readonly containers: Readonly<Record<string, number>>;
}

export interface PullBytes {
  readonly image: string;
  readonly transfer: { readonly doneBytes: number; readonly totalBytes: number };
}

export interface Metrics {
  readonly registry: Registry;
  runtimeOperation(operation: string, seconds: number, failed: boolean): void;
  podSync(operation: string, seconds: number): void;
  podStarted(): void;
  podRunning(seconds: number): void;
  containerStarted(): void;
  imageCollected(reason: string): void;
  imagePulled(seconds: number, sizeBytes: number): void;
  /** Where the pulls that go on are looked up at each scrape. */
  watchPulls(list: () => readonly PullBytes[]): void;
  close(): void;
}

/** The kubelet's buckets: 0.005 × 2.5^n. */
const OPERATION_BUCKETS = Array.from({ length: 14 }, (_, n) => 0.005 * 2.5 ** n);
const START_BUCKETS = [
  0.05, 0.1, 0.25, 0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600,
];
const PULL_BUCKETS = [1, 5, 10, 20, 30, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600];
const MIB = 1024 ** 2;
/** The kubelet's label of an image's size, by the smallest size that it is for. */
const IMAGE_SIZES: readonly (readonly [bytes: number, label: string])[] = [
  [100 * 1024 * MIB, 'GT100GB'],
  [60 * 1024 * MIB, '60GB-100GB'],
  [40 * 1024 * MIB, '40GB-60GB'],
  [30 * 1024 * MIB, '30GB-40GB'],
  [20 * 1024 * MIB, '20GB-30GB'],
  [10 * 1024 * MIB, '10GB-20GB'],
  [5 * 1024 * MIB, '5GB-10GB'],
  [1024 * MIB, '1GB-5GB'],
  [500 * MIB, '500MB-1GB'],
  [100 * MIB, '100MB-500MB'],
  [10 * MIB, '10MB-100MB'],
  [0, '0-10MB'],
];
const LOOP_RESOLUTION_MS = 10;
const NANO = 1e9;

export function createMetrics(nodeName: string, count: () => PodCounts): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const loop = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS });
  loop.enable();

  new Gauge({ name: 'kubelet_node_name', help: 'The name of the node; the value is always 1.', labelNames: ['node'], registers }).set(
    { node: nodeName },
    1,
  );
  new Gauge({
    name: 'kubelet_running_pods',
    help: 'Pods that have a running container.',
    registers,
    collect() {
      this.set(count().runningPods);
    },
  });
  new Gauge({
    name: 'kubelet_desired_pods',
    help: 'Pods that have a manifest.',
    registers,
    collect() {
      this.set(count().desiredPods);
    },
  });
  new Gauge({
    name: 'kubelet_running_containers',
    help: 'Containers of the pods by their state.',
    labelNames: ['container_state'],
    registers,
    collect() {
      this.reset();
      for (const [state, value] of Object.entries(count().containers)) this.set({ container_state: state }, value);
    },
  });
  new Gauge({
    name: 'tskubelet_event_loop_lag_seconds',
    help: 'How late the event loop ran since the last scrape, by quantile.',
    labelNames: ['quantile'],
    registers,
    collect() {
      // The histogram counts the timer's own period too.
      const lag = (nanoseconds: number) => Math.max(nanoseconds / NANO - LOOP_RESOLUTION_MS / 1000, 0);
      this.set({ quantile: '0.5' }, loop.count === 0 ? 0 : lag(loop.percentile(50)));
      this.set({ quantile: '0.99' }, loop.count === 0 ? 0 : lag(loop.percentile(99)));
      this.set({ quantile: '1' }, loop.count === 0 ? 0 : lag(loop.max));
      loop.reset();
    },
  });
  const operation = { labelNames: ['operation_type'] as const, registers };
  const operations = new Counter({ name: 'kubelet_runtime_operations_total', help: 'CRI calls by operation.', ...operation });
  const errors = new Counter({
    name: 'kubelet_runtime_operations_errors_total',
    help: 'CRI calls that failed, by operation.',
    ...operation,
  });
  const durations = new Histogram({
    name: 'kubelet_runtime_operations_duration_seconds',
    help: 'Duration of CRI calls by operation.',
    buckets: OPERATION_BUCKETS,
    ...operation,
  });
  const syncs = new Histogram({
    name: 'kubelet_pod_worker_duration_seconds',
    help: 'Duration of one sync of a pod: create, sync or kill.',
    ...operation,
  });
  const startDuration = new Histogram({
    name: 'kubelet_pod_start_duration_seconds',
    help: 'From the first sight of a pod to all of its containers having started.',
    buckets: START_BUCKETS,
    registers,
  });
  const pods = new Counter({ name: 'kubelet_started_pods_total', help: 'Pods started by this agent process.', registers });
  const containers = new Counter({
    name: 'kubelet_started_containers_total',
    help: 'Containers started by this agent process.',
    labelNames: ['container_type'],
    registers,
  });
  const collected = new Counter({
    name: 'kubelet_image_garbage_collected_total',
    help: 'Images removed by garbage collection, for age or for space.',
    labelNames: ['reason'],
    registers,
  });
  const pulls = new Histogram({
    name: 'kubelet_image_pull_duration_seconds',
    help: 'Duration of image pulls that succeeded, by the size of the image.',
    buckets: PULL_BUCKETS,
    labelNames: ['image_size_in_bytes'],
    registers,
  });
  let listPulls: () => readonly PullBytes[] = () => [];
  const pullGauge = (name: string, help: string, field: 'doneBytes' | 'totalBytes') =>
    new Gauge({
      ...{ name, help, labelNames: ['image'], registers },
      collect() {
        this.reset();
        for (const { image, transfer } of listPulls()) this.set({ image }, transfer[field]);
      },
    });
  pullGauge('tskubelet_image_pull_received_bytes', 'Bytes that pulls under way have got so far, by image.', 'doneBytes');
  pullGauge('tskubelet_image_pull_size_bytes', 'Bytes that pulls under way have to get in all, by image.', 'totalBytes');
  return {
    registry,
    watchPulls: (list) => {
      listPulls = list;
    },
    runtimeOperation(type, seconds, failed) {
      operations.inc({ operation_type: type });
      durations.observe({ operation_type: type }, seconds);
      if (failed) errors.inc({ operation_type: type });
    },
    podSync: (type, seconds) => syncs.observe({ operation_type: type }, seconds),
    podStarted: () => pods.inc(),
    podRunning: (seconds) => startDuration.observe(seconds),
    containerStarted: () => containers.inc({ container_type: 'container' }),
    imageCollected: (reason) => collected.inc({ reason }),
    imagePulled: (seconds, sizeBytes) =>
      pulls.observe({ image_size_in_bytes: IMAGE_SIZES.find(([bytes]) => sizeBytes >= bytes)?.[1] ?? 'N/A' }, seconds),
    close: () => void loop.disable(),
  };
}
