// CheckpointContainer where criu works, and its honest answer elsewhere. e2e/guest/checkpoint.test.ts runs this in a kernel that criu knows.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { check, run } from './testing/command.ts';
import { outputOf, runContainer, type Started, sandboxConfig } from './testing/cri.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

const { code } = await run('criu', ['check']).catch(() => ({ code: -1 }));
const works = code === 0;
let node: TestNode;
let counter: Started;

before(async () => {
  node = await TestNode.create();
  await node.start('runtime');
  counter = await runContainer(node.cri, sandboxConfig('counter', path.join(node.logDir, 'counter')), {
    metadata: { name: 'main' },
    command: ['sh', '-c', 'echo kept > /file; rm /etc/passwd; i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done'],
  });
  await poll('its first line', () => outputOf(path.join(node.logDir, 'counter/main/0.log')) !== '');
});
after(() => node?.destroy());

test('a checkpoint is refused with the reason where criu does not work', {
  skip: works ? 'criu works on this kernel' : false,
}, async () => {
  const location = path.join(node.dir, 'checkpoint.tar');
  const refusal = {
    code: 'UNIMPLEMENTED',
    message: /checkpoints need criu: (it is not installed|"criu check" does not pass on this kernel: .+)/,
  };
  const { runtime } = node.cri;
  await assert.rejects(runtime.checkpointContainer({ containerId: counter.containerId, location }), refusal);
  await assert.rejects(runtime.checkpointPod({ podSandboxId: counter.sandboxId, outputPath: node.dir }), refusal);
  await assert.rejects(runtime.restorePod({ checkpointPath: location }), refusal);
  await assert.rejects(runtime.checkpointContainer({ containerId: 'no-such', location }), { code: 'NOT_FOUND' });
  await assert.rejects(runtime.checkpointContainer({ containerId: counter.containerId, location: 'a.tar' }), { code: 'INVALID_ARGUMENT' });
  assert.equal(fs.existsSync(location), false);
});

test('a checkpoint has the processes and the changed files, and the container goes on', {
  skip: works ? false : 'criu does not work on this kernel',
}, async () => {
  const location = path.join(node.dir, 'checkpoint.tar');
  await node.cri.runtime.checkpointContainer({ containerId: counter.containerId, location }, { timeoutMs: 120_000 });
  assert.equal(fs.statSync(location).mode & 0o777, 0o600);
  const out = path.join(node.dir, 'unpacked');
  fs.mkdirSync(out);
  await check('tar', ['-xf', location, '-C', out]);
  for (const name of [
    'config.dump',
    'spec.dump',
    'rootfs-diff.tar',
    'deleted.files',
    'dump.log',
    'checkpoint/inventory.img',
    'checkpoint/pstree.img',
  ])
    assert.ok(fs.existsSync(path.join(out, name)), name);
  assert.equal((JSON.parse(fs.readFileSync(path.join(out, 'config.dump'), 'utf8')) as { id: string }).id, counter.containerId);
  assert.deepEqual(JSON.parse(fs.readFileSync(path.join(out, 'deleted.files'), 'utf8')), ['etc/passwd']);
  assert.match(await check('tar', ['-tf', path.join(out, 'rootfs-diff.tar')]), /^\.\/file$/m);
  const log = path.join(node.logDir, 'counter/main/0.log');
  const before = outputOf(log).length;
  await poll('the container to go on', () => outputOf(log).length > before);
  assert.deepEqual(fs.readdirSync(path.join(node.rootDir, 'containers', counter.containerId)).includes('checkpoint'), false);
});
