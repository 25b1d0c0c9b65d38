import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chainIds, digestOf, isDigest } from './digest.ts';
import { choosePlatform, parseConfig, parseManifest } from './manifest.ts';

const digest = `sha256:${'a'.repeat(64)}`;
const ociManifest = 'application/vnd.oci.image.manifest.v1+json';
const ociIndex = 'application/vnd.oci.image.index.v1+json';
const layer = { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest, size: 10 };
const manifest = {
  schemaVersion: 2,
  mediaType: ociManifest,
  config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest, size: 2 },
  layers: [layer],
};
const bytes = (value: unknown) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));

test('parseManifest reads OCI and docker manifests, with and without a media type of their own', () => {
  for (const document of [manifest, { ...manifest, mediaType: undefined }]) {
    const parsed = parseManifest(bytes(document), ociManifest);
    assert.ok(parsed.kind === 'manifest' && parsed.layers.length === 1 && parsed.config.digest === digest);
  }
  const docker = {
    ...manifest,
    mediaType: 'application/vnd.docker.distribution.manifest.v2+json',
    layers: [{ ...layer, mediaType: 'application/vnd.docker.image.rootfs.diff.tar.gzip' }],
  };
  assert.equal(parseManifest(bytes(docker), '').kind, 'manifest');
});

const wrong: readonly (readonly [what: string, document: unknown, sentence: RegExp])[] = [
  ['text', 'hello', /is not JSON/],
  ['a list', [], /is not a JSON object/],
  ['schema 1', { schemaVersion: 1 }, /old format \(schema 1\)/],
  ['an unknown kind', { schemaVersion: 2, mediaType: 'application/vnd.cncf.helm.config.v1+json' }, /is not an image/],
  ['no layers', { ...manifest, layers: undefined }, /has no layers/],
  ['a digest that is none', { ...manifest, layers: [{ ...layer, digest: 'sha256:../../etc' }] }, /which is not one/],
  ['a negative size', { ...manifest, layers: [{ ...layer, size: -1 }] }, /no valid size/],
  [
    'a config that would fill the memory',
    { ...manifest, config: { ...manifest.config, size: 2 ** 50 } },
    /image config has 1125899906842624 bytes; the limit/,
  ],
  ['no config', { ...manifest, config: undefined }, /image config is not a descriptor/],
  ['a layer of unknown type', { ...manifest, layers: [{ ...layer, mediaType: 'application/wasm' }] }, /media type "application\/wasm"/],
  [
    'a chart',
    { ...manifest, config: { mediaType: 'application/vnd.cncf.helm.config.v1+json', digest, size: 2 } },
    /artifact of type "application\/vnd\.cncf\.helm/,
  ],
  [
    'an artifact of the newer kind',
    { ...manifest, artifactType: 'application/x-sbom', config: { mediaType: 'application/vnd.oci.empty.v1+json', digest, size: 2 } },
    /artifact of type "application\/x-sbom", not a container image/,
  ],
  ['encrypted layers', { ...manifest, layers: [{ ...layer, mediaType: `${layer.mediaType}+encrypted` }] }, /encrypted/],
  ['too many layers', { ...manifest, layers: Array.from({ length: 501 }, () => layer) }, /501 layers; the limit is 500/],
  ['an index without manifests', { schemaVersion: 2, mediaType: ociIndex }, /has no manifests/],
];

for (const [what, document, sentence] of wrong) {
  test(`parseManifest refuses ${what} with a sentence`, () => assert.throws(() => parseManifest(bytes(document), ''), sentence));
}

test('choosePlatform takes the architecture and says what there is when it is not there', () => {
  const entry = (architecture: string, os = 'linux', variant = '') => ({
    ...manifest.config,
    platform: { architecture, os, variant },
    size: 1,
  });
  const index = parseManifest(
    bytes({
      schemaVersion: 2,
      mediaType: ociIndex,
      manifests: [entry('arm', 'linux', 'v7'), entry('arm64', 'linux', 'v8'), entry('amd64'), entry('unknown', 'unknown')],
    }),
    '',
  );
  assert.ok(index.kind === 'index');
  const host = (architecture: string, variant = '') => ({ os: 'linux', architecture, variant });
  assert.equal(choosePlatform(index, host('amd64', 'v3')).platform?.architecture, 'amd64');
  assert.equal(choosePlatform(index, host('arm64', 'v8')).platform?.architecture, 'arm64');
  assert.throws(
    () => choosePlatform(index, host('s390x')),
    /not built for linux\/s390x \(only for linux\/arm\/v7, linux\/arm64\/v8, linux\/amd64\)/,
  );
});

test('parseConfig gives empty values for what an image does not say', () => {
  const { config, diffIds } = parseConfig(bytes({ os: 'linux', rootfs: { type: 'layers', diff_ids: [digest] } }));
  assert.deepEqual(diffIds, [digest]);
  assert.deepEqual(config, { entrypoint: [], cmd: [], env: [], workingDir: '', user: '', stopSignal: '', labels: {}, volumes: [] });
});

test('parseConfig refuses what is no linux container image', () => {
  assert.throws(() => parseConfig(bytes({})), /no rootfs/);
  assert.throws(() => parseConfig(bytes({ os: 'windows', rootfs: { diff_ids: [] } })), /built for windows/);
  assert.throws(() => parseConfig(bytes({ rootfs: { diff_ids: ['x'] } })), /diff ID "x"/);
});

test('chainIds follow the image-spec', () => {
  const [a, b] = [digestOf('a'), digestOf('b')];
  assert.deepEqual(chainIds([a, b]), [a, digestOf(`${a} ${b}`)]);
  assert.deepEqual(chainIds([]), []);
});

test('isDigest takes sha256 and sha512 of full length only', () => {
  assert.ok(isDigest(digest) && isDigest(`sha512:${'0'.repeat(128)}`));
  for (const text of ['', 'sha256:', digest.toUpperCase(), `${digest}0`, `sha1:${'a'.repeat(40)}`, `constructor:${'a'.repeat(64)}`])
    assert.ok(!isDigest(text), text);
});
