// Pulling from the registry that everyone runs (Debian's docker-registry), over plain HTTP on this host.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { digestOf } from './digest.ts';
import { hostArchitecture } from './platform.ts';
import { findCommand } from './shared-libraries.ts';
import { type DockerRegistry, missing, startDockerRegistry } from './testing/docker-registry.ts';
import { type Compression, type Family, makeImage, pushImage } from './testing/images.ts';
import { openTestStore, type TestStore } from './testing/store.ts';

const skip = missing;
let host = '';
let dir = '';
let registry: DockerRegistry | undefined;
let home: TestStore;

before(async () => {
  if (missing !== false) return;
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'registry-'));
  registry = await startDockerRegistry(dir);
  ({ host } = registry);
  home = await openTestStore();
});

after(async () => {
  await home?.close();
  await registry?.close();
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
      `^image "${host}/test/absent:1" cannot be pulled: ${host}/test/absent:1 is not in the registry \\(404 .+\\); check its name and tag`,
    ),
  });
});

async function putManifest(repository: string, name: string, mediaType: string, value: object): Promise<string> {
  const bytes = Buffer.from(JSON.stringify(value));
  const url = `http://${host}/v2/${repository}/manifests/${name || digestOf(bytes)}`;
  const answer = await fetch(url, { method: 'PUT', body: new Uint8Array(bytes), headers: { 'content-type': mediaType } });
  assert.equal(answer.status, 201, await answer.text());
  return digestOf(bytes);
}

const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';

test('an index within an index leads to the image for this machine', { skip }, async () => {
  const image = makeImage([[{ name: 'a', content: 'nested' }]]);
  await pushImage(`http://${host}`, 'test/nested', 'inner', image, { byIndex: true });
  const { digest, bytes } = image.index;
  const inner = { mediaType: OCI_INDEX, digest, size: bytes.length };
  const empty = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [] };
  const other = {
    mediaType: OCI_INDEX,
    digest: await putManifest('test/nested', '', OCI_INDEX, empty),
    size: JSON.stringify(empty).length,
  };
  const top = await putManifest('test/nested', '1', OCI_INDEX, { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [other, inner] });
  assert.equal(await home.store.pull(`${host}/test/nested:1`), image.id);
  assert.deepEqual((await home.store.status(image.id))?.repoDigests, [`${host}/test/nested@${top}`]);
  await home.store.remove(image.id);
});

test('an artifact is refused as what it is', { skip }, async () => {
  const image = makeImage([[{ name: 'a', content: 'chart' }]]);
  await pushImage(`http://${host}`, 'test/chart', 'image', image);
  const manifest = JSON.parse(image.manifest.bytes.toString()) as { config: object };
  const chart = { ...manifest, config: { ...manifest.config, mediaType: 'application/vnd.cncf.helm.config.v1+json' } };
  await putManifest('test/chart', '1', image.manifest.mediaType, chart);
  await assert.rejects(home.store.pull(`${host}/test/chart:1`), (error: Error) =>
    /it is an artifact of type "application\/vnd\.cncf\.helm\.config\.v1\+json", not a container image/.test(
      `${error.message} ${error.cause}`,
    ),
  );
});

/** Runs a program of Debian's container tools. */
function run(program: string, ...args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}: ${stderr || error}`);
  return stdout;
}

const tools = (...names: readonly string[]) => {
  const absent = names.filter((name) => findCommand(name) === undefined);
  return missing || (absent.length > 0 && `${absent.join(' and ')} not installed`);
};

for (const [label, flags, manifestType, layerType] of [
  ['docker', ['--format', 'v2s2'], /docker\.distribution\.manifest\.v2/, /rootfs\.diff\.tar\.gzip$/],
  ['oci', ['--format', 'oci'], /oci\.image\.manifest/, /layer\.v1\.tar\+gzip$/],
  ['zstd', ['--format', 'oci', '--dest-compress-format', 'zstd'], /oci\.image\.manifest/, /layer\.v1\.tar\+zstd$/],
] as const)
  test(`an image that umoci made and skopeo copied as ${label} is pulled whole`, { skip: tools('umoci', 'skopeo') }, async () => {
    const layout = path.join(dir, `layout-${label}`);
    run('umoci', 'init', '--layout', layout);
    run('umoci', 'new', '--image', `${layout}:1`);
    for (const name of ['below', 'above']) {
      const file = path.join(dir, `${label}-${name}`);
      fs.writeFileSync(file, `${label} ${name} `.repeat(5000), { mode: 0o754 });
      run('umoci', 'insert', '--image', `${layout}:1`, file, `/srv/${name}`);
    }
    run('umoci', 'config', '--image', `${layout}:1`, '--config.user', '12:34', '--config.cmd', '/srv/above');
    const name = `${host}/tools/${label}:1`;
    run('skopeo', '--insecure-policy', 'copy', '--dest-tls-verify=false', ...flags, `oci:${layout}:1`, `docker://${name}`);
    const raw = run('skopeo', '--insecure-policy', 'inspect', '--raw', '--tls-verify=false', `docker://${name}`);
    const manifest = JSON.parse(raw) as {
      mediaType?: string;
      config: { mediaType: string; digest: string };
      layers: { mediaType: string }[];
    };
    assert.match(manifest.mediaType ?? 'application/vnd.oci.image.manifest', manifestType);
    for (const { mediaType } of manifest.layers) assert.match(mediaType, layerType);
    assert.equal(await home.store.pull(name), manifest.config.digest);
    const { lowerDirs } = home.store.layers(manifest.config.digest);
    for (const [i, which] of ['above', 'below'].entries()) {
      const file = path.join(lowerDirs[i] ?? '', 'srv', which);
      assert.equal(fs.readFileSync(file, 'utf8'), `${label} ${which} `.repeat(5000));
      assert.equal(fs.statSync(file).mode & 0o7777, 0o754);
    }
    const found = await home.store.status(name);
    assert.deepEqual([found?.config.user, found?.config.cmd], ['12:34', ['/srv/above']]);
    await home.store.remove(name);
  });

test('of a manifest list that buildah made this machine takes its own', { skip: tools('buildah') }, async () => {
  const storage = ['--root', path.join(dir, 'storage'), '--runroot', path.join(dir, 'storage-run'), '--storage-driver', 'vfs'];
  const buildah = (...args: readonly string[]) => run('buildah', ...storage, ...args).trim();
  const name = `${host}/tools/list:1`;
  buildah('manifest', 'create', 'list');
  const platforms = ['linux/s390x', `linux/${hostArchitecture()}`, 'linux/arm/v7', 'linux/arm/v6'];
  for (const platform of platforms) {
    const container = buildah('from', '--platform', platform, 'scratch');
    const file = path.join(dir, 'platform');
    fs.writeFileSync(file, platform);
    buildah('copy', container, file, '/platform');
    const id = buildah('commit', '--format', 'docker', container);
    const [os = '', arch = '', variant] = platform.split('/');
    buildah('manifest', 'add', '--os', os, '--arch', arch, ...(variant === undefined ? [] : ['--variant', variant]), 'list', id);
  }
  buildah('manifest', 'push', '--all', '--tls-verify=false', '--format', 'v2s2', 'list', `docker://${name}`);
  const id = await home.store.pull(name);
  const [layer = ''] = home.store.layers(id).lowerDirs;
  assert.equal(fs.readFileSync(path.join(layer, 'platform'), 'utf8'), `linux/${hostArchitecture()}`);
  await home.store.remove(name);
});
