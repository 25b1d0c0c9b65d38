import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addImage, findImage, type ImageRecord, planPrune, untagImage } from './image-index.ts';

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

const named = (id: string, repoTags: string[], repoDigests: string[] = [], pinned = false): ImageRecord => ({
  ...record(id, repoTags),
  ...{ repoDigests, pinned },
});

test('a name is taken from its image, which goes with its last one', () => {
  const records = [named('a', ['localhost/x:1', 'localhost/y:1']), named('b', ['localhost/z:1'], ['localhost/z@sha256:1'])];
  const ids = (left: readonly ImageRecord[]) => left.map(({ id, repoTags }) => [id, ...repoTags]);
  const [a = named('', []), b = named('', [])] = records;
  assert.deepEqual(ids(untagImage(records, 'localhost/x:1')), [
    [a.id, 'localhost/y:1'],
    [b.id, 'localhost/z:1'],
  ]);
  assert.deepEqual(ids(untagImage(records, 'localhost/z:1')), [[a.id, 'localhost/x:1', 'localhost/y:1']], 'its digest does not keep it');
  assert.deepEqual(ids(untagImage(records, 'localhost/absent:1')), ids(records));
  const byDigest = [named('c', [], ['localhost/w@sha256:1', 'localhost/w@sha256:2'])];
  assert.deepEqual(untagImage(byDigest, 'localhost/w@sha256:1')[0]?.repoDigests, ['localhost/w@sha256:2']);
  assert.deepEqual(untagImage(untagImage(byDigest, 'localhost/w@sha256:1'), 'localhost/w@sha256:2'), []);
});

test('prune takes what has no tag, or all that is neither used nor pinned', () => {
  const records = [named('a', ['x:1']), named('b', []), named('c', [], [], true), named('d', []), named('e', ['y:1'], [], true)];
  const [, , , d] = records;
  const isUsed = (one: ImageRecord) => one === d;
  const taken = (all: boolean) => planPrune(records, isUsed, all).map((one) => records.indexOf(one));
  assert.deepEqual(taken(false), [1]);
  assert.deepEqual(taken(true), [0, 1]);
});
