// Calls that meet each other, and what clients are told of it: stops and removals while containers are made and started, events in their
// order, ids that mean several objects, the target of a debug container.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type ContainerEventResponse, ContainerEventType, ContainerState, NamespaceMode } from '../cri-proto/gen/api.ts';
import {
  BUSYBOX,
  execIn,
  namespaceOf,
  pausePidOf,
  pidOf,
  runContainer,
  sandboxConfig,
  startIn,
  statusOf,
  untilExited,
} from './testing/cri.ts';
import { poll } from './testing/poll.ts';
import { startRuntimeNode } from './testing/runtime-node.ts';

const { node, logs } = await startRuntimeNode();
await node.cri.image.pullImage({ image: { image: BUSYBOX } });
const command = ['sh', '-c', 'exec sleep 1000'];

/** Runs `use` while lifecycle events are listened to; they are given as they come. */
async function withEvents(use: (events: readonly ContainerEventResponse[]) => Promise<void>): Promise<void> {
  const events: ContainerEventResponse[] = [];
  const end = new AbortController();
  const listening = (async () => {
    for await (const event of node.cri.runtime.getContainerEvents({}, { signal: end.signal })) events.push(event);
  })().catch(() => undefined);
  try {
    await poll('the subscription', async () => {
      const { podSandboxId } = await node.cri.runtime.runPodSandbox({ config: sandboxConfig('probe', logs('probe')) });
      await node.cri.runtime.removePodSandbox({ podSandboxId });
      return events.length > 0;
    });
    await use(events);
  } finally {
    end.abort();
    await listening;
  }
}

/** "main STOPPED", in the order in which they came. */
function told(events: readonly ContainerEventResponse[], names: Readonly<Record<string, string>>): string[] {
  return events.flatMap(({ containerId, containerEventType }) =>
    names[containerId] === undefined ? [] : [`${names[containerId]} ${eventName(containerEventType)}`],
  );
}

function eventName(type: ContainerEventType): string {
  const [name = ''] = Object.entries(ContainerEventType).find(([, value]) => value === type) ?? [];
  return name.replace(/CONTAINER_|_EVENT/g, '');
}

test('a sandbox that is stopped or removed while containers are made and started in it has none after, and leaves nothing', async () => {
  const rounds = Array.from({ length: 24 }, (_, round) => async () => {
    const sandbox = sandboxConfig(`race${round}`, logs(`race${round}`));
    const { podSandboxId } = await node.cri.runtime.runPodSandbox({ config: sandbox });
    const made = Promise.allSettled([1, 2, 3, 4].map(() => startIn(node.cri, podSandboxId, sandbox, { command })));
    // Some get far, some do not: the loop's turns spread the rounds over the steps of a start.
    for (let turn = 0; turn < round * 4; turn++) await nextTurn();
    if (round % 2 === 0) {
      await node.cri.runtime.stopPodSandbox({ podSandboxId });
      for (const outcome of await made)
        if (outcome.status === 'rejected') assert.equal(outcome.reason.code, 'FAILED_PRECONDITION', outcome.reason.message);
      const { containers } = await node.cri.runtime.listContainers({
        filter: { podSandboxId, state: { state: ContainerState.CONTAINER_RUNNING } },
      });
      assert.deepEqual(containers, []);
    }
    await node.cri.runtime.removePodSandbox({ podSandboxId });
    await made;
  });
  for (const round of rounds) await round();
  assert.deepEqual((await node.cri.runtime.listContainers({})).containers, []);
  const rest = () => node.processes().filter((pid) => /^tskubelet-(shim|pause)/.test(titleOf(pid)));
  await poll('shims and pause processes to be gone', () => rest().length === 0);
  for (const directory of ['root/containers', 'root/images/snapshots', 'run/containers', 'run/sandboxes'])
    assert.deepEqual(fs.readdirSync(path.join(node.dir, directory)), [], directory);
  assert.deepEqual(node.mounts(), []);
});

/** argv of a process, "" when it has ended meanwhile. */
function titleOf(pid: number): string {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return '';
  }
}

