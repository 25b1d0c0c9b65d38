// Owns StartContainer: cgroup, output, process, in this order. A failed start leaves an exited container with the reason StartError.
import fs from 'node:fs';
import { createCgroup } from '../cgroup/apply.ts';
import { delegateCgroup } from '../cgroup/delegate.ts';
import { compileDeviceFilter } from '../cgroup/device-filter.ts';
import { planCgroup } from '../cgroup/plan.ts';
import { forgetRestore, startRestored } from '../checkpoint/restore.ts';
import type { RuntimeContext } from '../context.ts';
import { failedPrecondition } from '../errors.ts';
import { attachDeviceFilter } from '../linux/bpf.ts';
import { startOciContainer } from '../oci/bundle.ts';
import { findOciSpec } from '../oci/find.ts';
import { createStdio, startContainer as startProcess } from '../process/container.ts';
import type { ContainerSpec } from '../program/spec.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { grpcStatus } from '../server/status.ts';
import { identify } from '../state/process-identity.ts';
import { nowNs } from '../time.ts';
import type { Container } from './container.ts';
import { planDeviceRules } from './devices.ts';
import { releaseContainer, watchContainer } from './exit.ts';
import { findSpec } from './find-spec.ts';
import { outputStreams } from './output.ts';
import { planResources, resourceError } from './resources.ts';
import { findTarget } from './target.ts';
import { hostId } from './user-namespace.ts';

export async function startContainer(context: RuntimeContext, container: Container, sandbox: Sandbox): Promise<void> {
  const { record } = container;
  if (record.state !== 'created')
    throw failedPrecondition(`container ${record.id} is ${record.state}: only a created container can be started`);
  if (sandbox.record.state !== 'ready' || sandbox.stopping)
    throw failedPrecondition(`sandbox ${sandbox.id} of container ${record.id} is not ready`);
  container.change({ state: 'starting', startedAt: nowNs() });
  context.faultPoint('container starting');
  try {
    await launch(context, container, sandbox);
  } catch (error) {
    await failStart(context, container, error);
    throw new Error(`start container ${record.config.metadata?.name} (${record.id.slice(0, 12)})`, { cause: error });
  }
}

async function launch(context: RuntimeContext, container: Container, sandbox: Sandbox): Promise<void> {
  const { paths, cgroups, pump } = context;
  const { id, config, recordId, cgroupPath, phases, ociRuntime, restore } = container.record;
  const laps = createLaps();
  if (cgroupPath !== '') {
    const plan = planCgroup(planResources(config.linux?.resources, container.record.unified), cgroups.host);
    await createCgroup(cgroups.host, cgroupPath, plan).catch((error: unknown) => {
      throw resourceError(error);
    });
  }
  laps.lap('cgroup');
  context.faultPoint('container cgroup created');

  const spec = await findSpec(context, container, sandbox);
  if (ociRuntime === undefined) restrictDevices(context, container, spec);
  if (spec.privileged && spec.uidMappings !== undefined && spec.cgroup.unified !== undefined)
    await delegateCgroup(spec.cgroup.unified, { uid: hostId('uid', 0, spec.uidMappings), gid: hostId('gid', 0, spec.gidMappings) });
  laps.lap('spec');
  await fs.promises.mkdir(paths.containerRun(id), { recursive: true, mode: 0o711 });
  const { uid, gid } = spec.process.user;
  await createStdio(paths.containerRun(id), {
    stdin: spec.keepsStdin,
    uid: hostId('uid', uid, spec.uidMappings),
    gid: hostId('gid', gid, spec.gidMappings),
  });
  await pump.add(outputStreams(context, container));
  laps.lap('output');
  context.faultPoint('container output ready');

  const pause = sandbox.record.pause;
  if (pause === undefined) throw failedPrecondition(`sandbox ${sandbox.id} has no pause process`);
  const target = findTarget(context, sandbox.id, config);
  const startOptions = {
    events: context.events,
    recordId,
    name: id,
    stdioDir: paths.containerRun(id),
    exitFile: paths.exitFile(id),
    pausePid: pause.pid,
    ...(cgroups.shimDir === undefined ? {} : { shimCgroup: cgroups.shimDir }),
    ...(target === undefined ? {} : { targetPidfd: target.initPidfd }),
  };
  // Before and not after: on a busy machine a short one has ended by the time that its start is known here.
  const startedAt = nowNs();
  const running =
    ociRuntime === undefined
      ? restore === undefined
        ? await startProcess(spec, startOptions)
        : await startRestored(context, container, spec, startOptions)
      : await startOciContainer(context, container, {
          runtime: ociRuntime,
          spec,
          oci: findOciSpec(context, container, sandbox, spec),
          options: startOptions,
        });
  laps.lap('process');
  context.faultPoint('container process started');
  const shim = identify(running.shimPid);
  container.process = running;
  container.change({
    state: 'running',
    startedAt,
    initPid: running.initPid,
    ...(shim === undefined ? {} : { shim }),
    phases: { ...phases, ...laps.phases },
  });
  watchContainer(context, container, running);
  if (restore !== undefined) await forgetRestore(context, id);
}

let toldUnrestricted = false;

/** Before the first process is in the cgroup. A kernel without cgroup device programs leaves devices to capabilities and /dev; said once. */
function restrictDevices({ cgroups, logger }: RuntimeContext, { record }: Container, spec: ContainerSpec): void {
  const directory = spec.cgroup.unified;
  if (spec.privileged || !cgroups.enabled) return;
  try {
    if (directory === undefined) throw new Error('no cgroup2 hierarchy is mounted');
    attachDeviceFilter(directory, compileDeviceFilter(planDeviceRules(record.config.devices, spec.devices)));
  } catch (error) {
    if (!toldUnrestricted) logger.warn({ err: error }, 'containers are not restricted to their devices on this host');
    toldUnrestricted = true;
  }
}

function createLaps() {
  const phases: Record<string, number> = {};
  let last = performance.now();
  return {
    phases,
    lap(phase: string) {
      const now = performance.now();
      phases[phase] = now - last;
      last = now;
    },
  };
}

/** What a failed start leaves: nothing but the record, exited with 128 (126, 127 where the program itself was the problem). */
async function failStart(context: RuntimeContext, container: Container, error: unknown): Promise<void> {
  await releaseContainer(context, container).catch((cause: unknown) => {
    context.logger.error({ container: container.id, err: cause }, 'clean-up after a failed start');
  });
  container.expectEnd();
  await container.end({ code: 128, finishedAt: nowNs(), reason: 'StartError', message: grpcStatus(error).details });
}
