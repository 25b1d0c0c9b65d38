import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { type ManifestContext, parseManifest } from '../manifest/manifest.ts';
import { keyOf, loadLastGood, planFile, saveLastGood } from './last-good.ts';
import { mergeFiles } from './merge.ts';

const directory = await fs.mkdtemp(path.join(os.tmpdir(), 'tsk-last-good-'));
after(() => fs.rm(directory, { recursive: true, force: true }));

const pod = (name: string, image = 'i') =>
  `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}}\nspec: {containers: [{name: c, image: ${image}}]}\n`;
const broken = (name: string) => `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}}\nspec: {containers: []}\n`;
const context = (file = '/pods/a.yaml'): ManifestContext => ({ file, nodeName: 'n', source: 'file' });
const read = (documents: string[], file?: string) => parseManifest(documents.join('---\n'), context(file));

test('planFile keeps the pods of refused documents, and ends those that are no longer written', () => {
  const before = read([pod('a'), pod('b'), pod('c')]).pods;
  const rows: [string, string[], string[]][] = [
    ['nothing changed', [pod('a'), pod('b'), pod('c')], ['a', 'b', 'c']],
    ['one removed', [pod('a'), pod('c')], ['a', 'c']],
    ['one refused, with its name', [pod('a'), broken('b'), pod('c')], ['a', 'b', 'c']],
    ['one refused, one removed', [pod('a'), broken('b')], ['a', 'b']],
    ['one refused, without a name', [pod('a'), 'x: [\n'], ['a', 'b', 'c']],
    ['a new one refused', [pod('a'), broken('d')], ['a']],
    ['everything refused', ['x: [\n'], ['a', 'b', 'c']],
    ['an empty file', [''], ['a', 'b', 'c']],
    ['comments only', ['# off\n'], []],
    ['a name twice', [pod('a'), pod('a', 'other'), pod('c')], ['a', 'c']],
  ];
  for (const [name, documents, expected] of rows) {
    const { pods } = planFile(read(documents), before);
    assert.deepEqual(pods.map(({ pod: { metadata } }) => metadata?.name).sort(), expected, name);
  }
});

test('a refused document says what runs on', () => {
  const before = read([pod('a'), pod('b')]).pods;
  assert.match(planFile(read([pod('a'), broken('b')]), before).problems[0]?.message ?? '', /\(until then default\/b runs on as it was\)$/);
  assert.match(planFile(read(['x: [\n']), before).problems[0]?.message ?? '', /\(until then default\/a, default\/b runs on as it was\)$/);
  assert.doesNotMatch(planFile(read([pod('a'), pod('b'), broken('c')]), before).problems[0]?.message ?? '', /runs on/);
});

test('a pod that did not change keeps the time when it was first seen', () => {
  const before = parseManifest(pod('a'), { ...context(), seen: new Date(0) }).pods;
  assert.equal(planFile(read(['# more\n', pod('a')]), before).pods[0]?.pod, before[0]?.pod);
  assert.notEqual(planFile(read([pod('a', 'other')]), before).pods[0]?.pod, before[0]?.pod);
});

test('of two pods of a name the one that runs stays, whatever the order of the files', () => {
  const files = ['/pods/a.yaml', '/pods/b.yaml'].map((file) => planFile(read([pod('web')], file), []));
  const fresh = mergeFiles(files, []);
  assert.deepEqual(
    fresh.pods.map(({ origin }) => origin.file),
    ['/pods/a.yaml'],
  );
  assert.match(
    fresh.problems[0]?.message ?? '',
    /pod default\/web of \/pods\/b\.yaml is there already, from \/pods\/a\.yaml \(document 1\)/,
  );
  const later = mergeFiles(files, files[1]?.pods ?? []);
  assert.deepEqual(
    later.pods.map(({ origin }) => origin.file),
    ['/pods/b.yaml'],
  );
  assert.equal(later.problems[0]?.origin.file, '/pods/a.yaml');
});

test('two pods of one UID clash too', () => {
  const withUid = (name: string) => pod(name).replace('name: ', 'uid: same, name: ');
  const files = [planFile(read([withUid('a')], '/pods/a.yaml'), []), planFile(read([withUid('b')], '/pods/b.yaml'), [])];
  const { pods, problems } = mergeFiles(files, []);
  assert.equal(pods.length, 1);
  assert.match(problems[0]?.message ?? '', /uid same of/);
});

test('the record is read back as it was saved, and a damaged one counts as none', async () => {
  const file = path.join(directory, 'deep', 'manifests.json');
  assert.deepEqual(await loadLastGood(file), new Map());
  const lastGood = new Map([['/pods/a.yaml', read([pod('a')]).pods]]);
  await saveLastGood(file, lastGood);
  assert.deepEqual(await loadLastGood(file), lastGood);
  assert.equal((await fs.stat(file)).mode & 0o777, 0o600);
  assert.deepEqual([...(await loadLastGood(file)).values()].flat().map(keyOf), ['default/a']);
  await fs.writeFile(file, '{"version":1,');
  assert.deepEqual(await loadLastGood(file), new Map());
  await fs.writeFile(file, '{"version":99,"files":{"x":[]}}');
  assert.deepEqual(await loadLastGood(file), new Map());
});
