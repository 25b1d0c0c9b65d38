// Checkpoints and what is restored from them where criu works, and the honest answer elsewhere. e2e/guest/checkpoint.test.ts runs this in
// a kernel that criu knows.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { check, run } from './testing/command.ts';
import { namespaceOf, outputOf, pausePidOf, pidOf, runContainer, type Started, sandboxConfig, startIn, statusOf } from './testing/cri.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

const { code } = await run('criu', ['check']).catch(() => ({ code: -1 }));
const works = code === 0;
const skip = works ? false : 'criu does not work on this kernel';
/** Dumps and restores take their time on an emulated processor. */
const slowly = { timeoutMs: 120_000 };
const COUNT = 'trap "exit 7" TERM; i=0; while :; do i=$((i+1)); echo $i; echo $i > /data/count; sleep 0.2; done';
let node: TestNode;
let counter: Started;
let location: string;

/** What the counter has told so far, as numbers. */
const counted = (name: string) => outputOf(path.join(node.logDir, name)).trimEnd().split('\n').map(Number);

function volume(name: string) {
  const hostPath = path.join(node.dir, name);
  fs.mkdirSync(hostPath, { recursive: true });
  return { mounts: [{ containerPath: '/data', hostPath }] };
}

before(async () => {
  node = await TestNode.create();
  await node.start('runtime');
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
  await poll('its volume', () => fs.existsSync(path.join(node.dir, 'second/count')));

  const [init, pause] = [await pidOf(node.cri, containerId), await pausePidOf(node.cri, podSandboxId)];
  for (const kind of ['net', 'ipc', 'uts']) assert.equal(namespaceOf(init, kind), namespaceOf(pause, kind), kind);
  for (const kind of ['pid', 'mnt', 'cgroup']) assert.notEqual(namespaceOf(init, kind), namespaceOf(process.pid, kind), kind);
  assert.match(fs.readFileSync(`/proc/${init}/cgroup`, 'utf8'), new RegExp(`/cri/${containerId}$`, 'm'));
  const seen = await runtime.execSync(
    { containerId, cmd: ['sh', '-c', 'cat /file; ls /etc/passwd; hostname; cat /proc/1/cgroup'] },
    slowly,
  );
  assert.deepEqual(seen.stdout.toString().trimEnd().split('\n'), ['kept', 'restored', '0::/']);
  assert.match(fs.readFileSync(`/proc/${init}/mountinfo`, 'utf8'), / \/proc\/sys ro,/);
  assert.equal(fs.existsSync(path.join(node.rootDir, 'containers', containerId, 'restore')), false);
  assert.deepEqual(
    node.mounts().filter((mountpoint) => mountpoint.includes(containerId)),
    [],
    'nothing is mounted on the host',
  );
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
