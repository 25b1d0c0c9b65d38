// The life of an image as people live it: made here, pushed, shared, pulled with its progress in sight, exported, removed, and collected
// when the disk is full. The registry is Debian's docker-registry in the node's network namespace; skopeo says what others see.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { check, run } from './testing/command.ts';
import { getJson, isRunning, podManifest, untilPod } from './testing/pods.ts';
import { poll } from './testing/poll.ts';
import { onTerminal } from './testing/terminal.ts';
import { TestNode } from './testing/test-node.ts';

const REGISTRY = '127.0.0.1:5000';
const SLEEP = ['/usr/bin/sleep', '1000'];

const has = async (program: string) => (await run(program, ['--version']).catch(() => undefined))?.code === 0;
const missing = [];
for (const program of ['docker-registry', 'skopeo']) if (!(await has(program))) missing.push(program);
const skip = process.getuid?.() !== 0 ? 'needs root' : missing.length > 0 && `not installed: ${missing.join(', ')}`;
const options = { skip, timeout: 120_000 };

let node: TestNode;
let registry: ChildProcess | undefined;

before(async () => {
  if (skip !== false) return;
  node = await TestNode.create();
  // A disk of its own, small enough to be filled.
  fs.mkdirSync(node.rootDir);
  await check('mount', ['-t', 'tmpfs', '-o', 'size=96m', 'none', node.rootDir]);
  const config = path.join(node.dir, 'registry.yml');
  const storage = path.join(node.dir, 'registry');
  fs.writeFileSync(
    config,
    `version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: ${storage}}}\nhttp: {addr: "${REGISTRY}"}\n`,
  );
  const [command, args] = node.inside(['docker-registry', 'serve', config]);
  registry = spawn(command, args, { stdio: 'ignore' });
  await poll('the registry to answer', async () => (await node.inNetwork(['curl', '-sf', `http://${REGISTRY}/v2/`])).code === 0);
  await node.start('node');
});

after(async () => {
  if (registry !== undefined) {
    const ended = once(registry, 'exit');
    registry.kill();
    await ended;
  }
  await node?.destroy();
});

/** Standard output of a command that succeeds. */
async function image(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await node.tskubelet(['image', ...args]);
  assert.equal(code, 0, `image ${args.join(' ')}: ${stderr}`);
  return stdout.trimEnd();
}

async function refused(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await node.tskubelet(['image', ...args]);
  assert.deepEqual([code, stdout], [1, ''], stderr);
  return stderr.trimEnd();
}

async function skopeo(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await node.inNetwork(['skopeo', '--insecure-policy', ...args]);
  assert.equal(code, 0, stderr);
  return stdout;
}

interface Inspected {
  readonly Digest: string;
  readonly Layers: readonly string[];
}
const inspect = async (place: string, ...flags: string[]) => JSON.parse(await skopeo('inspect', ...flags, place)) as Inspected;
const tags = async (): Promise<string[]> =>
  (JSON.parse(await image('ls', '-o', 'json')) as { repoTags: string[] }[]).flatMap(({ repoTags }) => repoTags).sort();

/** An image with one layer of random bytes, which no compression makes smaller. */
async function pushRandom(name: string, bytes: number): Promise<void> {
  const [dir, archive] = [path.join(node.dir, `random-${name}`), path.join(node.dir, `${name}.tar`)];
  fs.mkdirSync(dir);
  fs.writeFileSync(path.join(dir, 'content'), randomBytes(bytes));
  await check('tar', ['-C', dir, '-cf', archive, '.']);
  const program = path.join(import.meta.dirname, 'testing/push-image.ts');
  const pushed = await node.inNetwork([process.execPath, program, REGISTRY, `test/${name}`, '1', '{"Cmd":["/content"]}', archive]);
  assert.equal(pushed.code, 0, pushed.stderr);
  fs.rmSync(dir, { recursive: true });
  fs.rmSync(archive);
}

