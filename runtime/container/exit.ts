// Owns what happens when a container's init ends: the rest is killed, the output drained, the exit written down, everything released.
import fs from 'node:fs';
import { ContainerEventType, NamespaceMode as Mode } from '../../cri-proto/gen/api.ts';
import { openCgroup, removeCgroup } from '../cgroup/apply.ts';
import { oomWatch } from '../cgroup/oom.ts';
import { killCgroup } from '../cgroup/processes.ts';
import { oomKills } from '../cgroup/stats.ts';
import type { RuntimeContext } from '../context.ts';
import { releaseOciContainer } from '../oci/bundle.ts';
import type { ContainerProcess } from '../process/container.ts';
import type { ExitStatus } from '../process/exit-file.ts';
import { publishEvent } from '../service/publish.ts';
import { nowNs } from '../time.ts';
import type { Container } from './container.ts';
import type { ExitRecord } from './record.ts';
import { openTerminal } from './terminal.ts';

/** Shell's convention: 128 + signal for a killed process. wait(2) */
export function exitCodeOf(status: ExitStatus): number {
  return status.signal === 0 ? status.code : 128 + status.signal;
}

const SIGKILL_CODE = 137;

/** OOMKilled is the kernel's word: its cgroup counted kills, and init died of one or passed on that its child did. */
export function computeExit(status: ExitStatus | undefined, oomKills: number, now: bigint): ExitRecord {
  if (status === undefined)
    return {
      code: 255,
      finishedAt: now,
      reason: 'Unknown',
      message: 'its exit code is unknown: the machine was restarted or its shim was killed',
    };
  const code = exitCodeOf(status);
  const reason = oomKills > 0 && code === SIGKILL_CODE ? 'OOMKilled' : code === 0 ? 'Completed' : 'Error';
  return { code, finishedAt: status.finishedAt, reason, message: '' };
}

/** From now on the end of the process ends the container. */
export function watchContainer(context: RuntimeContext, container: Container, running: ContainerProcess): void {
  container.expectEnd();
  if (container.record.config.tty) container.terminal = openTerminal(context, container.id, running.shimPidfd);
  const watch = watchOom(context, container);
  void running.exited
    .then(
      (status) => endContainer(context, container, status),
      () => endContainer(context, container, undefined),
    )
    .catch((error: unknown) => context.logger.error({ container: container.id, err: error }, 'end of a container'))
    .finally(() => watch?.close());
}

/** cgroup v1 has no memory.oom.group: there the runtime kills the rest. */
function watchOom({ cgroups, logger }: RuntimeContext, container: Container) {
  const { cgroupPath, config } = container.record;
  if (cgroupPath === '') return undefined;
  const cgroup = openCgroup(cgroups.host, cgroupPath);
  const emulate = cgroup.v1Dirs.memory !== undefined && config.linux?.resources?.unified['memory.oom.group'] === '1';
  if (!emulate) return undefined;
  return oomWatch(cgroup, () => {
    killCgroup(cgroup).catch((error: unknown) => logger.error({ container: container.id, err: error }, 'kill of an OOM group'));
  });
}

/** Everything after init's end. Repeated after a crash in its middle, it does the rest. */
export async function endContainer(context: RuntimeContext, container: Container, status: ExitStatus | undefined): Promise<void> {
  const kills = countOomKills(context, container);
  context.faultPoint('container ended');
  await killRest(context, container);
  await container.terminal?.finish();
  await context.pump.finish(container.id, { othersMayWrite: sharesPids(container) });
  context.faultPoint('container output drained');
  const exit = computeExit(status, kills, nowNs());
  // The shim reads the kernel's clock, the start was told by ours: a container never ends before it has started.
  const { startedAt } = container.record;
  await container.end(exit.finishedAt < startedAt ? { ...exit, finishedAt: startedAt } : exit, { oomKills: kills });
  // Before whoever waits for the end tells that the container, or its sandbox, is gone.
  publishEvent(context, container, ContainerEventType.CONTAINER_STOPPED_EVENT);
  context.faultPoint('container exit recorded');
  await releaseContainer(context, container);
}

function countOomKills({ cgroups }: RuntimeContext, { record }: Container): number {
  return record.cgroupPath === '' ? 0 : oomKills(openCgroup(cgroups.host, record.cgroupPath));
}

/** Processes outside of its cgroup may hold its output: the drain then ends by time, not by the last writer. */
function sharesPids({ record }: Container): boolean {
  return (record.config.linux?.securityContext?.namespaceOptions?.pid ?? Mode.CONTAINER) !== Mode.CONTAINER;
}

/** With a shared or the host's PID namespace the end of init is not the end of its children. */
async function killRest({ cgroups }: RuntimeContext, { record }: Container): Promise<void> {
  if (record.cgroupPath !== '') await killCgroup(openCgroup(cgroups.host, record.cgroupPath));
}

/** Shim, cgroup and run directory go; the record, the snapshot and the log stay. Repeatable. */
export async function releaseContainer(context: RuntimeContext, container: Container): Promise<void> {
  const { cgroups, paths, pump } = context;
  const { id, cgroupPath, ociRuntime } = container.record;
  await container.terminal?.finish();
  container.terminal = undefined;
  await pump.finish(id);
  await container.process?.release();
  container.process = undefined;
  const cgroup = cgroupPath === '' ? undefined : openCgroup(cgroups.host, cgroupPath);
  if (cgroup !== undefined) await killCgroup(cgroup);
  if (ociRuntime !== undefined) await releaseOciContainer(context, container, ociRuntime);
  if (cgroup !== undefined) await removeCgroup(cgroup);
  await fs.promises.rm(paths.containerRun(id), { recursive: true, force: true });
}