test('a stop that meets a start ends what it has started', async () => {
  const sandbox = sandboxConfig('meets', logs('meets'));
  const { podSandboxId } = await node.cri.runtime.runPodSandbox({ config: sandbox });
  const config = { metadata: { name: 'main', attempt: 0 }, image: { image: BUSYBOX }, command };
  const { containerId } = await node.cri.runtime.createContainer({ podSandboxId, config, sandboxConfig: sandbox });
  const start = node.cri.runtime.startContainer({ containerId });
  await poll('the start to begin', () => fs.existsSync(path.join(node.runDir, 'containers', containerId)));
  await node.cri.runtime.stopContainer({ containerId, timeout: 0n });
  await start;
  assert.equal((await statusOf(node.cri, containerId)).state, ContainerState.CONTAINER_EXITED);
  await node.cri.runtime.removePodSandbox({ podSandboxId });
});

test('each object is told to have stopped once, containers before their sandbox, before anything is deleted', async () => {
  await withEvents(async (events) => {
    const { sandboxId, containerId } = await runContainer(node.cri, sandboxConfig('order', logs('order')), { command });
    await node.cri.runtime.stopPodSandbox({ podSandboxId: sandboxId });
    await node.cri.runtime.stopPodSandbox({ podSandboxId: sandboxId });
    await node.cri.runtime.removePodSandbox({ podSandboxId: sandboxId });
    const names = { [sandboxId]: 'sandbox', [containerId]: 'container' };
    await poll('the last event', () => told(events, names).includes('sandbox DELETED'));
    assert.deepEqual(told(events, names), [
      'sandbox CREATED',
      'sandbox STARTED',
      'container CREATED',
      'container STARTED',
      'container STOPPED',
      'sandbox STOPPED',
      'container DELETED',
      'sandbox DELETED',
    ]);
  });
});

test('a sandbox whose pause process is killed is told to have stopped, by the next daemon too', async () => {
  const mine = sandboxConfig('killed', logs('killed'));
  const first = await runContainer(node.cri, mine, { command });
  const second = await runContainer(node.cri, sandboxConfig('adopted', logs('adopted')), { command });
  const kill = async (sandboxId: string) =>
    withEvents(async (events) => {
      process.kill(await pausePidOf(node.cri, sandboxId), 'SIGKILL');
      await poll('the event', () => told(events, { [sandboxId]: 'sandbox' }).includes('sandbox STOPPED'));
      assert.equal(events.find((event) => event.containerId === sandboxId)?.podSandboxStatus?.state, 1, 'not ready');
    });
  await kill(first.sandboxId);
  await node.stop('SIGKILL');
  await node.start('runtime');
  await kill(second.sandboxId);
  await withEvents(async (events) => {
    for (const { sandboxId } of [first, second]) await node.cri.runtime.removePodSandbox({ podSandboxId: sandboxId });
    const names = { [second.sandboxId]: 'second' };
    await poll('its last event', () => told(events, names).includes('second DELETED'));
    assert.deepEqual(told(events, names), ['second DELETED'], 'it is not told twice that it has stopped');
  });
});

test('the beginning of several ids is refused, and nothing is stopped or removed by it', async () => {
  const { cri } = node;
  const sandbox = sandboxConfig('prefix', logs('prefix'));
  const { podSandboxId } = await cri.runtime.runPodSandbox({ config: sandbox });
  const ids: string[] = [];
  // Ids begin with one of 16 digits.
  while (new Set(ids.map((id) => id[0])).size === ids.length) {
    const config = { metadata: { name: `c${ids.length}`, attempt: 0 }, image: { image: BUSYBOX }, command };
    ids.push((await cri.runtime.createContainer({ podSandboxId, config, sandboxConfig: sandbox })).containerId);
  }
  const containerId = ids.at(-1)?.[0] ?? '';
  const refusal = { code: 'INVALID_ARGUMENT', message: new RegExp(`several ids begin with "${containerId}"`) };
  for (const call of ['stopContainer', 'removeContainer', 'containerStatus', 'startContainer', 'containerStats'] as const)
    await assert.rejects(cri.runtime[call]({ containerId }), refusal, call);
  assert.equal((await cri.runtime.listContainers({ filter: { podSandboxId } })).containers.length, ids.length);
  assert.deepEqual((await cri.runtime.listContainers({ filter: { id: containerId } })).containers, []);
  await cri.runtime.removePodSandbox({ podSandboxId });
});

