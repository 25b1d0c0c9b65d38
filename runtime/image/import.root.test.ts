import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import zlib from 'node:zlib';
import { archiveOf, layoutFiles, makeImage, saveFiles, type TestImage, writeFiles } from './testing/images.ts';
import { openTestStore, type TestStore } from './testing/store.ts';
import { tar } from './testing/tar.ts';

let home: TestStore;
let dir = '';
before(async () => {
  home = await openTestStore();
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'import-'));
});
after(async () => {
  await home.close();
  fs.rmSync(dir, { recursive: true, force: true });
});

const contents = (label: string) => [[{ name: 'a', content: label }], [{ name: 'b', content: `${label} above` }], [{ name: '.wh.a' }]];

async function assertImported(image: TestImage, source: string, references: readonly string[]): Promise<void> {
  assert.deepEqual(await home.store.import(source), references);
  for (const reference of references) assert.equal((await home.store.status(reference))?.id, image.id);
  const [top, middle] = home.store.layers(image.id).lowerDirs;
  assert.ok(fs.lstatSync(path.join(top ?? '', 'a')).isCharacterDevice());
  assert.ok(fs.readFileSync(path.join(middle ?? '', 'b'), 'utf8').endsWith('above'));
  assert.deepEqual(home.leftovers().ingest, []);
}

function write(name: string, bytes: Buffer): string {
  const file = path.join(dir, name);
  fs.writeFileSync(file, bytes);
  return file;
}

test('import takes an OCI layout directory and names it after itself where it has only a tag', async () => {
  const image = makeImage(contents('directory'), { compression: 'zstd' });
  const layout = path.join(dir, 'hello');
  writeFiles(layout, layoutFiles(image, { 'org.opencontainers.image.ref.name': 'v1' }));
  await assertImported(image, layout, ['localhost/hello:v1']);
});

test('import takes an OCI layout archive, compressed or not', async () => {
  const annotations = { 'io.containerd.image.name': 'example.com/app:1', 'org.opencontainers.image.ref.name': '1' };
  for (const [name, compress] of [
    ['layout.tar', (bytes: Buffer) => bytes],
    ['layout.tar.gz', zlib.gzipSync],
    ['layout.tar.zst', zlib.zstdCompressSync],
  ] as const) {
    const image = makeImage(contents(name));
    await assertImported(image, write(name, compress(archiveOf(layoutFiles(image, annotations)))), ['example.com/app:1']);
    assert.deepEqual((await home.store.status('example.com/app:1'))?.repoDigests, [`example.com/app@${image.manifest.digest}`]);
  }
});

test('import takes what docker save wrote in its old form, links included', async () => {
  const image = makeImage(contents('old save'), { family: 'docker' });
  const { files, links } = saveFiles(image, ['busybox:1', 'localhost/other:2']);
  await assertImported(image, write('save.tar', archiveOf(files, links)), ['docker.io/library/busybox:1', 'localhost/other:2']);
});

test('import takes what docker save writes now: a layout with a manifest.json beside it', async () => {
  const image = makeImage(contents('new save'), { compression: 'none' });
  const layout = layoutFiles(image, { 'org.opencontainers.image.ref.name': '3' });
  const blob = (digest: string) => `blobs/${digest.replace(':', '/')}`;
  const manifest = [{ Config: blob(image.id), RepoTags: ['example.com/new:3'], Layers: image.layers.map(({ digest }) => blob(digest)) }];
  const files = new Map([...layout, ['manifest.json', Buffer.from(JSON.stringify(manifest))] as const]);
  await assertImported(image, write('new.tar', archiveOf(files)), ['localhost/new:3', 'example.com/new:3']);
});

test('import gives the id of an image without a name', async () => {
  const image = makeImage(contents('nameless'));
  await assertImported(image, write('nameless.tar', archiveOf(layoutFiles(image))), [image.id]);
});

