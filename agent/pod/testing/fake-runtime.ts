// A CRI runtime in memory, for tests of the workers: it records the calls that change something, and fails where it is told to.
import { setTimeout as delay } from 'node:timers/promises';
import { CriCallError, type CriClient } from '../../../cri-proto/client.ts';
import {
  type Container,
  type ContainerConfig,
  type ContainerEventResponse,
  ContainerState,
  ContainerStatus,
  type PodSandbox,
  type PodSandboxConfig,
  PodSandboxState,
  PodSandboxStatus,
} from '../../../cri-proto/gen/api.ts';

interface FakeSandbox {
  readonly id: string;
  readonly config: PodSandboxConfig;
  readonly createdAt: bigint;
  ready: boolean;
}

interface FakeContainer {
  readonly id: string;
  readonly sandboxId: string;
  readonly config: ContainerConfig;
  readonly createdAt: bigint;
  state: ContainerState;
  startedAt: bigint;
  finishedAt: bigint;
  exitCode: number;
  reason: string;
  message: string;
}

const now = () => BigInt(Date.now()) * 1_000_000n;
const notFound = (method: string, id: string) => new CriCallError('NOT_FOUND', method, `${id} is not there`);

export class FakeRuntime {
  readonly calls: string[] = [];
  readonly sandboxes = new Map<string, FakeSandbox>();
  readonly containers = new Map<string, FakeContainer>();
  readonly images = new Set(['localhost/node:host']);
  /** Method name to what it throws, once per call. */
  readonly failures = new Map<string, Error>();
  /** Calls of this method wait for the promise. */
  readonly held = new Map<string, Promise<void>>();
  readonly #readers = new Set<(event: ContainerEventResponse) => void>();
  #next = 1;