/** What goes over the loopback, the registry's answers too, at this pace. */
async function setPace(rate: string): Promise<void> {
  const words = ['replace', 'dev', 'lo', 'root', 'tbf', 'rate', rate, 'burst', '256k', 'latency', '400ms'];
  const { code, stderr } = await node.inNetwork(['tc', 'qdisc', ...words]);
  assert.equal(code, 0, stderr);
}

test('an image made of host programs is tagged, pushed, removed, pulled and run', options, async () => {
  await image('build-host', 'tools', '--bin', '/usr/bin/sleep');
  assert.equal(await image('tag', 'localhost/tools:host', `${REGISTRY}/team/tools:1`), `${REGISTRY}/team/tools:1`);
  const [name, digest] = (await image('push', `${REGISTRY}/team/tools:1`)).split('@');
  assert.equal(name, `${REGISTRY}/team/tools`);
  const seen = await inspect(`docker://${REGISTRY}/team/tools:1`, '--tls-verify=false');
  assert.equal(seen.Digest, digest);
  assert.equal(seen.Layers.length, 1);

  assert.equal(await image('rm', `${REGISTRY}/team/tools:1`), '');
  assert.ok((await tags()).includes('localhost/tools:host'), 'its other name stays');
  await image('rm', 'localhost/tools:host');
  assert.match(
    await refused('rm', 'localhost/tools:host'),
    /^tskubelet: there is no image "localhost\/tools:host" here; 'tskubelet image ls' lists what is/,
  );
  assert.match(await refused('push', 'localhost/tools:host'), /there is no image/);

  node.addManifest('shared.json', podManifest('shared', { image: `${REGISTRY}/team/tools:1`, command: SLEEP }));
  await untilPod(node, 'shared', isRunning);
  const events = await getJson<{ reason: string; message: string; pod?: string }[]>(node, '/events');
  const pulled = events.find(({ reason, pod }) => reason === 'Pulled' && pod === 'shared')?.message ?? '';
  assert.match(
    pulled,
    /^Successfully pulled image "127\.0\.0\.1:5000\/team\/tools:1" in [\d.]+m?s \([\d.]+m?s including waiting\)\. Image size: \d+ bytes\.$/,
  );
});

test('a push of what the registry has sends nothing, and a new name is mounted there', options, async () => {
  const { code, stderr, stdout } = await node.tskubelet(['image', 'push', `${REGISTRY}/team/tools:1`, `${REGISTRY}/other/tools:2`]);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /there already \(mounted\)/);
  assert.match(stderr, /0B transferred/);
  const one = await inspect(`docker://${REGISTRY}/team/tools:1`, '--tls-verify=false');
  assert.equal(stdout, `${REGISTRY}/other/tools@${one.Digest}\n`, 'the same image, digest and all');
  assert.match((await node.tskubelet(['image', 'push', `${REGISTRY}/team/tools:1`])).stderr, /there already/);
  assert.match(await refused('push', `${REGISTRY}/team/tools:1`, 'localhost/x:1'), /localhost stands for images of this machine/);
  assert.match(
    await refused('push', `${REGISTRY}/team/tools:1`, '127.0.0.1:5001/x:1'),
    /127\.0\.0\.1:5001 does not answer \(connection refused\)/,
  );
});

