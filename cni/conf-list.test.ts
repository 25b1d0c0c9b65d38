import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { firstConfFile, loadConf, parseConfList } from './conf-list.ts';

const parse = (text: string) => parseConfList(JSON.parse(text));

test('the first file by name counts, of those with one of the endings', () => {
  assert.equal(firstConfFile(['20-b.conf', '10-a.conflist', '05-note.txt', '00.conf.bak']), '10-a.conflist');
  assert.equal(firstConfFile(['b.json', 'a.conf']), 'a.conf');
  assert.equal(firstConfFile(['README']), undefined);
});

test('a single plugin is a list of one', () => {
  const list = parse('{"cniVersion":"1.0.0","name":"n","type":"bridge","bridge":"b"}');
  assert.deepEqual(
    list.plugins.map(({ type }) => type),
    ['bridge'],
  );
  assert.equal(list.cniVersion, '1.0.0');
});

test('of several versions the newest that is known is taken', () => {
  const of = (text: string) => parse(`{${text},"name":"n","plugins":[{"type":"x"}]}`).cniVersion;
  assert.equal(of('"cniVersions":["0.4.0","1.0.0","2.0.0"]'), '1.0.0');
  assert.equal(of('"cniVersion":"0.3.1"'), '0.3.1');
  assert.throws(() => of('"cniVersions":["2.0.0"]'), /none of the CNI versions 2\.0\.0/);
  assert.throws(() => of('"cniVersion":"0.2.0"'), /"0\.2\.0" is not supported/);
});

test('what is no list is refused with what is wrong', () => {
  for (const [text, message] of [
    ['{"cniVersion":"1.0.0","name":"n","plugins":[]}', /the list is empty/],
    ['{"cniVersion":"1.0.0","name":"a b","plugins":[{"type":"x"}]}', /network name "a b"/],
    ['{"cniVersion":"1.0.0","name":"n","plugins":[{}]}', /no type/],
    ['[]', /no object/],
  ] as const)
    assert.throws(() => parse(text), message);
});

test('checks and garbage collection can be switched off', () => {
  const list = parse('{"cniVersion":"1.1.0","name":"n","disableCheck":true,"disableGC":"true","plugins":[{"type":"x"}]}');
  assert.deepEqual([list.disableCheck, list.disableGC], [true, true]);
  assert.throws(
    () => parse('{"cniVersion":"1.1.0","name":"n","disableGC":"yes","plugins":[{"type":"x"}]}'),
    /disableGC "yes": expected true or false/,
  );
});

function directoryWith(t: TestContext, files: Readonly<Record<string, object | string>>): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'net.d-'));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  for (const [name, content] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(directory, name)), { recursive: true });
    fs.writeFileSync(path.join(directory, name), typeof content === 'string' ? content : JSON.stringify(content));
  }
  return directory;
}

const typesOf = async (directory: string) => (await loadConf(directory))?.list.plugins.map(({ type }) => type);

test('a directory is no configuration, whatever its name', async (t) => {
  const list = { cniVersion: '1.0.0', name: 'n', plugins: [{ type: 'bridge' }] };
  const directory = directoryWith(t, { '00.conf/note': '', '10.conflist': list });
  assert.deepEqual(await typesOf(directory), ['bridge']);
  fs.symlinkSync('10.conflist', path.join(directory, '05.conflist'));
  assert.equal((await loadConf(directory))?.file, path.join(directory, '05.conflist'));
});

test('plugins of the directory that has the network’s name stand behind those of the list, unless it wants none', async (t) => {
  const more = { 'n/20.conf': { type: 'tuning' }, 'n/10.conf': { type: 'portmap' }, 'n/30.conflist': {}, 'other/10.conf': { type: 'x' } };
  const list = { cniVersion: '1.1.0', name: 'n', plugins: [{ type: 'bridge' }] };
  const directory = directoryWith(t, { '10.conflist': list, ...more });
  assert.deepEqual(await typesOf(directory), ['bridge', 'portmap', 'tuning']);
  const { stamp } = (await loadConf(directory)) ?? {};
  fs.writeFileSync(path.join(directory, 'n/20.conf'), '{"type":"bandwidth"}');
  assert.notEqual((await loadConf(directory))?.stamp, stamp);
  assert.deepEqual(await typesOf(directoryWith(t, { '10.conflist': { ...list, loadOnlyInlinedPlugins: true }, ...more })), ['bridge']);
  const { plugins: _, ...bare } = list;
  assert.deepEqual(await typesOf(directoryWith(t, { '10.conflist': bare, ...more })), ['portmap', 'tuning']);
  await assert.rejects(loadConf(directoryWith(t, { '10.conflist': bare })), /10\.conflist: plugins: the list is empty/);
  // The configuration of one plugin is whole.
  assert.deepEqual(await typesOf(directoryWith(t, { '10.conf': { ...bare, type: 'bridge' }, ...more })), ['bridge']);
  await assert.rejects(typesOf(directoryWith(t, { '10.conflist': list, 'n/1.conf': '{' })), /n\/1\.conf: /);
});
