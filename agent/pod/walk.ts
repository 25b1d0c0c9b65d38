// Owns the effects of a pod's plan: executes its actions in order, and says which of them failed. Decides nothing.
import fs from 'node:fs/promises';
import path from 'node:path';
import type { V1Container } from '@kubernetes/client-node';
import { CriCallError, type CriClient } from '../../cri-proto/client.ts';
import type { AuthConfig } from '../../cri-proto/gen/api.ts';
import { describeError } from '../error.ts';
import type { EventLog } from '../event/events.ts';
import type { ImagePulls } from '../image/pulls.ts';
import { expandEnv } from '../manifest/expand.ts';
import type { PodCgroups } from '../resource/pod-cgroups.ts';
import type { DesiredPod } from '../source/source.ts';
import { planVolumes, volumePaths } from '../volume/plan.ts';
import { ensureSubPaths, planSubPaths } from '../volume/sub-path.ts';
import { ensureVolumes, removeDirectory, removeVolumes } from '../volume/volumes.ts';
import type { FailureKey } from './backoff.ts';
import { activeSandbox } from './containers.ts';
import { type ConfigNode, planContainerConfig, planSandboxConfig } from './cri-config.ts';
import { type DnsSources, planDns } from './dns.ts';
import { renderHosts } from './hosts.ts';
import { ensureImage, ImageProblem, type PresentImage } from './image.ts';
import { convertSandbox, type ObservedPod } from './observed.ts';
import { hostsPath, podDir, podLogDir } from './paths.ts';
import type { Action } from './plan.ts';
import { rootProblem } from './security.ts';
import { ensureUserRange, type UserRange } from './user-range.ts';

export interface WalkNode {
  readonly cri: CriClient;
  readonly config: ConfigNode;
  readonly cgroups: PodCgroups;
  /** What pods may be told for names, as things are now. */
  readonly dnsSources: () => Promise<DnsSources>;
  /** Credentials to pull an image with, best first. */
  readonly credentialsFor: (image: string) => Promise<readonly Partial<AuthConfig>[]>;
  readonly events: EventLog;
  readonly pulls: ImagePulls;
  readonly onStarted: (what: 'pod' | 'container') => void;
  readonly onPulled: (durationMs: number, sizeBytes: number) => void;
  /** Called before each step: crash tests stop the process there. */
  readonly onStep?: (step: string) => void;
}

export interface WalkFailure {
  readonly key: FailureKey;
  readonly reason: string;
  readonly message: string;
}

export interface WalkResult {
  readonly failures: readonly WalkFailure[];
  /** What went well, so that its next failure is a first one again. */
  readonly succeeded: readonly FailureKey[];
  readonly released: boolean;
}

// As the kubelet's runtimeRequestTimeout.
const CALL_TIMEOUT_MS = 120_000;
const SANDBOX_TIMEOUT_MS = 240_000;

export class Walk {
  readonly #node: WalkNode;
  readonly #desired: DesiredPod | undefined;
  readonly #observed: ObservedPod;
  readonly #signal: AbortSignal;
  readonly #images = new Map<string, PresentImage>();
  /** Volume name to the id of its image. */
  readonly #imageVolumes = new Map<string, string>();
  readonly #created = new Map<string, string>();
  readonly #failures: WalkFailure[] = [];
  readonly #succeeded: FailureKey[] = [];
  #sandbox: { readonly id: string; readonly attempt: number; readonly ips: readonly string[] } | undefined;
  #released = false;
  #dns: DnsSources | undefined;

  /** signal: the pod is wanted otherwise. What is under way in the runtime ends as it may, no further step begins. */
  constructor(node: WalkNode, desired: DesiredPod | undefined, observed: ObservedPod, signal: AbortSignal) {
    this.#node = node;
    this.#desired = desired;
    this.#observed = observed;
    this.#signal = signal;
    this.#sandbox = activeSandbox(observed);
  }

