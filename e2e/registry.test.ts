// Pulling from a real registry (Debian's docker-registry) with the real crictl, and running what was pulled.
// The registry is in the node's network namespace, where there is nothing but lo.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { ensurePeer } from './peers/build.ts';
import { check, run } from './testing/command.ts';
import { pidOf, runContainer, sandboxConfig } from './testing/cri.ts';
import { Crictl } from './testing/crictl.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

const REGISTRY = '127.0.0.1:5000';
const IMAGE = `${REGISTRY}/test/x`;

const peer = await ensurePeer('crictl');
const hasRegistry = (await run('docker-registry', ['--version']).catch(() => undefined))?.code === 0;
const skip = 'missing' in peer ? peer.missing : !hasRegistry && 'docker-registry is not installed';
const options = { timeout: 90_000, skip };

let node: TestNode;
let crictl: Crictl;
let registry: ChildProcess | undefined;
let pushed: { id: string; digest: string };

before(async () => {
  if (skip !== false || 'missing' in peer) return;
  node = await TestNode.create();
  await node.start('runtime');
  crictl = new Crictl(peer.path, node);
  registry = startRegistry();
  pushed = await push('1', await makeLayers(), {
    Entrypoint: ['sh', '-c'],
    Cmd: ['id -u; echo $GREETING; pwd; cat /etc/x; ls /etc/gone; exec sleep 1000'],
    Env: ['PATH=/bin:/usr/bin', 'GREETING=hello from the image'],
    WorkingDir: '/srv',
    User: '1234',
  });
});

after(async () => {
  if (registry !== undefined) {
    const ended = once(registry, 'exit');
    registry.kill();
    await ended;
  }
  await node?.destroy();
});

function startRegistry(): ChildProcess {
  const config = path.join(node.dir, 'registry.yml');
  const storage = path.join(node.dir, 'registry');
  fs.writeFileSync(
    config,
    `version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: ${storage}}}\nhttp: {addr: "${REGISTRY}"}\n`,
  );
  return spawn('nsenter', [`--net=/run/netns/${node.netns}`, 'docker-registry', 'serve', config], { stdio: 'ignore' });
}

/** The lowest layer is what a busybox container sees, the upper one adds a file and takes one away. */
async function makeLayers(): Promise<string[]> {
  const { sandboxId, containerId } = await runContainer(node.cri, sandboxConfig('base', node.logDir), {
    command: ['sh', '-c', 'mkdir -p /srv; echo gone >/etc/gone; exec sleep 1000'],
  });
  const root = `/proc/${await pidOf(node.cri, containerId)}/root`;
  await poll('the script to be through', () => fs.existsSync(`${root}/etc/gone`));
  const [lower, upper] = [path.join(node.dir, 'lower.tar'), path.join(node.dir, 'upper.tar')];
  await check('tar', ['--one-file-system', '-C', root, '-cf', lower, '.']);
  await node.cri.runtime.removePodSandbox({ podSandboxId: sandboxId });
  const etc = path.join(node.dir, 'upper/etc');
  fs.mkdirSync(etc, { recursive: true });
  fs.writeFileSync(path.join(etc, 'x'), 'from the upper layer\n');
  fs.writeFileSync(path.join(etc, '.wh.gone'), '');
  await check('tar', ['-C', path.join(node.dir, 'upper'), '-cf', upper, 'etc']);
  return [lower, upper];
}

/** Tries until the registry answers. */
function push(tag: string, layers: readonly string[], config: object): Promise<{ id: string; digest: string }> {
  const program = path.join(import.meta.dirname, 'testing/push-image.ts');
  return poll('the registry to take the image', async () => {
    const args = [process.execPath, program, REGISTRY, 'test/x', tag, JSON.stringify(config), ...layers];
    const { code, stdout, stderr } = await node.inNetwork(args);
    if (code !== 0) throw new Error(stderr);
    return JSON.parse(stdout) as { id: string; digest: string };
  });
}

test('crictl pulls an image from a registry and runs it as its config says', options, async () => {
  assert.equal(await crictl.call('pull', `${IMAGE}:1`), `Image is up to date for ${pushed.id}`);
  assert.equal(await crictl.call('pull', `${IMAGE}@${pushed.digest}`), `Image is up to date for ${pushed.id}`);
  const { status } = await crictl.json<{ status: { repoTags: string[]; repoDigests: string[]; uid: { value: string } } }>(
    'inspecti',
    pushed.id,
  );
  assert.deepEqual([status.repoTags, status.repoDigests, status.uid.value], [[`${IMAGE}:1`], [`${IMAGE}@${pushed.digest}`], '1234']);

  const pod = crictl.config('pod', {
    metadata: { name: 'pulled', namespace: 'default', uid: 'pulled' },
    log_directory: path.join(node.logDir, 'pulled'),
  });
  const main = crictl.config('main', { metadata: { name: 'main' }, image: { image: `${IMAGE}:1` }, log_path: 'main.log' });
  const sandbox = await crictl.call('runp', pod);
  const container = await crictl.call('create', sandbox, main, pod);
  await crictl.call('start', container);
  const { stdout, stderr } = await poll('the output', async () => {
    const output = await crictl.try(['logs', container]);
    return output.stderr !== '' && output;
  });
  assert.equal(stdout, '1234\nhello from the image\n/srv\nfrom the upper layer\n');
  assert.match(stderr, /\/etc\/gone: No such file/, 'the whiteout hides the file of the lower layer');
  const { info } = await crictl.json<{ info: { pid: number } }>('inspect', container);
  assert.match(fs.readFileSync(`/proc/${info.pid}/status`, 'utf8'), /^Uid:\t1234\t1234\t1234\t1234$/m);

  await crictl.call('rmp', '--force', sandbox);
  await crictl.call('rmi', `${IMAGE}:1`);
  assert.equal(await crictl.call('images', '-q', IMAGE), '');
});

const refusals: readonly [image: string, expected: RegExp][] = [
  [`${IMAGE}:nosuchtag`, /code = NotFound desc = .*127\.0\.0\.1:5000\/test\/x.*404.*check its name and tag$/],
  [`${REGISTRY}/test/nosuch:1`, /code = NotFound desc = .*test\/nosuch.*404.*check its name and tag$/],
  [`${IMAGE}@sha256:${'0'.repeat(64)}`, /code = NotFound desc = .*127\.0\.0\.1:5000\/test\/x.*404/],
  ['127.0.0.1:5001/test/x:1', /code = Unavailable desc = .*127\.0\.0\.1:5001 does not answer \(connection refused\)/],
  ['registry.invalid/test/x:1', /code = Unavailable desc = .*registry\.invalid.* does not answer/],
  [`${REGISTRY}/Test/X:1`, /code = InvalidArgument desc = .*Test\/X/],
];

for (const [image, expected] of refusals)
  test(`crictl pull ${image.replace(/0{64}/, '00…')} is refused with one sentence`, options, async () => {
    const sentence = await crictl.refusal('pull', image);
    assert.match(sentence, expected);
    assert.doesNotMatch(sentence, /\\n|failed to|\.ts:|Error:/);
    assert.equal(await crictl.call('images', '-q', image), '');
  });
