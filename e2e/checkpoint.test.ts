// Checkpoints and what is restored from them where criu works, and the honest answer elsewhere. e2e/guest/checkpoint.test.ts runs this in
// a kernel that criu knows.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { ContainerState } from '../cri-proto/gen/api.ts';
import { check, run } from './testing/command.ts';
import {
  BUSYBOX,
  namespaceOf,
  outputOf,
  pausePidOf,
  pidOf,
  runContainer,
  type Started,
  sandboxConfig,
  startIn,
  statusOf,
} from './testing/cri.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

const { code } = await run('criu', ['check']).catch(() => ({ code: -1 }));
const works = code === 0;
const skip = works ? false : 'criu does not work on this kernel';
/** Dumps and restores take their time on an emulated processor. */
const slowly = { timeoutMs: 120_000 };
const COUNT = 'trap "exit 7" TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done';
let node: TestNode;
let counter: Started;
let location: string;

/** What the counter has told so far, as numbers. */
const counted = (name: string) => outputOf(path.join(node.logDir, name)).trimEnd().split('\n').map(Number);

/** A volume with its name in it. */
function volume(name: string) {
  const hostPath = path.join(node.dir, name);
  fs.mkdirSync(hostPath, { recursive: true });
  fs.writeFileSync(path.join(hostPath, 'name'), name);
  return { mounts: [{ containerPath: '/data', hostPath }] };
}

before(async () => {
  node = await TestNode.create();
  // It dies there below.
  await node.start('runtime', works ? { env: { TSKUBELET_FAULT_POINT: 'pod stands still' } } : {});
  location = path.join(node.dir, 'checkpoint.tar');
  counter = await runContainer(node.cri, sandboxConfig('counter', path.join(node.logDir, 'counter')), {
    metadata: { name: 'main' },
    command: ['sh', '-c', `echo kept > /file; rm /etc/passwd; ${COUNT}`],
    ...volume('first'),
  });
  await poll('its first line', () => outputOf(path.join(node.logDir, 'counter/main/0.log')) !== '');
});
after(() => node?.destroy());

test('a checkpoint is refused with the reason where criu does not work', {
  skip: works ? 'criu works on this kernel' : false,
}, async () => {
  const refusal = {
    code: 'UNIMPLEMENTED',
    message: /checkpoints need criu: (it is not installed|"criu check" does not pass on this kernel: .+)/,
  };
  const { runtime } = node.cri;
  const { containerId, sandboxId, sandbox } = counter;
  await assert.rejects(runtime.checkpointContainer({ containerId, location }), refusal);
  await assert.rejects(runtime.checkpointPod({ podSandboxId: sandboxId, outputPath: node.dir }), refusal);
  await assert.rejects(runtime.restorePod({ checkpointPath: location }), refusal);
  const config = { metadata: { name: 'restored' }, image: { image: location } };
  await assert.rejects(runtime.createContainer({ podSandboxId: sandboxId, config, sandboxConfig: sandbox }), refusal);
  await assert.rejects(runtime.checkpointContainer({ containerId: 'no-such', location }), { code: 'NOT_FOUND' });
  await assert.rejects(runtime.checkpointContainer({ containerId, location: 'a.tar' }), { code: 'INVALID_ARGUMENT' });
  assert.equal(fs.existsSync(location), false);
  assert.equal((await runtime.listContainers({})).containers.length, 1);
});