  readonly client: CriClient = {
    endpoint: 'fake',
    waitReady: async () => undefined,
    close: () => undefined,
    runtime: {
      version: async () => ({ version: '0.1.0', runtimeName: 'fake', runtimeVersion: '1.0.0', runtimeApiVersion: 'v1' }),
      runPodSandbox: ({ config }: { config: PodSandboxConfig }) =>
        this.#call('runPodSandbox', `${config.metadata?.name} ${config.metadata?.attempt}`, () => {
          const id = `sandbox-${this.#next++}`;
          this.sandboxes.set(id, { id, config, createdAt: now(), ready: true });
          return { podSandboxId: id };
        }),
      stopPodSandbox: ({ podSandboxId }: { podSandboxId: string }) =>
        this.#call('stopPodSandbox', podSandboxId, () => {
          const sandbox = this.sandboxes.get(podSandboxId);
          if (sandbox !== undefined) sandbox.ready = false;
          for (const container of this.containers.values())
            if (container.sandboxId === podSandboxId && container.state === ContainerState.CONTAINER_RUNNING) this.exit(container, 137);
          return {};
        }),
      removePodSandbox: ({ podSandboxId }: { podSandboxId: string }) =>
        this.#call('removePodSandbox', podSandboxId, () => {
          this.sandboxes.delete(podSandboxId);
          return {};
        }),
      createContainer: ({ podSandboxId, config }: { podSandboxId: string; config: ContainerConfig }) =>
        this.#call('createContainer', `${config.metadata?.name} ${config.metadata?.attempt}`, () => {
          const id = `container-${this.#next++}`;
          this.containers.set(id, {
            ...{ id, sandboxId: podSandboxId, config, createdAt: now(), state: ContainerState.CONTAINER_CREATED },
            ...{ startedAt: 0n, finishedAt: 0n, exitCode: 0, reason: '', message: '' },
          });
          return { containerId: id };
        }),
      startContainer: ({ containerId }: { containerId: string }) =>
        this.#call('startContainer', this.#name(containerId), () => {
          const container = this.containers.get(containerId);
          if (container === undefined) throw notFound('StartContainer', containerId);
          container.state = ContainerState.CONTAINER_RUNNING;
          container.startedAt = now();
          return {};
        }),
      stopContainer: ({ containerId, timeout }: { containerId: string; timeout: bigint }) =>
        this.#call('stopContainer', `${this.#name(containerId)} ${timeout}`, () => {
          const container = this.containers.get(containerId);
          if (container?.state === ContainerState.CONTAINER_RUNNING) this.exit(container, 143);
          return {};
        }),
      removeContainer: ({ containerId }: { containerId: string }) =>
        this.#call('removeContainer', this.#name(containerId), () => {
          this.containers.delete(containerId);
          return {};
        }),
      listPodSandbox: async ({ filter }: { filter?: { labelSelector: Record<string, string> } } = {}) => ({
        items: [...this.sandboxes.values()].filter(({ config }) => matches(config.labels, filter?.labelSelector)).map(listSandbox),
      }),
      listContainers: async ({ filter }: { filter?: { labelSelector: Record<string, string> } } = {}) => ({
        containers: [...this.containers.values()].filter(({ config }) => matches(config.labels, filter?.labelSelector)).map(listContainer),
      }),
      podSandboxStatus: async ({ podSandboxId }: { podSandboxId: string }) => {
        const sandbox = this.sandboxes.get(podSandboxId);
        if (sandbox === undefined) throw notFound('PodSandboxStatus', podSandboxId);
        return { status: sandboxStatus(sandbox), info: {}, containersStatuses: [], timestamp: 0n };
      },
      containerStatus: async ({ containerId }: { containerId: string }) => {
        const container = this.containers.get(containerId);
        if (container === undefined) throw notFound('ContainerStatus', containerId);
        return { status: containerStatus(container), info: {} };
      },
      getContainerEvents: (_: object, { signal }: { signal: AbortSignal }) => this.#events(signal),
    },
    image: {
      imageStatus: async ({ image }: { image: { image: string } }) => ({
        image:
          this.images.has(image.image) || image.image.startsWith('sha256:')
            ? {
                id: `sha256:${image.image}`,
                repoTags: [image.image],
                repoDigests: [],
                size: 1n,
                username: '',
                uid: { value: 1000n },
                pinned: false,
              }
            : undefined,
        info: {},
      }),
      pullImage: ({ image }: { image: { image: string } }) =>
        this.#call('pullImage', image.image, () => {
          this.images.add(image.image);
          return { imageRef: `sha256:${image.image}` };
        }),
    },
  } as unknown as CriClient;

  async #call<T>(method: string, detail: string, act: () => T): Promise<T> {
    this.calls.push(`${method} ${detail}`);
    await this.held.get(method);
    const failure = this.failures.get(method);
    if (failure !== undefined) throw failure;
    return act();
  }

  #name(id: string): string {
    return this.containers.get(id)?.config.metadata?.name ?? id;
  }

  find(name: string): FakeContainer {
    const found = [...this.containers.values()].findLast(({ config }) => config.metadata?.name === name);
    if (found === undefined) throw new Error(`no container ${name}`);
    return found;
  }

  /** The program ends. */
  exit(container: FakeContainer, exitCode: number): void {
    container.state = ContainerState.CONTAINER_EXITED;
    container.exitCode = exitCode;
    container.reason = exitCode === 0 ? 'Completed' : 'Error';
    container.finishedAt = now();
    this.tell(container);
  }

  tell({ id, sandboxId }: { id: string; sandboxId: string }): void {
    const sandbox = this.sandboxes.get(sandboxId);
    for (const reader of this.#readers)
      reader({
        ...{ containerId: id, containerEventType: 2, createdAt: now(), containersStatuses: [] },
        podSandboxStatus: sandbox === undefined ? undefined : sandboxStatus(sandbox),
      });
  }

  async *#events(signal: AbortSignal): AsyncGenerator<ContainerEventResponse> {
    const queue: ContainerEventResponse[] = [];
    const reader = (event: ContainerEventResponse) => void queue.push(event);
    this.#readers.add(reader);
    try {
      while (!signal.aborted) {
        const event = queue.shift();
        if (event !== undefined) yield event;
        else await delay(5);
      }
    } finally {
      this.#readers.delete(reader);
    }
  }
}

function matches(labels: Record<string, string>, selector: Record<string, string> = {}): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value);
}

function listSandbox({ id, config, createdAt, ready }: FakeSandbox): PodSandbox {
  const { metadata, labels, annotations } = config;
  const state = ready ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY;
  return { id, metadata, state, createdAt, labels, annotations, runtimeHandler: '' };
}

function sandboxStatus(sandbox: FakeSandbox): PodSandboxStatus {
  return PodSandboxStatus.fromPartial({ ...listSandbox(sandbox), network: { ip: sandbox.ready ? '10.244.0.7' : '' } });
}

function listContainer({ id, sandboxId, config, createdAt, state }: FakeContainer): Container {
  const { metadata, image, labels, annotations } = config;
  return {
    ...{ id, podSandboxId: sandboxId, metadata, image, imageRef: 'sha256:1', imageId: 'sha256:1' },
    state,
    createdAt,
    labels,
    annotations,
  };
}

function containerStatus({ config, ...container }: FakeContainer): ContainerStatus {
  const { metadata, labels, annotations } = config;
  return ContainerStatus.fromPartial({
    ...container,
    ...{ metadata, labels, annotations, imageRef: 'sha256:1', image: { image: config.image?.userSpecifiedImage ?? '' } },
  });
}
