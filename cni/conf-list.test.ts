import assert from 'node:assert/strict';
import { test } from 'node:test';
import { firstConfFile, parseConfList } from './conf-list.ts';

test('the first file by name counts, of those with one of the endings', () => {
  assert.equal(firstConfFile(['20-b.conf', '10-a.conflist', '05-note.txt', '00.conf.bak']), '10-a.conflist');
  assert.equal(firstConfFile(['b.json', 'a.conf']), 'a.conf');
  assert.equal(firstConfFile(['README']), undefined);
});

test('a single plugin is a list of one', () => {
  const list = parseConfList('{"cniVersion":"1.0.0","name":"n","type":"bridge","bridge":"b"}');
  assert.deepEqual(
    list.plugins.map(({ type }) => type),
    ['bridge'],
  );
  assert.equal(list.cniVersion, '1.0.0');
});

test('of several versions the newest that is known is taken', () => {
  const of = (text: string) => parseConfList(`{${text},"name":"n","plugins":[{"type":"x"}]}`).cniVersion;
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
    assert.throws(() => parseConfList(text), message);
});

test('checks and garbage collection can be switched off', () => {
  const list = parseConfList('{"cniVersion":"1.1.0","name":"n","disableCheck":true,"disableGC":"true","plugins":[{"type":"x"}]}');
  assert.deepEqual([list.disableCheck, list.disableGC], [true, true]);
});