test('a debug container whose target has ended or is gone is not started: it would see the processes of the host', async () => {
  const { cri } = node;
  const sandbox = sandboxConfig('debug', logs('debug'));
  const { sandboxId: podSandboxId, containerId: targetId } = await runContainer(cri, sandbox, { command });
  const debug = async (name: string, target = targetId) => {
    const securityContext = { namespaceOptions: { pid: NamespaceMode.TARGET, targetId: target } };
    const config = { metadata: { name, attempt: 0 }, image: { image: BUSYBOX }, command, linux: { securityContext } };
    return (await cri.runtime.createContainer({ podSandboxId, config, sandboxConfig: sandbox })).containerId;
  };
  const [works, late, later] = [await debug('works'), await debug('late'), await debug('later')];
  await cri.runtime.startContainer({ containerId: works });
  assert.equal(namespaceOf(await pidOf(cri, works), 'pid'), namespaceOf(await pidOf(cri, targetId), 'pid'));
  await cri.runtime.stopContainer({ containerId: targetId, timeout: 0n });
  await assert.rejects(cri.runtime.startContainer({ containerId: late }), { code: 'FAILED_PRECONDITION', message: /is not running/ });
  await cri.runtime.removeContainer({ containerId: targetId });
  await assert.rejects(cri.runtime.startContainer({ containerId: later }), { code: 'INVALID_ARGUMENT', message: /is not in sandbox/ });
  for (const id of [late, later]) assert.equal((await untilExited(cri, id)).reason, 'StartError');
  await cri.runtime.removePodSandbox({ podSandboxId });
});

test('ExecSync takes timeouts longer than any timer', async () => {
  const { cri } = node;
  const { sandboxId, containerId } = await runContainer(cri, sandboxConfig('patient', logs('patient')), { command });
  for (const timeout of [2n ** 31n, 2n ** 62n]) {
    const { exitCode, stdout } = await cri.runtime.execSync({ containerId, cmd: ['sh', '-c', 'usleep 50000; echo done'], timeout });
    assert.deepEqual([exitCode, Buffer.from(stdout).toString()], [0, 'done\n']);
  }
  await cri.runtime.removePodSandbox({ podSandboxId: sandboxId });
});

test('a command that leaves a child behind leaves its cgroup only as long as the child lives', async () => {
  const { cri } = node;
  const { sandboxId, containerId } = await runContainer(cri, sandboxConfig('leaves', logs('leaves')), { command });
  const sessions = () => node.cgroups().filter((directory) => directory.includes(`${containerId}/exec-`));
  // Longer than a killed one would be waited for.
  await cri.runtime.execSync({ containerId, cmd: ['sh', '-c', 'sleep 6 >/dev/null 2>&1 &'], timeout: 10n });
  assert.equal(sessions().length, 1, 'it runs on');
  await poll('its cgroup to go', () => sessions().length === 0, 40_000);
  await cri.runtime.removePodSandbox({ podSandboxId: sandboxId });
});

test('containers outlive the image that they were made from: it is removed, and they run, start and take commands, with its environment', async () => {
  const sandbox = sandboxConfig('imageless', logs('imageless'));
  const { sandboxId, containerId } = await runContainer(node.cri, sandbox, { command });
  const config = { metadata: { name: 'late', attempt: 0 }, image: { image: BUSYBOX }, command };
  const { containerId: late } = await node.cri.runtime.createContainer({ podSandboxId: sandboxId, config, sandboxConfig: sandbox });
  const path = await execIn(node.cri, containerId, ['env']);
  await node.cri.image.removeImage({ image: { image: BUSYBOX } });
  assert.equal((await node.cri.image.imageStatus({ image: { image: BUSYBOX } })).image, undefined);
  await node.cri.runtime.startContainer({ containerId: late });
  await node.stop('SIGKILL');
  await node.start('runtime');
  for (const id of [containerId, late]) {
    assert.deepEqual(await execIn(node.cri, id, ['env']), path);
    assert.ok((await pidOf(node.cri, id)) > 0, 'its verbose status');
  }
  await node.cri.runtime.removePodSandbox({ podSandboxId: sandboxId });
  await node.cri.image.pullImage({ image: { image: BUSYBOX } });
});