  async run(actions: readonly Action[]): Promise<WalkResult> {
    await this.#sequence(actions);
    return { failures: this.#failures, succeeded: this.#succeeded, released: this.#released };
  }

  /** False when a step failed: those after it depend on it. */
  async #sequence(actions: readonly Action[]): Promise<boolean> {
    for (const action of actions) {
      if (this.#signal.aborted) return false;
      if (action.action === 'together') {
        const done = await Promise.all(action.lanes.map((lane) => this.#sequence(lane)));
        // Kills first, then what needs them done; starts end their plan, so a failed lane costs the others nothing.
        if (done.includes(false)) return false;
        continue;
      }
      this.#node.onStep?.('container' in action ? `${action.action} ${action.container}` : action.action);
      try {
        await this.#step(action);
        this.#succeeded.push(failureKey(action));
      } catch (error) {
        if (!this.#signal.aborted) this.#fail(action, error);
        return false;
      }
    }
    return true;
  }

  async #step(action: Exclude<Action, { action: 'together' }>): Promise<void> {
    const { runtime } = this.#node.cri;
    switch (action.action) {
      case 'ensureVolumes':
        return this.#ensureVolumes();
      case 'createSandbox':
        return this.#createSandbox(action.attempt);
      case 'ensureHosts':
        return this.#ensureHosts();
      case 'ensureImage':
        return this.#ensureImage(action.container);
      case 'createContainer':
        return this.#createContainer(action);
      case 'startContainer':
        return this.#startContainer(action.container, action.id);
      case 'killContainer':
        this.#event('Normal', 'Killing', `Stopping container ${action.container}: ${action.reason}`, action.container);
        await runtime.stopContainer(
          { containerId: action.id, timeout: BigInt(action.graceSeconds) },
          { timeoutMs: CALL_TIMEOUT_MS + action.graceSeconds * 1000 },
        );
        return;
      case 'stopSandbox':
        await runtime.stopPodSandbox({ podSandboxId: action.id }, { timeoutMs: CALL_TIMEOUT_MS });
        return;
      case 'removeContainer':
        return this.#removeContainer(action);
      case 'removeSandbox':
        await runtime.removePodSandbox({ podSandboxId: action.id }, { timeoutMs: CALL_TIMEOUT_MS });
        return;
      case 'release':
        await removeVolumes(this.#paths, this.#observed.uid);
        await this.#node.cgroups.remove(this.#observed.uid);
        this.#released = true;
        return;
      case 'cleanup':
        return this.#cleanup();
    }
  }

  get #paths() {
    return this.#node.config.paths;
  }

  #wanted(): DesiredPod {
    if (this.#desired === undefined) throw new Error('a pod without a manifest cannot be started');
    return this.#desired;
  }

  #container(name: string): V1Container {
    const container = this.#wanted().pod.spec?.containers.find((candidate) => candidate.name === name);
    if (container === undefined) throw new Error(`the pod has no container "${name}"`);
    return container;
  }

  async #ensureVolumes(): Promise<void> {
    const { pod } = this.#wanted();
    await fs.mkdir(podDir(this.#paths, this.#observed.uid), { recursive: true, mode: 0o750 });
    await this.#node.cgroups.ensure(pod);
    const users = this.#users();
    await ensureVolumes(planVolumes(pod, this.#paths, this.#node.config.mapsTmpfs ? undefined : users?.hostId));
  }

  async #sandboxConfig(attempt: number) {
    const desired = this.#wanted();
    const cgroupParent = this.#node.cgroups.pathOf(desired.pod);
    this.#dns ??= await this.#node.dnsSources();
    return planSandboxConfig({ desired, attempt, cgroupParent, users: this.#users(), dns: this.#dns, node: this.#node.config });
  }

  #users(): UserRange | undefined {
    return ensureUserRange(this.#paths, this.#wanted().pod);
  }

  /** A runtime that knows nothing of user namespaces would run the pod's root as the host's. */
  async #checkUsers(): Promise<void> {
    if (this.#users() === undefined) return;
    const { runtimeHandlers } = await this.#node.cri.runtime.status({}, { timeoutMs: CALL_TIMEOUT_MS });
    const handler = this.#runtimeHandler();
    if (runtimeHandlers.some(({ name, features }) => name === handler && features?.userNamespaces)) return;
    const which = handler === '' ? 'the container runtime' : `the runtime of runtimeClassName "${handler}"`;
    throw new Error(`hostUsers is false, and ${which} cannot make user namespaces on this node: remove hostUsers`);
  }

  #runtimeHandler(): string {
    return this.#wanted().pod.spec?.runtimeClassName ?? '';
  }

  async #createSandbox(attempt: number): Promise<void> {
    const { runtime } = this.#node.cri;
    await this.#checkUsers();
    if (attempt > 0) this.#event('Normal', 'SandboxChanged', 'Pod sandbox is gone: all containers are started again in a new one');
    await fs.mkdir(podLogDir(this.#paths, this.#observed), { recursive: true, mode: 0o755 });
    const config = await this.#sandboxConfig(attempt);
    for (const { reason, message } of this.#dns === undefined ? [] : planDns(this.#wanted().pod, this.#dns).problems)
      this.#event('Warning', reason, message);
    const { podSandboxId } = await runtime.runPodSandbox(
      { config, runtimeHandler: this.#runtimeHandler() },
      { timeoutMs: SANDBOX_TIMEOUT_MS },
    );
    const { status } = await runtime.podSandboxStatus({ podSandboxId }, { timeoutMs: CALL_TIMEOUT_MS });
    if (status === undefined) throw new Error(`sandbox ${podSandboxId} has no status`);
    this.#sandbox = convertSandbox(status);
    if (attempt === 0) this.#node.onStarted('pod');
  }

  #podIps(): readonly string[] {
    return this.#wanted().pod.spec?.hostNetwork ? this.#node.config.hostIps : (this.#sandbox?.ips ?? []);
  }

  async #ensureHosts(): Promise<void> {
    const { pod } = this.#wanted();
    const { clusterDomain } = this.#node.config;
    const hostFile = pod.spec?.hostNetwork ? await fs.readFile('/etc/hosts', 'utf8').catch(() => '') : '';
    // Written in place: containers have this very file mounted.
    await fs.writeFile(hostsPath(this.#paths, this.#observed.uid), renderHosts(pod, this.#podIps(), { hostFile, clusterDomain }), {
      mode: 0o644,
    });
  }

  async #ensureImage(name: string): Promise<void> {
    const container = this.#container(name);
    const tell = (reason: string, message: string) => this.#event('Normal', reason, message, name);
    const { cri, pulls, onPulled, credentialsFor } = this.#node;
    const track = <T>(image: string, pull: () => Promise<T>) =>
      pulls.track({ uid: this.#observed.uid, container: name, image }, pull, (progress) =>
        tell('Pulling', `Pulling image "${image}": ${progress}`),
      );
    const options = { tell, track, onPulled, credentialsFor, signal: this.#signal };
    this.#images.set(name, await ensureImage(cri, container, options));
    const mounted = new Set(container.volumeMounts?.map((mount) => mount.name));
    for (const { name: volume, image } of this.#wanted().pod.spec?.volumes ?? []) {
      if (image === undefined || !mounted.has(volume)) continue;
      const wanted = { image: image.reference ?? '', imagePullPolicy: image.pullPolicy ?? 'IfNotPresent' };
      const { id } = await ensureImage(cri, wanted, options);
      this.#imageVolumes.set(volume, id);
    }
  }

  async #createContainer({ container: name, restartCount, backoffStep }: Extract<Action, { action: 'createContainer' }>): Promise<void> {
    const desired = this.#wanted();
    const container = this.#container(name);
    const sandbox = this.#sandbox;
    const image = this.#images.get(name);
    if (sandbox === undefined || image === undefined) throw new Error(`container ${name} has no sandbox or image to be created from`);
    const problem = rootProblem(desired.pod, container, image.user);
    if (problem !== undefined) throw new ConfigProblem(problem);
    const volumes = volumePaths(planVolumes(desired.pod, this.#paths));
    const podIps = this.#podIps();
    const env = expandEnv(container, desired.pod, { podIPs: podIps, hostIPs: this.#node.config.hostIps });
    ensureSubPaths(planSubPaths({ container, env, volumes, paths: this.#paths, uid: this.#observed.uid }).values());
    const config = planContainerConfig({
      ...{ desired, container, restartCount, backoffStep, volumes, imageVolumes: this.#imageVolumes, users: this.#users() },
      ...{ imageRef: image.id, imageUser: image.user, podIps, node: this.#node.config },
    });
    await fs.mkdir(path.join(podLogDir(this.#paths, this.#observed), name), { recursive: true, mode: 0o755 });
    const { containerId } = await this.#node.cri.runtime.createContainer(
      { podSandboxId: sandbox.id, config, sandboxConfig: await this.#sandboxConfig(sandbox.attempt) },
      { timeoutMs: CALL_TIMEOUT_MS },
    );
    this.#created.set(name, containerId);
    this.#event('Normal', 'Created', `Created container ${name}`, name);
  }

  async #startContainer(name: string, id: string | undefined): Promise<void> {
    const containerId = this.#created.get(name) ?? id;
    if (containerId === undefined) throw new Error(`container ${name} was not created`);
    await this.#node.cri.runtime.startContainer({ containerId }, { timeoutMs: CALL_TIMEOUT_MS });
    this.#node.onStarted('container');
    this.#event('Normal', 'Started', `Started container ${name}`, name);
  }

  async #removeContainer({ id, container, restartCount }: Extract<Action, { action: 'removeContainer' }>): Promise<void> {
    await this.#node.cri.runtime.removeContainer({ containerId: id }, { timeoutMs: CALL_TIMEOUT_MS });
    const directory = path.join(podLogDir(this.#paths, this.#observed), container);
    const names = await fs.readdir(directory).catch(() => [] as string[]);
    // Rotated ones are <n>.log.<date>, perhaps .gz.
    for (const name of names.filter((candidate) => candidate.startsWith(`${restartCount}.log`)))
      await fs.rm(path.join(directory, name), { force: true });
  }

  /** The directory goes last: its record says that there was something to clean up. */
  async #cleanup(): Promise<void> {
    const { uid, name } = this.#observed;
    await this.#node.cgroups.remove(uid);
    if (name !== '') await fs.rm(podLogDir(this.#paths, this.#observed), { recursive: true, force: true });
    await removeDirectory(podDir(this.#paths, uid));
  }

  #event(type: 'Normal' | 'Warning', reason: string, message: string, container?: string): void {
    const { uid, namespace, name } = this.#observed;
    this.#node.events.record({ type, reason, message, pod: { uid, namespace, name }, ...(container === undefined ? {} : { container }) });
  }

  #fail(action: Exclude<Action, { action: 'together' }>, error: unknown): void {
    const { reason, event } = failureReason(action, error);
    const message = describeError(error);
    this.#failures.push({ key: failureKey(action), reason, message });
    this.#event('Warning', event, message, 'container' in action ? action.container : undefined);
  }
}

/** The manifest asks for something that this image or node does not have. */
export class ConfigProblem extends Error {
  override readonly name = 'ConfigProblem';
}

function failureKey(action: Exclude<Action, { action: 'together' }>): FailureKey {
  switch (action.action) {
    case 'ensureVolumes':
      return 'volumes';
    case 'createSandbox':
    case 'ensureHosts':
      return 'sandbox';
    case 'ensureImage':
      return `image ${action.container}`;
    case 'createContainer':
      return `create ${action.container}`;
    case 'startContainer':
      return `start ${action.container}`;
    default:
      return 'end';
  }
}

/** The waiting reason of the container, and the reason of the event. */
function failureReason(action: Action, error: unknown): { reason: string; event: string } {
  switch (action.action) {
    case 'ensureVolumes':
      return { reason: 'FailedMount', event: 'FailedMount' };
    case 'createSandbox':
    case 'ensureHosts':
      return { reason: 'CreatePodSandboxError', event: 'FailedCreatePodSandBox' };
    case 'ensureImage':
      return { reason: error instanceof ImageProblem ? error.reason : 'ErrImagePull', event: 'Failed' };
    case 'createContainer': {
      const reason = error instanceof CriCallError ? 'CreateContainerError' : 'CreateContainerConfigError';
      return { reason, event: 'Failed' };
    }
    case 'startContainer':
      return { reason: 'RunContainerError', event: 'Failed' };
    default:
      return { reason: 'KillPodError', event: 'FailedKillPod' };
  }
}