const image = makeImage([[{ name: 'a', content: 'x' }]]);
const layout = layoutFiles(image, { 'org.opencontainers.image.ref.name': 'example.com/bad:1' });
const layerFile = `blobs/${image.layers[0]?.digest.replace(':', '/')}`;
const without = (name: string) => new Map([...layout].filter(([each]) => each !== name));
const save = saveFiles(image, ['bad:1']);

const bad: readonly (readonly [what: string, bytes: Buffer, sentence: RegExp])[] = [
  ['text', Buffer.from('hello\n'.repeat(1000)), /it is not a tar archive/],
  ['an empty file', Buffer.alloc(0), /neither an OCI image layout nor an archive of `docker save`/],
  ['another archive', tar([{ name: 'readme', content: 'x' }]), /neither an OCI image layout nor/],
  ['a truncated archive', archiveOf(layout).subarray(0, 2660), /truncated/],
  ['truncated gzip', zlib.gzipSync(archiveOf(layout)).subarray(0, 200), /unexpected end of file/],
  ['an archive with a path that leads out', tar([{ name: '../../evil', content: 'x' }]), /leads out of the layer/],
  ['a layout whose index is text', archiveOf(new Map([...layout, ['index.json', Buffer.from('hello')]])), /is not JSON/],
  ['a layout without its layer', archiveOf(without(layerFile)), /the layer sha256:\w+ is not in the archive/],
  [
    'a layout with a damaged layer',
    archiveOf(new Map([...layout, [layerFile, image.layers[0]?.archive ?? Buffer.alloc(0)]])),
    /its content|bytes, not the|more than the \d+ bytes/,
  ],
  [
    'a layout with a damaged manifest',
    archiveOf(new Map([...layout, [`blobs/${image.manifest.digest.replace(':', '/')}`, Buffer.from('{}')]])),
    /the manifest has the digest sha256:\w+, not/,
  ],
  ['a save whose layer is another', archiveOf(new Map([...save.files, ['0/layer.tar', tar([{ name: 'z' }])]])), /it unpacks to the digest/],
  [
    'a save without its config',
    archiveOf(new Map([['manifest.json', save.files.get('manifest.json') ?? Buffer.alloc(0)]])),
    /the image config \w+\.json is not in/,
  ],
  ['a save whose manifest is an object', archiveOf(new Map([['manifest.json', Buffer.from('{}')]])), /not a list of images/],
  [
    'a save whose layer is a link to the host',
    archiveOf(new Map([...save.files].filter(([name]) => name !== '0/layer.tar')), new Map([['0/layer.tar', '/etc/passwd']])),
    /the layer 0\/layer\.tar is not in the archive/,
  ],
  [
    'a layout for another architecture',
    archiveOf(
      new Map([
        ...layout,
        [
          'index.json',
          Buffer.from(
            JSON.stringify({
              schemaVersion: 2,
              manifests: [
                {
                  mediaType: image.manifest.mediaType,
                  digest: image.manifest.digest,
                  size: 1,
                  platform: { os: 'linux', architecture: 's390x' },
                },
              ],
            }),
          ),
        ],
      ]),
    ),
    /holds no image for linux\//,
  ],
];

for (const [what, bytes, sentence] of bad) {
  test(`import refuses ${what} with a sentence and leaves nothing`, async () => {
    const file = write('bad', bytes);
    const before = home.leftovers();
    await assert.rejects(home.store.import(file), (error) => {
      assert.ok(error instanceof Error);
      const whole = [error, error.cause, (error.cause as Error | undefined)?.cause]
        .filter((link) => link instanceof Error)
        .map(({ message }) => message);
      assert.match(whole.join(': '), sentence);
      assert.ok(error.message.startsWith(`import ${file}`));
      return true;
    });
    assert.deepEqual(home.leftovers(), { ...before, ingest: [] });
  });
}

test('import names a file that is not there', async () => {
  await assert.rejects(home.store.import('/nonexistent.tar'), { message: /^import \/nonexistent\.tar: there is no such file/ });
});