test('what a daemon that died in a checkpoint or in a restore has left is put right', {
  skip: works ? 'seen below, where criu works' : false,
}, async () => {
  const left = sandboxConfig('left', path.join(node.logDir, 'left'));
  const { podSandboxId } = await node.cri.runtime.runPodSandbox({ config: left });
  const half = await startIn(node.cri, podSandboxId, left, { metadata: { name: 'half' }, command: ['sleep', '1000'] });
  const pid = await pidOf(node.cri, half);
  const alone = await node.cri.runtime.runPodSandbox({ config: sandboxConfig('alone', node.logDir) });
  await node.stop('SIGKILL');
  const edit = (file: string, changes: object) => {
    const name = path.join(node.rootDir, file);
    fs.writeFileSync(name, JSON.stringify({ ...(JSON.parse(fs.readFileSync(name, 'utf8')) as object), ...changes }));
  };
  // Frozen for the checkpoint of its sandbox; restored halfway; its containers not made yet.
  edit(`containers/${counter.containerId}/container.json`, { frozen: true });
  const freezer = node.cgroups().find((name) => name.endsWith(counter.containerId) && fs.existsSync(path.join(name, 'cgroup.freeze')));
  fs.writeFileSync(path.join(freezer ?? '', 'cgroup.freeze'), '1');
  edit(`containers/${half}/container.json`, { state: 'starting', restore: { checkpoint: location, checkpointedAt: '' } });
  edit(`sandboxes/${alone.podSandboxId}.json`, { restoring: true });
  await node.start('runtime');
  const before = counted('counter/main/0.log').length;
  await poll('the frozen container to go on', () => counted('counter/main/0.log').length > before);
  assert.equal((await statusOf(node.cri, half)).state, ContainerState.CONTAINER_CREATED);
  assert.equal(node.processes().includes(pid), false, 'what criu had restored is gone');
  const { items } = await node.cri.runtime.listPodSandbox({});
  assert.deepEqual(items.map(({ id }) => id).sort(), [counter.sandboxId, podSandboxId].sort());
  await node.cri.runtime.removePodSandbox({ podSandboxId });
});

test('a checkpoint has the processes and the changed files, and the container goes on', { skip }, async () => {
  await node.cri.runtime.checkpointContainer({ containerId: counter.containerId, location }, slowly);
  assert.equal(fs.statSync(location).mode & 0o777, 0o600);
  const out = path.join(node.dir, 'unpacked');
  fs.mkdirSync(out);
  await check('tar', ['-xf', location, '-C', out]);
  for (const name of ['spec.dump', 'rootfs-diff.tar', 'deleted.files', 'dump.log', 'checkpoint/inventory.img', 'checkpoint/pstree.img'])
    assert.ok(fs.existsSync(path.join(out, name)), name);
  assert.equal((JSON.parse(fs.readFileSync(path.join(out, 'config.dump'), 'utf8')) as { id: string }).id, counter.containerId);
  assert.deepEqual(JSON.parse(fs.readFileSync(path.join(out, 'deleted.files'), 'utf8')), ['etc/passwd']);
  assert.match(await check('tar', ['-tf', path.join(out, 'rootfs-diff.tar')]), /^\.\/file$/m);
  const before = counted('counter/main/0.log').length;
  await poll('the container to go on', () => counted('counter/main/0.log').length > before);
  assert.equal(fs.existsSync(path.join(node.rootDir, 'containers', counter.containerId, 'checkpoint')), false);
});

