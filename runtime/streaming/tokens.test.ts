import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTokens } from './tokens.ts';

test('a token is good once', () => {
  const tokens = createTokens<string>();
  const token = tokens.issue('exec');
  assert.equal(tokens.take('x'), undefined);
  assert.equal(tokens.take(token), 'exec');
  assert.equal(tokens.take(token), undefined);
});

test('a token is good for a minute', () => {
  let now = 0;
  const tokens = createTokens<string>(() => now);
  const early = tokens.issue('early');
  now = 59_999;
  const late = tokens.issue('late');
  now = 60_000;
  assert.equal(tokens.take(early), undefined);
  assert.equal(tokens.take(late), 'late');
  assert.equal(tokens.size, 0);
});

test('tokens that nobody uses are bounded', () => {
  let now = 0;
  const tokens = createTokens<number>(() => now);
  for (let index = 0; index < 1000; index++) tokens.issue(index);
  assert.throws(() => tokens.issue(1000), /1000 streaming URLs wait/);
  now = 60_000;
  tokens.issue(1000);
  assert.equal(tokens.size, 1);
});
