import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nearest, suggest } from './nearest.ts';

const words = ['get', 'logs', 'exec', 'port-forward', 'describe', 'doctor', 'run', 'rm', 'read-only-port', 'manifests'];

for (const [word, meant] of [
  ['gte', 'get'],
  ['log', 'logs'],
  ['Get', 'get'],
  ['portforward', 'port-forward'],
  ['port_forward', 'port-forward'],
  ['readonly-port', 'read-only-port'],
  ['manifest', 'manifests'],
  ['descirbe', 'describe'],
  ['desc', 'describe'],
  ['walk', undefined],
  ['a', undefined],
  ['x', undefined],
  ['', undefined],
] as const)
  test(`"${word}" ${meant === undefined ? 'is near to nothing' : `is likely ${meant}`}`, () => assert.equal(nearest(word, words), meant));

test('a suggestion is part of a sentence', () => {
  assert.equal(suggest('manifest', words, '--'), ' (did you mean --manifests?)');
  assert.equal(suggest('walk', words), '');
});