test('an exported image is an OCI layout and a docker archive, for skopeo and for an import', options, async () => {
  const file = path.join(node.dir, 'tools.tar');
  const id = await image('export', `${REGISTRY}/team/tools:1`, file);
  const digests = (await inspect(`docker://${REGISTRY}/team/tools:1`, '--tls-verify=false')).Digest;
  assert.equal((await inspect(`oci-archive:${file}`)).Digest, digests, 'byte for byte what was pulled');
  for (const kind of ['oci-archive', 'docker-archive']) {
    const copy = path.join(node.dir, `copy-${kind}`);
    await skopeo('copy', '-q', `${kind}:${file}`, `dir:${copy}`);
    const { config } = JSON.parse(fs.readFileSync(path.join(copy, 'manifest.json'), 'utf8')) as { config: { digest: string } };
    assert.equal(config.digest, id, kind);
  }
  await image('tag', `${REGISTRY}/team/tools:1`, 'localhost/kept:1');
  await image('rm', `${REGISTRY}/team/tools:1`);
  assert.deepEqual((await image('import', file)).split('\n'), [`${REGISTRY}/team/tools:1`]);
  assert.equal(JSON.parse(await image('inspect', `${REGISTRY}/team/tools:1`)).id, id);

  const host = path.join(node.dir, 'busybox.tar');
  const { stderr } = await node.tskubelet(['image', 'export', 'localhost/busybox:host', host]);
  assert.match(stderr, /its layers were packed anew, so its id in the file is sha256:/);
  await skopeo('copy', '-q', `oci-archive:${host}`, `dir:${path.join(node.dir, 'copy-busybox')}`);
  assert.match(await refused('export', 'localhost/busybox:host', node.dir), /is a directory: name the file to be made/);
  for (const left of [file, host]) fs.rmSync(left);
});

test('a pull shows bars on a terminal, and its pods and their description tell how far it is', options, async () => {
  await pushRandom('big', 12_000_000);
  // So slow that it lasts until all has been seen.
  await setPace('2mbit');
  try {
    node.addManifest('big.json', podManifest('big', { image: `${REGISTRY}/test/big:1` }));
    const launcher = path.resolve(import.meta.dirname, '../bin/tskubelet');
    const terminal = onTerminal(node.inside([launcher, ...node.flags, 'image', 'pull', `${REGISTRY}/test/big:1`]));
    const row = await poll('the pull in get pods', async () => {
      const { stdout } = await node.tskubelet(['get', 'pods']);
      return stdout.split('\n').find((line) => /^big .*Pulling [1-9]\d?%/.test(line));
    });
    assert.match(row, /0\/1 +Pulling \d+% +0 /);
    const speed = /Progress: +pulling image "127\.0\.0\.1:5000\/test\/big:1": \d+ %, [\d.]+\/12MB, [\d.]+[kM]B\/s, ~[\dms]+ left/;
    const description = await poll('the speed in describe pod', async () => {
      const { stdout } = await node.tskubelet(['describe', 'pod', 'big']);
      return speed.test(stdout) && stdout;
    });
    assert.match(description, /Status: +Pending \(Pulling \d+%\)/);
    await poll('the event that tells how far it is', async () => {
      const events = await getJson<{ reason: string; message: string; pod?: string }[]>(node, '/events');
      const told = events.filter(({ reason, pod }) => reason === 'Pulling' && pod === 'big').map(({ message }) => message);
      return /^Pulling image "127\.0\.0\.1:5000\/test\/big:1": \d+ %, [\d.]+\/12MB/m.test(told.join('\n'));
    });
    const bar = /[0-9a-f]{12} {2}\[=+> +\] +\d+% +[\d.]+\/12MB +[\d.]+[kM]B\/s +~[\dms]+/;
    await poll('a bar with its speed', () => bar.test(terminal.seen()));
    await setPace('10gbit');
    assert.equal(await terminal.ended, 0);
    const screen = await poll('the result, which comes last', () => /sha256:[0-9a-f]{64}\r?\n$/.test(terminal.seen()) && terminal.seen());
    assert.ok(screen.includes('\x1b[2A') || screen.includes('\x1b[3A'), 'drawn over');
    assert.match(screen, /1 layer, 0 there already, 12MB transferred/);
  } finally {
    await setPace('10gbit');
    node.removeManifest('big.json');
  }
});

