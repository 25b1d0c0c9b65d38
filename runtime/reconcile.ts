// Owns the start of the runtime: what the disk remembers is compared with what the kernel has, and each is brought to the other.
import fs from 'node:fs';
import path from 'node:path';
import { openCgroup, removeCgroup } from './cgroup/apply.ts';
import { killCgroup } from './cgroup/processes.ts';
import { listCgroups } from './cgroup/root.ts';
import { thawAfterCrash } from './checkpoint/pod.ts';
import { Container } from './container/container.ts';
import { endCutSessions } from './container/exec-cgroup.ts';
import { endContainer, releaseContainer, watchContainer } from './container/exit.ts';
import { outputStreams } from './container/output.ts';
import { type ContainerRecord, decodeContainerRecord } from './container/record.ts';
import type { RuntimeContext } from './context.ts';
import { containerKey, sandboxKey } from './ids.ts';
import { hasCode } from './linux/errno.ts';
import { adoptContainer } from './process/container.ts';
import { readExitFile } from './process/exit-file.ts';
import { findOurProcesses, killOurProcess, type OurProcess } from './process/ours.ts';
import { watchPauseProcess } from './process/pause.ts';
import { watchSandbox } from './sandbox/end.ts';
import { removeSandboxFiles } from './sandbox/files.ts';
import { decodeSandboxRecord, type SandboxRecord } from './sandbox/record.ts';
import { Sandbox } from './sandbox/sandbox.ts';
import { removePodSandbox } from './sandbox/stop.ts';
import { readJsonFile } from './state/json-file.ts';
import { isAlive } from './state/process-identity.ts';

/** Brings disk and kernel together. Called once, before the socket opens. */
export async function reconcile(context: RuntimeContext): Promise<void> {
  for (const record of readSandboxRecords(context)) register(context, new Sandbox(context.paths, record));
  for (const record of readContainerRecords(context)) context.containers.set(record.id, new Container(context.paths, record));
  const processes = findOurProcesses(context.events);
  await Promise.all([...context.containers.values()].map((container) => reconcileContainer(context, container, processes)));
  for (const sandbox of [...context.sandboxes.values()]) await reconcileSandbox(context, sandbox, processes);
  registerContainerNames(context);
  for (const stray of processes) if (!isKnown(context, stray)) await killOurProcess(stray);
  await context.images.reconcile(new Set(context.containers.keys()));
  await context.network.reconcile(
    new Set([...context.sandboxes.values()].filter(({ record }) => record.networkAttached).map(({ id }) => id)),
  );
  await removeStrayDirectories(context);
  await removeStrayCgroups(context);
}

function register(context: RuntimeContext, sandbox: Sandbox): void {
  context.sandboxes.set(sandbox.id, sandbox);
  const { metadata } = sandbox.record.config;
  if (metadata !== undefined) context.names.set(sandboxKey(metadata), sandbox.id);
}

function registerContainerNames(context: RuntimeContext): void {
  for (const { record } of context.containers.values()) {
    const sandbox = context.sandboxes.get(record.sandboxId)?.record.config.metadata;
    const { metadata } = record.config;
    if (sandbox !== undefined && metadata !== undefined) context.names.set(containerKey(metadata, sandbox), record.id);
  }
}

function readSandboxRecords({ paths }: RuntimeContext): SandboxRecord[] {
  return namesIn(paths.sandboxes)
    .filter((name) => name.endsWith('.json'))
    .map((name) => decodeSandboxRecord(readJsonFile(path.join(paths.sandboxes, name))))
    .filter((record) => record !== undefined);
}

function readContainerRecords({ paths }: RuntimeContext): ContainerRecord[] {
  return namesIn(paths.containers)
    .map((id) => decodeContainerRecord(readJsonFile(paths.containerRecord(id))))
    .filter((record) => record !== undefined);
}

