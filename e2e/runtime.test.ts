// The runtime over its CRI socket: what the kernel says of sandboxes and containers.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ContainerState, NamespaceMode, PodSandboxState } from '../cri-proto/gen/api.ts';
import {
  BUSYBOX,
  execIn,
  namespaceOf,
  outputOf,
  pausePidOf,
  pidOf,
  readLog,
  runContainer,
  sandboxConfig,
  startIn,
  statusOf,
  untilExited,
} from './testing/cri.ts';
import { poll } from './testing/poll.ts';
import { startRuntimeNode } from './testing/runtime-node.ts';

const { node, logs } = await startRuntimeNode();
const sleep = ['sleep', '1000'];

test('two containers of a sandbox share net, ipc and uts with its pause process, and have pid and mnt of their own', async () => {
  const sandbox = sandboxConfig('shared', logs('shared'));
  const { sandboxId, containerId: first } = await runContainer(node.cri, sandbox, { command: sleep });
  const second = await startIn(node.cri, sandboxId, sandbox, { command: sleep });
  const pause = await pausePidOf(node.cri, sandboxId);
  const [a, b] = [await pidOf(node.cri, first), await pidOf(node.cri, second)];
  for (const kind of ['net', 'ipc', 'uts']) {
    assert.equal(namespaceOf(a, kind), namespaceOf(pause, kind), kind);
    assert.equal(namespaceOf(b, kind), namespaceOf(pause, kind), kind);
    assert.notEqual(namespaceOf(a, kind), namespaceOf(process.pid, kind), kind);
  }
  for (const kind of ['pid', 'mnt']) {
    assert.notEqual(namespaceOf(a, kind), namespaceOf(b, kind), kind);
    assert.notEqual(namespaceOf(a, kind), namespaceOf(process.pid, kind), kind);
  }
  const inside = await execIn(node.cri, first, [
    'sh',
    '-c',
    'cat /proc/1/cmdline | tr "\\0" " "; hostname; ls /proc | grep -c "^[0-9]"; ls /',
  ]);
  assert.match(inside.stdout, /^sleep 1000 shared\n/, "PID 1 is the user's command and the host name is the sandbox's");
  assert.ok(!inside.stdout.includes('work'), "the host's files are not visible");
  await node.cri.runtime.removePodSandbox({ podSandboxId: sandboxId });
});

test('a container runs to its end: exit code, reason, times and log', async () => {
  const sandbox = sandboxConfig('job', logs('job'));
  const script = 'echo out; echo err >&2; printf "no newline"; exit 3';
  const { sandboxId, containerId } = await runContainer(node.cri, sandbox, { metadata: { name: 'main' }, command: ['sh', '-c', script] });
  const status = await untilExited(node.cri, containerId);
  assert.equal(status.exitCode, 3);
  assert.equal(status.reason, 'Error');
  assert.ok(status.createdAt > 0n && status.startedAt >= status.createdAt && status.finishedAt >= status.startedAt);
  const lines = readLog(path.join(logs('job'), 'main/0.log'));
  assert.deepEqual(
    lines.filter(({ stream }) => stream === 'stderr').map(({ text }) => text),
    ['err'],
  );
  assert.deepEqual(
    lines.filter(({ stream }) => stream === 'stdout').map(({ text }) => text),
    ['out', 'no newline'],
  );
  for (const { time } of lines) assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
  await node.cri.runtime.removePodSandbox({ podSandboxId: sandboxId });
});

test('exec passes output and exit code on, times out, and names a missing command', async () => {
  const { sandboxId, containerId } = await runContainer(node.cri, sandboxConfig('exec', logs('exec')), { command: sleep });
  assert.deepEqual(await execIn(node.cri, containerId, ['sh', '-c', 'echo out; echo err >&2; exit 7']), {
    code: 7,
    stdout: 'out\n',
    stderr: 'err\n',
  });
  await assert.rejects(execIn(node.cri, containerId, ['sh', '-c', 'sleep 100 & sleep 100'], 1), { code: 'DEADLINE_EXCEEDED' });
  // What is killed is gone a moment later.
  await poll('both to go', async () => {
    const { stdout } = await execIn(node.cri, containerId, ['ps']);
    if (/sleep 100$/m.test(stdout)) throw new Error(stdout);
    return true;
  });
  await assert.rejects(execIn(node.cri, containerId, ['nosuchcommand']), /nosuchcommand/);
  await node.cri.runtime.removePodSandbox({ podSandboxId: sandboxId });
});