test('a container is restored into another sandbox and goes on where it was', { skip }, async () => {
  const { runtime } = node.cri;
  await runtime.removePodSandbox({ podSandboxId: counter.sandboxId });
  const last = counted('counter/main/0.log').length;
  const sandbox = sandboxConfig('restored', path.join(node.logDir, 'restored'));
  const { podSandboxId } = await runtime.runPodSandbox({ config: sandbox });
  const containerId = await startIn(node.cri, podSandboxId, sandbox, {
    metadata: { name: 'main' },
    image: { image: location },
    ...volume('second'),
  });
  await poll('its output', () => outputOf(path.join(node.logDir, 'restored/main/0.log')) !== '');
  const [first = 0] = counted('restored/main/0.log');
  assert.ok(first > 1 && first <= last, `it counts on from ${first} of ${last}`);

  const [init, pause] = [await pidOf(node.cri, containerId), await pausePidOf(node.cri, podSandboxId)];
  for (const kind of ['net', 'ipc', 'uts']) assert.equal(namespaceOf(init, kind), namespaceOf(pause, kind), kind);
  for (const kind of ['pid', 'mnt', 'cgroup']) assert.notEqual(namespaceOf(init, kind), namespaceOf(process.pid, kind), kind);
  assert.match(fs.readFileSync(`/proc/${init}/cgroup`, 'utf8'), new RegExp(`/cri/${containerId}$`, 'm'));
  const seen = await runtime.execSync(
    { containerId, cmd: ['sh', '-c', 'cat /file; ls /etc/passwd; hostname; cat /proc/1/cgroup /data/name'] },
    slowly,
  );
  assert.deepEqual(seen.stdout.toString().trimEnd().split('\n'), ['kept', 'restored', '0::/', 'second']);
  assert.match(fs.readFileSync(`/proc/${init}/mountinfo`, 'utf8'), / \/proc\/sys ro,/);
  assert.equal(fs.existsSync(path.join(node.rootDir, 'containers', containerId, 'restore')), false);
  assert.deepEqual(
    node.mounts().filter((mountpoint) => mountpoint.includes(containerId)),
    [],
    'nothing is mounted on the host',
  );
  const { info } = await runtime.containerStatus({ containerId, verbose: true });
  assert.equal((JSON.parse(info.info ?? '') as { restored: boolean }).restored, true);
  assert.match(info.program ?? '', /execve\(\\"criu\\"/);
  await runtime.stopContainer({ containerId, timeout: 20n }, slowly);
  const { exitCode, reason } = await statusOf(node.cri, containerId);
  assert.deepEqual([exitCode, reason], [7, 'Error']);
  const numbers = counted('restored/main/0.log');
  assert.deepEqual(
    numbers,
    numbers.map((_, i) => first + i),
    'every number once',
  );
  await runtime.removePodSandbox({ podSandboxId });
});

/** A file for each container of a pod, and what they share in /dev/shm. */
const pod = (name: string) => sandboxConfig(name, path.join(node.logDir, name));
const containers = ['one', 'two'].map((name) => ({ metadata: { name }, logPath: `${name}/0.log` }));
let checkpoint: string;

test('a pod stands still while it is checkpointed and goes on, also when the daemon dies meanwhile', { skip }, async () => {
  checkpoint = path.join(node.dir, 'pod');
  fs.mkdirSync(checkpoint);
  const { sandboxId, containerId, sandbox } = await runContainer(node.cri, pod('pair'), {
    ...containers[0],
    command: ['sh', '-c', `echo shared > /dev/shm/file; ${COUNT}`],
    ...volume('one'),
  });
  const second = await startIn(node.cri, sandboxId, sandbox, { ...containers[1], command: ['sh', '-c', COUNT], ...volume('two') });
  for (const name of ['one', 'two'])
    await poll(`lines of ${name}`, () => outputOf(path.join(node.logDir, `pair/${name}/0.log`)).includes('2\n'));
  const request = { podSandboxId: sandboxId, outputPath: checkpoint, containerIds: [containerId, second] };
  await assert.rejects(node.cri.runtime.checkpointPod(request, slowly), 'the daemon dies');
  await node.ended();
  const cgroup = node.cgroups().find((directory) => directory.endsWith(containerId)) ?? '';
  assert.match(fs.readFileSync(path.join(cgroup, 'cgroup.events'), 'utf8'), /frozen 1/);
  await node.start('runtime');
  const before = counted('pair/one/0.log').length;
  await poll('it to go on', () => counted('pair/one/0.log').length > before);
  assert.deepEqual(fs.readdirSync(checkpoint), []);

  const { runtime } = node.cri;
  await assert.rejects(runtime.checkpointPod({ ...request, containerIds: [] }), { code: 'INVALID_ARGUMENT' });
  await assert.rejects(runtime.checkpointPod({ ...request, options: { fast: 'yes' } }), { message: /no option "fast"/ });
  await assert.rejects(runtime.checkpointPod({ ...request, outputPath: node.dir }), { message: /is not empty/ });
  await runtime.checkpointPod(request, slowly);
  assert.deepEqual(fs.readdirSync(checkpoint).sort(), ['one.tar', 'pod.dump', 'shm.tar', 'two.tar']);
  for (const name of ['one', 'two']) {
    const lines = counted(`pair/${name}/0.log`).length;
    await poll(`${name} to go on`, () => counted(`pair/${name}/0.log`).length > lines);
  }
  await runtime.removePodSandbox({ podSandboxId: sandboxId });
});

test('a pod is restored with its containers created, and each goes on once it is started', { skip }, async () => {
  const { runtime } = node.cri;
  const config = pod('again');
  const containerConfigs = containers.map((container, i) => ({
    ...container,
    image: { image: BUSYBOX },
    ...volume(`again${i}`),
  }));
  const request = { checkpointPath: checkpoint, config, containerConfigs };
  await assert.rejects(runtime.restorePod({ ...request, containerConfigs: containerConfigs.slice(1) }, slowly), {
    code: 'INVALID_ARGUMENT',
    message: /none for container "one"/,
  });
  const noMount = containerConfigs.map((container) => ({ ...container, mounts: [] }));
  await assert.rejects(runtime.restorePod({ ...request, containerConfigs: noMount }, slowly), { message: /a mount on \/data/ });
  assert.deepEqual((await runtime.listPodSandbox({})).items, []);
  assert.deepEqual(fs.readdirSync(path.join(node.rootDir, 'containers')), []);

  const { podSandboxId, restoredContainers } = await runtime.restorePod(request, slowly);
  assert.deepEqual(
    restoredContainers.map(({ name }) => name),
    ['one', 'two'],
  );
  for (const { name, containerId } of restoredContainers) {
    assert.equal((await statusOf(node.cri, containerId)).state, ContainerState.CONTAINER_CREATED);
    await runtime.startContainer({ containerId }, slowly);
    await poll(`lines of ${name}`, () => outputOf(path.join(node.logDir, `again/${name}/0.log`)) !== '');
    assert.ok((counted(`again/${name}/0.log`)[0] ?? 0) > 1, 'it counts on');
  }
  const [one] = restoredContainers;
  const { stdout } = await runtime.execSync({ containerId: one?.containerId ?? '', cmd: ['cat', '/dev/shm/file'] }, slowly);
  assert.equal(stdout.toString(), 'shared\n');
  await runtime.removePodSandbox({ podSandboxId });
});

test('a restore that fails is told with the reason of criu, and leaves nothing', { skip }, async () => {
  const { runtime } = node.cri;
  const damaged = path.join(node.dir, 'damaged.tar');
  const out = path.join(node.dir, 'damaged');
  fs.mkdirSync(out);
  await check('tar', ['-xf', location, '-C', out]);
  fs.truncateSync(path.join(out, 'checkpoint/core-1.img'), 64);
  await check('tar', ['-cf', damaged, '-C', out, '.']);
  const sandbox = pod('damaged');
  const { podSandboxId } = await runtime.runPodSandbox({ config: sandbox });
  const config = { ...containers[0], image: { image: damaged }, ...volume('third') };
  const create = () => runtime.createContainer({ podSandboxId, config, sandboxConfig: sandbox }, slowly);
  fs.chmodSync(damaged, 0o666);
  await assert.rejects(create(), { code: 'FAILED_PRECONDITION', message: /can be written by others than root/ });
  fs.chmodSync(damaged, 0o600);
  const { containerId } = await create();
  await assert.rejects(runtime.startContainer({ containerId }, slowly), { message: /criu restore: (?!it tells no reason)/ });
  const { state, reason } = await statusOf(node.cri, containerId);
  assert.deepEqual([state, reason], [ContainerState.CONTAINER_EXITED, 'StartError']);
  assert.deepEqual(
    node.cgroups().filter((directory) => directory.endsWith(containerId)),
    [],
  );
  await runtime.removePodSandbox({ podSandboxId });
  assert.deepEqual(fs.readdirSync(path.join(node.rootDir, 'containers')), []);
});