test('prune removes what no container uses, and says what that freed', options, async () => {
  await pushRandom('unused', 3_000_000);
  await image('pull', `${REGISTRY}/test/unused:1`);
  await pushRandom('unused-2', 1_000_000);
  await poll('the pod to go', async () => (await node.tskubelet(['get', 'pods', 'big'])).code === 1);
  await image('tag', `${REGISTRY}/test/big:1`, `${REGISTRY}/test/unused:1`);
  const dangling = await node.tskubelet(['image', 'prune']);
  assert.match(dangling.stderr, /^1 image removed, 3(\.\d+)?MB freed\n$/);
  assert.match(dangling.stdout, /^127\.0\.0\.1:5000\/test\/unused@sha256:/);
  const { images, freedBytes } = JSON.parse(await image('prune', '-a', '-o', 'json')) as { images: unknown[]; freedBytes: number };
  assert.equal(images.length, 1, 'the big one alone: the running pod uses another, and host images are pinned');
  assert.ok(freedBytes >= 12_000_000);
  assert.deepEqual(
    (await tags()).filter((tag) => !tag.startsWith('localhost/busybox')),
    [`${REGISTRY}/team/tools:1`, 'localhost/kept:1'],
  );
});

test('history and -o follow the image, and wrong usage is told', options, async () => {
  await image('pull', `${REGISTRY}/test/unused-2:1`);
  const [header = '', step = ''] = (await image('history', `${REGISTRY}/test/unused-2:1`)).split('\n');
  assert.match(header, /^CREATED +CREATED BY +SIZE +COMMENT$/);
  assert.match(step, /1MB$/);
  for (const [args, sentence] of [
    [['prune', 'x'], 'usage: tskubelet image prune [-a]'],
    [['tag', 'x'], 'usage: tskubelet image tag REFERENCE NAME'],
    [['ls', '-a'], 'image ls has no --all; prune has'],
    [['tag', 'a', 'b', '-o', 'json'], '-o json: image tag has no -o'],
    [['export', 'x'], 'usage: tskubelet image export REFERENCE… FILE'],
  ] as const) {
    const { code, stderr } = await node.tskubelet(['image', ...args]);
    assert.deepEqual([code, stderr], [2, `tskubelet: ${sentence}\n`]);
  }
});

test('when their disk is full images go until it is not, those of pods stay, and what cannot be freed is an event', options, async () => {
  for (const name of ['one', 'two', 'three']) {
    await pushRandom(name, 20_000_000);
    await node.cri.image.pullImage({ image: { image: `${REGISTRY}/test/${name}:1` } });
  }
  node.addManifest('two.json', podManifest('two', { image: `${REGISTRY}/test/two:1`, imagePullPolicy: 'IfNotPresent' }));
  await node.stop();
  await node.start('node', { flags: ['--image-gc-high-threshold', '60', '--image-gc-low-threshold', '40'] });
  const left = await poll('images to go', async () => {
    const here = (await tags()).filter((tag) => /test\/(one|two|three):/.test(tag));
    return here.length < 2 && here;
  });
  assert.deepEqual(left, [`${REGISTRY}/test/two:1`], 'a pod names it');
  assert.ok((await tags()).includes(`${REGISTRY}/team/tools:1`), 'a container uses it');
  const metric = /kubelet_image_garbage_collected_total\{reason="space"\} (\d+)/;
  await poll('both to be counted', async () => {
    const socket = path.join(node.runDir, 'agent.sock');
    const { stdout } = await node.inNetwork(['curl', '-s', '--unix-socket', socket, 'http://node/metrics']);
    return Number(metric.exec(stdout)?.[1] ?? 0) >= 2;
  });
  await poll('the disk to be free', () => {
    const { bavail, blocks } = fs.statfsSync(node.rootDir);
    return 1 - bavail / blocks <= 0.45;
  });

  await node.stop();
  await node.start('node', { flags: ['--image-gc-high-threshold', '2', '--image-gc-low-threshold', '1'] });
  await poll('the event', async () => {
    const events = await getJson<{ reason: string; message: string; pod?: string }[]>(node, '/events');
    const event = events.find(({ reason }) => reason === 'FreeDiskSpaceFailed');
    assert.match(
      event?.message ?? '',
      /^Failed to garbage collect required amount of images\. Attempted to free \d+ bytes, but only found \d+ bytes eligible to free\.$/,
    );
    assert.equal(event?.pod, undefined, 'it is the node');
    return true;
  });
  node.removeManifest('two.json');
  node.removeManifest('shared.json');
});