test('stop sends the stop signal, waits for the grace period, then kills', async () => {
  const sandbox = sandboxConfig('stop', logs('stop'));
  const polite = ['sh', '-c', 'trap "echo bye; exit 0" TERM; echo ready; while :; do sleep 0.1; done'];
  const { sandboxId, containerId } = await runContainer(node.cri, sandbox, { metadata: { name: 'polite' }, command: polite });
  const log = path.join(logs('stop'), 'polite/0.log');
  await poll('the trap to be set', () => fs.existsSync(log) && outputOf(log).includes('ready'));
  await node.cri.runtime.stopContainer({ containerId, timeout: 10n });
  const stopped = await statusOf(node.cri, containerId);
  assert.deepEqual([stopped.state, stopped.exitCode, stopped.reason], [ContainerState.CONTAINER_EXITED, 0, 'Completed']);
  assert.match(outputOf(log), /bye/);
  const stubborn = await startIn(node.cri, sandboxId, sandbox, { command: ['sh', '-c', 'trap "" TERM; while :; do sleep 0.1; done'] });
  await node.cri.runtime.stopContainer({ containerId: stubborn, timeout: 1n });
  const killed = await statusOf(node.cri, stubborn);
  assert.deepEqual([killed.exitCode, killed.reason], [137, 'Error']);
  await node.cri.runtime.stopContainer({ containerId: stubborn, timeout: 1n });
  await node.cri.runtime.removePodSandbox({ podSandboxId: sandboxId });
});

test('limits are read back from the cgroup, and a container over its memory limit is OOMKilled', async () => {
  const sandbox = sandboxConfig('limits', logs('limits'));
  const resources = { memoryLimitInBytes: 67108864n, cpuQuota: 25000n, cpuPeriod: 100000n, unified: { 'pids.max': '50' } };
  const { sandboxId, containerId } = await runContainer(node.cri, sandbox, { command: sleep, linux: { resources } });
  const limit = (file: string) =>
    node
      .cgroups()
      .filter((directory) => directory.endsWith(containerId) && fs.existsSync(path.join(directory, file)))
      .map((directory) => fs.readFileSync(path.join(directory, file), 'utf8').trim())[0];
  const either = (v2: string, v1: string) => limit(v2) ?? limit(v1);
  assert.equal(either('memory.max', 'memory.limit_in_bytes'), '67108864');
  assert.ok(['25000 100000', '25000'].includes(either('cpu.max', 'cpu.cfs_quota_us') ?? ''));
  assert.equal(limit('pids.max'), '50');
  const hog = await startIn(node.cri, sandboxId, sandbox, {
    command: ['sh', '-c', 'dd if=/dev/zero of=/dev/shm/x bs=1M count=60; exec tail /dev/zero'],
    linux: { resources: { memoryLimitInBytes: 20n << 20n, memorySwapLimitInBytes: 20n << 20n } },
  });
  const status = await untilExited(node.cri, hog, 60_000);
  assert.deepEqual([status.exitCode, status.reason], [137, 'OOMKilled']);
  await node.cri.runtime.removePodSandbox({ podSandboxId: sandboxId });
});

