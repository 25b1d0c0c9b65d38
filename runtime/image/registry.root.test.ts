// Pulling from the registry that everyone runs (Debian's docker-registry), over plain HTTP on this host.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { findCommand } from './shared-libraries.ts';
import { type Compression, type Family, makeImage, pushImage } from './testing/images.ts';
import { openTestStore, type TestStore } from './testing/store.ts';

const program = findCommand('docker-registry');
const skip = program === undefined ? 'docker-registry is not installed' : false;
const READY_WITHIN_MS = 20_000;
let host = '';
let dir = '';
let registry: ChildProcess | undefined;
let home: TestStore;

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

before(async () => {
  if (program === undefined) return;
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'registry-'));
  host = `127.0.0.1:${await freePort()}`;
  const config = path.join(dir, 'config.yml');
  fs.writeFileSync(
    config,
    `version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: ${dir}/data}}\nhttp: {addr: "${host}"}\n`,
  );
  registry = spawn(program, ['serve', config], { stdio: 'ignore' });
  const deadline = Date.now() + READY_WITHIN_MS;
  const isReady = async () => (await fetch(`http://${host}/v2/`).catch(() => undefined))?.ok ?? false;
  while (!(await isReady())) {
    if (Date.now() > deadline) throw new Error(`docker-registry does not answer at ${host} after ${READY_WITHIN_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  home = await openTestStore();
});

after(async () => {
  await home?.close();
  if (registry !== undefined) {
    const ended = once(registry, 'exit');
    registry.kill();
    await ended;
  }
  if (dir !== '') fs.rmSync(dir, { recursive: true, force: true });
});

const forms: readonly (readonly [family: Family, compression: Compression, byIndex: boolean])[] = [
  ['docker', 'gzip', false],
  ['docker', 'gzip', true],
  ['oci', 'gzip', true],
  ['oci', 'zstd', true],
  ['oci', 'none', false],
];

for (const [family, compression, byIndex] of forms) {
  test(`pull takes ${family} images with ${compression} layers${byIndex ? ' by platform from an index' : ''}`, { skip }, async () => {
    const label = `${family}-${compression}-${byIndex}`;
    const contents = Array.from({ length: 5 }, (_, i) => [{ name: `dir/file-${i}`, content: `${label} ${i}`.repeat(1000) }]);
    const image = makeImage(contents, { family, compression });
    const digest = await pushImage(`http://${host}`, `test/${label}`, 'v1', image, { byIndex });
    const name = `${host}/test/${label}`;
    assert.equal(await home.store.pull(`${name}:v1`), image.id);
    const found = await home.store.status(`${name}:v1`);
    assert.deepEqual(found?.repoDigests, [`${name}@${digest}`]);
    assert.deepEqual(
      found?.diffIds,
      image.layers.map(({ diffId }) => diffId),
    );
    assert.equal(await home.store.pull(`${name}@${digest}`), image.id);
    const { lowerDirs } = home.store.layers(image.id);
    assert.equal(lowerDirs.length, 5);
    for (const [i, layer] of lowerDirs.toReversed().entries()) {
      assert.equal(fs.readFileSync(path.join(layer, `dir/file-${i}`), 'utf8'), `${label} ${i}`.repeat(1000));
    }
    await home.store.remove(`${name}:v1`);
    assert.equal(await home.store.status(`${name}@${digest}`), undefined);
  });
}

test('an image under several tags is one image with several names, and goes with all of them', { skip }, async () => {
  const image = makeImage([[{ name: 'a', content: 'tags' }]]);
  for (const tag of ['1', '2', '3']) {
    await pushImage(`http://${host}`, 'test/tags', tag, image);
    await home.store.pull(`${host}/test/tags:${tag}`);
  }
  const found = home.store.list().filter(({ id }) => id === image.id);
  assert.deepEqual(
    found.map(({ repoTags }) => repoTags),
    [['1', '2', '3'].map((tag) => `${host}/test/tags:${tag}`)],
  );
  assert.equal(found[0]?.repoDigests.length, 1);
  await home.store.remove(`${host}/test/tags:2`);
  assert.equal(await home.store.status(`${host}/test/tags:1`), undefined);
});

test('a tag that moves is pulled anew', { skip }, async () => {
  const name = `${host}/test/moving:latest`;
  for (const content of ['before', 'after']) {
    const image = makeImage([[{ name: 'a', content }]]);
    await pushImage(`http://${host}`, 'test/moving', 'latest', image);
    assert.equal(await home.store.pull(name), image.id);
    assert.equal((await home.store.status(name))?.id, image.id);
  }
});

test('an image that the registry does not have is refused with its status', { skip }, async () => {
  await assert.rejects(home.store.pull(`${host}/test/absent:1`), {
    name: 'RegistryError',
    status: 404,
    message: new RegExp(
      `^image "${host}/test/absent:1" cannot be pulled: ${host}/test/absent is not in the registry \\(404 .+\\); check its name and tag`,
    ),
  });
});
