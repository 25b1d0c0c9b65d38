// Owns the checkpoint of a sandbox and its restore. The containers stand still together from before the first is dumped until after the
// last; what each of them then is goes on.
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type ContainerConfig, NamespaceMode as Mode, type PodSandboxConfig } from '../../cri-proto/gen/api.ts';
import { openCgroup } from '../cgroup/apply.ts';
import type { Cgroup } from '../cgroup/cgroup.ts';
import { freezeCgroup, thawCgroup } from '../cgroup/processes.ts';
import type { Container } from '../container/container.ts';
import { createContainer } from '../container/create.ts';
import type { RuntimeContext } from '../context.ts';
import { failedPrecondition, invalidArgument } from '../errors.ts';
import { hasCode } from '../linux/errno.ts';
import { modeOf } from '../sandbox/modes.ts';
import { runPodSandbox } from '../sandbox/run.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { removePodSandbox } from '../sandbox/stop.ts';
import { pack, tar } from './archive.ts';
import { requireCriu } from './criu.ts';
import { dumpContainer, stageOf } from './dump.ts';
import { archiveOf, checkOutput, clearOutput, matchConfigs, readPod, SHM, writePod } from './pod-directory.ts';

const TIMEOUT_MS = 300_000;
const POLL_MS = 100;

export interface PodCheckpoint {
  readonly containers: readonly Container[];
  readonly outputPath: string;
  readonly signal: AbortSignal;
}

export async function checkpointPod(context: RuntimeContext, sandbox: Sandbox, checkpoint: PodCheckpoint): Promise<void> {
  const { containers, outputPath } = checkpoint;
  await requireCriu();
  await checkOutput(outputPath);
  for (const { record } of containers)
    if (record.cgroupPath === '') throw failedPrecondition(`container ${record.id} has no cgroup, and cannot stand still without one`);
  // In one order, so that two calls cannot wait for each other.
  const inOrder = [...containers].sort((a, b) => (a.id < b.id ? -1 : 1));
  await inOrder.reduceRight<() => Promise<void>>(
    (job, { serial }) =>
      () =>
        serial.run(job),
    () => capture(context, sandbox, checkpoint),
  )();
}

async function capture(context: RuntimeContext, sandbox: Sandbox, { containers, outputPath, signal }: PodCheckpoint): Promise<void> {
  const stages = containers.map((container) => stageOf(context, container));
  try {
    await whileFrozen(context, containers, async () => {
      for (const container of containers)
        await dumpContainer(context, container, { timeoutMs: TIMEOUT_MS, signal, frozen: freezerOf(cgroupOf(context, container)) });
      if (modeOf(sandbox.record.config, 'ipc') !== Mode.NODE)
        await tar(['-c', '-f', path.join(outputPath, SHM), '-C', context.paths.sandboxShm(sandbox.id), '.'], TIMEOUT_MS);
    });
    for (const [i, container] of containers.entries()) await pack(stages[i] ?? '', archiveOf(outputPath, nameOf(container)), TIMEOUT_MS);
    await writePod(outputPath, containers.map(nameOf));
  } catch (error) {
    await clearOutput(outputPath);
    throw error;
  } finally {
    for (const stage of stages) await fs.promises.rm(stage, { recursive: true, force: true });
  }
}

function nameOf({ record }: Container): string {
  return record.config.metadata?.name ?? '';
}

function cgroupOf({ cgroups }: RuntimeContext, { record }: Container): Cgroup {
  return openCgroup(cgroups.host, record.cgroupPath);
}

function freezerOf({ unifiedDir, v1Dirs }: Cgroup): string {
  return unifiedDir ?? v1Dirs.freezer ?? '';
}

