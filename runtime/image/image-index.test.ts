import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addImage, findImage, type ImageRecord } from './image-index.ts';

const hex = (digit: string) => digit.repeat(64);
const id = (digit: string) => `sha256:${hex(digit)}`;

function record(digit: string, repoTags: readonly string[], repoDigests: readonly string[] = []): ImageRecord {
  const config = { entrypoint: [], cmd: [], env: [], workingDir: '', user: '', stopSignal: '', labels: {}, volumes: [] };
  return { id: id(digit), repoTags, repoDigests, diffIds: [], sizeBytes: 1, pinned: false, blobs: [id(digit)], config };
}

const busybox = record('a', ['docker.io/library/busybox:latest', 'localhost:5000/bb:1'], [`docker.io/library/busybox@${id('d')}`]);
const nginx = record('b', ['docker.io/library/nginx:latest']);
const abc = { ...record('c', ['docker.io/library/ab:latest']), id: `sha256:ab${hex('c').slice(2)}` };
const records = [busybox, nginx, abc];

const lookups: readonly (readonly [text: string, found: ImageRecord | undefined])[] = [
  [busybox.id, busybox],
  [hex('a'), busybox],
  ['aaaa', busybox],
  ['sha256:aaaa', busybox],
  ['busybox', busybox],
  ['docker.io/busybox:latest', busybox],
  ['localhost:5000/bb:1', busybox],
  ['localhost:5000/bb', undefined],
  [`busybox@${id('d')}`, busybox],
  [`busybox:whatever@${id('d')}`, busybox],
  [`nginx@${id('d')}`, undefined],
  ['b', nginx],
  ['a', undefined],
  ['ab', abc],
  ['', undefined],
  ['No Such', undefined],
];

for (const [text, found] of lookups) {
  test(`findImage takes ${JSON.stringify(text.slice(0, 30))} for ${found?.repoTags[0] ?? 'nothing'}`, () =>
    assert.equal(findImage(records, text), found));
}

test('addImage moves a tag from the image that had it and keeps that image', () => {
  const newer = record('e', ['docker.io/library/nginx:latest']);
  const after = addImage(records, newer);
  assert.equal(findImage(after, 'nginx')?.id, newer.id);
  assert.deepEqual(findImage(after, nginx.id)?.repoTags, []);
});

test('addImage joins the names of one image and remembers that it is pinned', () => {
  const after = addImage([{ ...busybox, pinned: true }], record('a', ['example.com/x:1'], [`example.com/x@${id('f')}`]));
  assert.equal(after.length, 1);
  assert.deepEqual(after[0]?.repoTags, [...busybox.repoTags, 'example.com/x:1']);
  assert.equal(after[0]?.repoDigests.length, 2);
  assert.equal(after[0]?.pinned, true);
});

test('addImage drops a host image that a newer one replaces', () => {
  const host = { sources: {} };
  const old = { ...record('1', ['localhost/node:host']), host };
  assert.deepEqual(
    addImage([old, nginx], { ...record('2', ['localhost/node:host']), host }).map((image) => image.id),
    [nginx.id, id('2')],
  );
});
