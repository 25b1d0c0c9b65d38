import assert from 'node:assert/strict';
import { test } from 'node:test';
import { containerKey, findByPrefix, newId, sandboxKey } from './ids.ts';

test('newId gives 64 hex digits, never the same', () => {
  assert.match(newId(), /^[0-9a-f]{64}$/);
  assert.notEqual(newId(), newId());
});

test('findByPrefix finds by full id and by unique prefix only', () => {
  const objects = new Map([
    ['aa11', 1],
    ['aa22', 2],
    ['bb', 3],
    ['bbcc', 4],
  ]);
  assert.equal(findByPrefix(objects, 'aa1'), 1);
  assert.throws(() => findByPrefix(objects, 'aa'), { code: 'INVALID_ARGUMENT', message: 'several ids begin with "aa": give more of it' });
  assert.equal(findByPrefix(objects, 'bb'), 3, 'a full id wins over longer ones that start with it');
  assert.equal(findByPrefix(objects, 'zz'), undefined);
  assert.equal(findByPrefix(objects, ''), undefined);
});

test('names carry everything that tells two attempts apart', () => {
  const sandbox = { name: 'web', namespace: 'default', uid: 'u1', attempt: 2 };
  assert.equal(sandboxKey(sandbox), 'web_default_u1_2');
  assert.equal(containerKey({ name: 'app', attempt: 3 }, sandbox), 'app_web_default_u1_3');
});
