import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Settling } from './settling.ts';

test('a file is left alone until it has rested', () => {
  const settling = new Settling();
  const wait = (nowMs: number, stamp: string, ageMs = 0, lossy = false) => settling.waitMs('f', stamp, { nowMs, ageMs, lossy });
  assert.equal(wait(0, 'a'), 50);
  assert.equal(wait(30, 'a'), 20);
  assert.equal(wait(40, 'b'), 50, 'a change starts the rest anew');
  assert.equal(wait(90, 'b'), 0);
  assert.equal(wait(90, 'b', 0, true), 150, 'longer when pods would end');
  assert.equal(wait(240, 'b', 0, true), 0);
});

test('a file that was written long ago, such as one that was renamed into place, is read at once', () => {
  assert.equal(new Settling().waitMs('f', 'a', { nowMs: 0, ageMs: 60_000, lossy: true }), 0);
});

test('a file that never rests is read after two seconds', () => {
  const settling = new Settling();
  let nowMs = 0;
  while (settling.waitMs('f', String(nowMs), { nowMs, ageMs: 0, lossy: true }) > 0) nowMs += 10;
  assert.equal(nowMs, 2000);
  settling.settled('f');
  assert.ok(settling.isQuiet);
});

test('a file from the future rests by our own clock', () => {
  const settling = new Settling();
  assert.ok(settling.waitMs('f', 'a', { nowMs: 0, ageMs: -3_600_000, lossy: false }) >= 50);
  assert.equal(settling.waitMs('f', 'a', { nowMs: 50, ageMs: -3_600_000, lossy: false }), 0);
});