function namesIn(directory: string): string[] {
  try {
    return fs.readdirSync(directory);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

async function reconcileContainer(context: RuntimeContext, container: Container, processes: readonly OurProcess[]): Promise<void> {
  const { record } = container;
  switch (record.state) {
    case 'creating':
      await context.images.removeSnapshot(record.id);
      await container.forget();
      context.containers.delete(record.id);
      return;
    case 'created':
    case 'exited':
      await releaseContainer(context, container);
      return;
    case 'removing':
      // The client asks again; what is left is released then.
      return;
    case 'starting':
    case 'running':
      await reconcileStarted(context, container, processes);
  }
}

/** Adopts what runs; writes down what ended while nobody looked, its last output first. */
async function reconcileStarted(context: RuntimeContext, container: Container, processes: readonly OurProcess[]): Promise<void> {
  const { record } = container;
  const sameBoot = record.bootId === context.bootId;
  const shim = processes.find(({ kind, name }) => kind === 'shim' && name === record.id);
  const ended = sameBoot ? readExitFile(context.paths.exitFile(record.id)) : undefined;
  // An external runtime may have made it and not started it, criu not all of it: only a start that ended is known to have.
  const halfMade = record.ociRuntime !== undefined || record.restore !== undefined || (shim === undefined && ended === undefined);
  if (record.state === 'starting' && halfMade) {
    // Its start was cut short: it can be started again.
    if (shim !== undefined) await killOurProcess(shim);
    await releaseContainer(context, container);
    container.change({ state: 'created', startedAt: 0n });
    return;
  }
  if (sameBoot) await context.pump.add(outputStreams(context, container).filter(({ fifoPath }) => fs.existsSync(fifoPath)));
  if (sameBoot && shim !== undefined) {
    const adopted = await adoptContainer({
      events: context.events,
      recordId: record.recordId,
      shim: shim.identity,
      exitFile: context.paths.exitFile(record.id),
    });
    if (adopted !== undefined) {
      container.process = adopted;
      container.change({ state: 'running', shim: shim.identity, initPid: adopted.initPid });
      await endCutSessions(context.paths.containerRun(record.id));
      watchContainer(context, container, adopted);
      if (record.frozen === true) thawInTime(context, container);
      return;
    }
    await killOurProcess(shim);
  }
  container.expectEnd();
  await endContainer(context, container, ended);
}

/** Nobody waits for it: criu may have to finish first. */
function thawInTime(context: RuntimeContext, container: Container): void {
  thawAfterCrash(context, container).catch((error: unknown) =>
    context.logger.error({ container: container.id, err: error }, 'thaw of a container'),
  );
}

async function reconcileSandbox(context: RuntimeContext, sandbox: Sandbox, processes: readonly OurProcess[]): Promise<void> {
  const { record } = sandbox;
  if (record.state === 'creating') {
    await discardHalfMade(context, sandbox, processes);
    return;
  }
  if (record.restoring === true) {
    await removePodSandbox(context, sandbox);
    return;
  }
  const alive = record.bootId === context.bootId && record.pause !== undefined && isAlive(record.pause);
  if (record.pause !== undefined && alive) watchSandbox(context, sandbox, watchPauseProcess(record.pause));
  else if (record.state === 'ready') sandbox.change({ state: 'notReady' });
}

/** Nobody was told its id: it goes without a trace. */
async function discardHalfMade(context: RuntimeContext, sandbox: Sandbox, processes: readonly OurProcess[]): Promise<void> {
  if (sandbox.record.networkAttached) await context.network.detach(sandbox.id);
  const pause = processes.find(({ kind, name }) => kind === 'pause' && name === sandbox.id);
  if (pause !== undefined) await killOurProcess(pause);
  await removeSandboxFiles(context.paths.sandboxRun(sandbox.id));
  sandbox.forget();
  context.sandboxes.delete(sandbox.id);
  const { metadata } = sandbox.record.config;
  if (metadata !== undefined) context.names.delete(sandboxKey(metadata));
}

function isKnown(context: RuntimeContext, { kind, name }: OurProcess): boolean {
  return kind === 'pause' ? context.sandboxes.has(name) : kind !== 'shim' || context.containers.get(name)?.process !== undefined;
}

async function removeStrayDirectories({ paths, sandboxes, containers }: RuntimeContext): Promise<void> {
  for (const id of namesIn(path.join(paths.runDir, 'sandboxes'))) if (!sandboxes.has(id)) await removeSandboxFiles(paths.sandboxRun(id));
  for (const id of namesIn(path.join(paths.runDir, 'containers')))
    if (!containers.has(id)) await fs.promises.rm(paths.containerRun(id), { recursive: true, force: true });
  for (const id of namesIn(paths.containers))
    if (!containers.has(id)) await fs.promises.rm(paths.containerDir(id), { recursive: true, force: true });
}

/** Below <root>/cri everything is ours; a client's cgroup_parent is the client's to clean. */
async function removeStrayCgroups({ cgroups, containers }: RuntimeContext): Promise<void> {
  if (!cgroups.enabled) return;
  for (const cgroupPath of await listCgroups(cgroups.host, `${cgroups.root}/cri`)) {
    if (containers.has(path.basename(cgroupPath))) continue;
    const cgroup = openCgroup(cgroups.host, cgroupPath);
    await killCgroup(cgroup);
    await removeCgroup(cgroup);
  }
}
