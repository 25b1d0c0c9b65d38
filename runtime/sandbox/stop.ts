// Owns StopPodSandbox and RemovePodSandbox: containers, network, pause process, files; each step may be repeated until it succeeds.
import { removeContainer } from '../container/remove.ts';
import { killContainerNow, startSettled } from '../container/stop.ts';
import type { RuntimeContext } from '../context.ts';
import { sandboxKey } from '../ids.ts';
import { killPauseProcess } from '../process/pause.ts';
import { isAlive } from '../state/process-identity.ts';
import { tellStopped } from './end.ts';
import { removeSandboxFiles, unmountShm } from './files.ts';
import type { Sandbox } from './sandbox.ts';

/** Ends the pause process; gone is success. With a shared PID namespace everything in it goes too. */
export async function killPause(sandbox: Sandbox): Promise<void> {
  const { pause } = sandbox.record;
  if (pause === undefined || !isAlive(pause)) return;
  await killPauseProcess(pause.pid);
}

function containersOf(context: RuntimeContext, sandbox: Sandbox) {
  return [...context.containers.values()].filter(({ record }) => record.sandboxId === sandbox.id);
}

/** Idempotent: containers are killed, addresses released, the namespaces go with the pause process. */
export async function stopPodSandbox(context: RuntimeContext, sandbox: Sandbox): Promise<void> {
  sandbox.stopping = true;
  await Promise.all(
    containersOf(context, sandbox).map(async (container) => {
      await startSettled(container);
      await killContainerNow(context, container);
    }),
  );
  context.faultPoint('sandbox containers killed');
  if (sandbox.record.networkAttached) {
    await context.network.detach(sandbox.id);
    sandbox.change({ networkAttached: false, ips: [] });
  }
  context.faultPoint('sandbox detached');
  await killPause(sandbox);
  unmountShm(context.paths.sandboxShm(sandbox.id));
  if (sandbox.record.state !== 'notReady' || sandbox.record.pause !== undefined) {
    const { pause: _gone, ...rest } = sandbox.record;
    sandbox.replace({ ...rest, state: 'notReady' });
  }
  tellStopped(context, sandbox);
}

export async function removePodSandbox(context: RuntimeContext, sandbox: Sandbox): Promise<void> {
  await stopPodSandbox(context, sandbox);
  await Promise.all(containersOf(context, sandbox).map((container) => container.serial.run(() => removeContainer(context, container))));
  await removeSandboxFiles(context.paths.sandboxRun(sandbox.id));
  context.faultPoint('sandbox files removed');
  sandbox.forget();
  context.sandboxes.delete(sandbox.id);
  const { metadata } = sandbox.record.config;
  if (metadata !== undefined && context.names.get(sandboxKey(metadata)) === sandbox.id) context.names.delete(sandboxKey(metadata));
}