/** The records say so before it is so: containers that a dying daemon leaves frozen run on with the next. */
async function whileFrozen(context: RuntimeContext, containers: readonly Container[], job: () => Promise<void>): Promise<void> {
  try {
    for (const container of containers) container.change({ frozen: true });
    context.faultPoint('pod about to stand still');
    await Promise.all(containers.map((container) => freezeCgroup(cgroupOf(context, container))));
    context.faultPoint('pod stands still');
    await job();
  } finally {
    const thawed = await Promise.allSettled(containers.map((container) => thaw(context, container)));
    for (const result of thawed) if (result.status === 'rejected') context.logger.error({ err: result.reason }, 'thaw of a container');
  }
}

async function thaw(context: RuntimeContext, container: Container): Promise<void> {
  try {
    await thawCgroup(cgroupOf(context, container));
  } catch (error) {
    // It has ended meanwhile.
    if (!hasCode(error, 'ENOENT', 'ENODEV')) throw error;
  }
  container.change({ frozen: false });
}

/** After a crash. criu outlives the daemon and must not be stopped in its work: it puts its own code into the processes meanwhile. */
export async function thawAfterCrash(context: RuntimeContext, container: Container): Promise<void> {
  const stage = stageOf(context, container);
  const deadline = Date.now() + TIMEOUT_MS;
  while (Date.now() < deadline && (await isDumping(stage))) await delay(POLL_MS);
  await thaw(context, container);
  await fs.promises.rm(stage, { recursive: true, force: true });
}

async function isDumping(stage: string): Promise<boolean> {
  const pids = (await fs.promises.readdir('/proc')).filter((entry) => /^\d+$/.test(entry));
  const lines = await Promise.all(pids.map((pid) => fs.promises.readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  return lines.some((line) => line.startsWith('criu\0') && line.includes(`\0${stage}\0`));
}

export interface PodRestore {
  readonly checkpointPath: string;
  readonly config: PodSandboxConfig;
  readonly runtimeHandler: string;
  readonly containerConfigs: readonly ContainerConfig[];
}

export interface RestoredPod {
  readonly sandbox: Sandbox;
  readonly containers: readonly Container[];
}

/** The containers are created, each to start where it was. After an error, and after a crash, nothing is left. */
export async function restorePod(context: RuntimeContext, restore: PodRestore): Promise<RestoredPod> {
  const { checkpointPath, config, runtimeHandler, containerConfigs } = restore;
  await requireCriu();
  const pairs = matchConfigs(await readPod(checkpointPath), containerConfigs);
  const sandbox = await runPodSandbox(context, config, runtimeHandler, { restoring: true });
  try {
    context.faultPoint('pod restoring');
    await restoreShm(context, sandbox, path.join(checkpointPath, SHM));
    const containers: Container[] = [];
    for (const [name, containerConfig] of pairs)
      containers.push(
        await createContainer(context, sandbox, containerConfig, { sandboxConfig: config, checkpoint: archiveOf(checkpointPath, name) }),
      );
    context.faultPoint('pod restored');
    sandbox.change({ restoring: false });
    return { sandbox, containers };
  } catch (error) {
    await removePodSandbox(context, sandbox).catch((cause: unknown) => {
      context.logger.error({ sandbox: sandbox.id, err: cause }, 'undo of a failed restore');
    });
    throw error;
  }
}

async function restoreShm({ paths }: RuntimeContext, { id, record }: Sandbox, archive: string): Promise<void> {
  if (modeOf(record.config, 'ipc') === Mode.NODE || !fs.existsSync(archive)) return;
  await tar(['-x', '-p', '--numeric-owner', '-f', archive, '-C', paths.sandboxShm(id)], TIMEOUT_MS);
}

/** Names become file names, and belong to one container each. */
export function checkNames(containers: readonly Container[]): void {
  const names = containers.map(nameOf);
  const strange = names.find((name) => name === '' || name.includes('/') || name.startsWith('.'));
  if (strange !== undefined) throw invalidArgument(`container name "${strange}" is no file name`);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw invalidArgument(`container "${twice}" is named twice`);
}