test('a shared PID namespace has the pause process as PID 1, and it reaps orphans', async () => {
  const options = { pid: NamespaceMode.POD };
  const sandbox = sandboxConfig('sharepid', logs('sharepid'), { linux: { securityContext: { namespaceOptions: options } } });
  const { sandboxId, containerId } = await runContainer(node.cri, sandbox, {
    command: ['sh', '-c', '(sleep 0.1 &); exec sleep 1000'],
    linux: { securityContext: { namespaceOptions: options } },
  });
  const pause = await pausePidOf(node.cri, sandboxId);
  assert.equal(namespaceOf(await pidOf(node.cri, containerId), 'pid'), fs.readlinkSync(`/proc/${pause}/ns/pid`));
  await poll('the orphan to be reaped', async () => {
    const { stdout } = await execIn(node.cri, containerId, ['sh', '-c', 'cat /proc/[0-9]*/stat 2>/dev/null']);
    return !stdout.includes(') Z ');
  });
  await node.cri.runtime.removePodSandbox({ podSandboxId: sandboxId });
});

test('a container that cannot be started says why: StartError, 128, the sentence', async () => {
  const sandbox = sandboxConfig('broken', logs('broken'));
  await node.cri.image.pullImage({ image: { image: BUSYBOX } });
  const { podSandboxId } = await node.cri.runtime.runPodSandbox({ config: sandbox });
  const config = { metadata: { name: 'main' }, image: { image: BUSYBOX }, command: ['/no/such/program'], logPath: 'main/0.log' };
  const { containerId } = await node.cri.runtime.createContainer({ podSandboxId, config, sandboxConfig: sandbox });
  await assert.rejects(node.cri.runtime.startContainer({ containerId }), /\/no\/such\/program.*no such file/);
  const status = await statusOf(node.cri, containerId);
  assert.deepEqual([status.state, status.exitCode, status.reason], [ContainerState.CONTAINER_EXITED, 128, 'StartError']);
  assert.match(status.message, /\/no\/such\/program/);
  await node.cri.runtime.removePodSandbox({ podSandboxId });
});

test('removing a sandbox leaves nothing: no process, mount, link, cgroup or directory; removing it again succeeds', async () => {
  const { sandboxId, containerId } = await runContainer(node.cri, sandboxConfig('gone', logs('gone')), { command: sleep });
  await node.cri.runtime.stopPodSandbox({ podSandboxId: sandboxId });
  const { status } = await node.cri.runtime.podSandboxStatus({ podSandboxId: sandboxId });
  assert.equal(status?.state, PodSandboxState.SANDBOX_NOTREADY);
  await node.cri.runtime.removePodSandbox({ podSandboxId: sandboxId });
  await node.cri.runtime.removePodSandbox({ podSandboxId: sandboxId });
  await assert.rejects(node.cri.runtime.podSandboxStatus({ podSandboxId: sandboxId }), { code: 'NOT_FOUND' });
  await assert.rejects(node.cri.runtime.containerStatus({ containerId }), { code: 'NOT_FOUND' });
  assert.deepEqual((await node.cri.runtime.listContainers({})).containers, []);
  assert.deepEqual(
    node.mounts().filter((target) => target !== node.runDir),
    [],
  );
  assert.deepEqual(
    node.cgroups().filter((directory) => directory.includes(containerId)),
    [],
  );
  for (const part of ['root/containers', 'run/containers', 'run/sandboxes', 'root/sandboxes', 'root/images/snapshots'])
    assert.deepEqual(fs.readdirSync(path.join(node.dir, part)), [], part);
  await poll('the veth to go', async () => !(await node.inNetwork(['ip', '-br', 'link'])).stdout.includes('veth'));
});

// The kernel drops a signal for which process 1 of a PID namespace has no handler yet: stopping took the whole grace period.
test('a container that is stopped before it has set up its handler gets its stop signal all the same', async () => {
  const script = 'i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done; trap "exit 7" TERM; while :; do sleep 0.1; done';
  const { sandboxId, containerId } = await runContainer(node.cri, sandboxConfig('early', logs('early')), {
    command: ['sh', '-c', script],
  });
  await node.cri.runtime.stopContainer({ containerId, timeout: 60n }, { timeoutMs: 70_000 });
  const { exitCode, reason } = await statusOf(node.cri, containerId);
  assert.deepEqual([exitCode, reason], [7, 'Error']);
  await node.cri.runtime.removePodSandbox({ podSandboxId: sandboxId });
});
