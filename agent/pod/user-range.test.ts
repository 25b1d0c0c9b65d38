import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { ensureUserRange, planUserRange } from './user-range.ts';

test('planUserRange takes the lowest free range, and says when none is left', () => {
  const range = (block: number) => ({ hostId: block * 65_536, length: 65_536 });
  assert.deepEqual(planUserRange([]), range(1));
  assert.deepEqual(planUserRange([range(1), range(3)]), range(2));
  const all = Array.from({ length: 65_534 }, (_, i) => range(i + 1));
  assert.throws(() => planUserRange(all), /all 65534 ranges/);
});

test('a pod keeps its range over restarts of the agent, and gives it back with its directory', (t) => {
  const podsDir = fs.mkdtempSync(path.join(os.tmpdir(), 'tsk-users-'));
  t.after(() => fs.rmSync(podsDir, { recursive: true }));
  const paths = { podsDir, logDir: podsDir };
  const pod = (uid: string, hostUsers = false) => ({ metadata: { uid }, spec: { containers: [], hostUsers } });
  for (const uid of ['a', 'b', 'c']) fs.mkdirSync(path.join(podsDir, uid));
  assert.equal(ensureUserRange(paths, pod('host', true)), undefined);
  assert.equal(ensureUserRange(paths, pod('a'))?.hostId, 65_536);
  assert.equal(ensureUserRange(paths, pod('b'))?.hostId, 131_072);
  assert.equal(ensureUserRange(paths, pod('a'))?.hostId, 65_536);
  fs.rmSync(path.join(podsDir, 'a'), { recursive: true });
  fs.writeFileSync(path.join(podsDir, 'b', 'userns'), '{"torn');
  assert.equal(ensureUserRange(paths, pod('c'))?.hostId, 65_536);
  assert.equal(ensureUserRange(paths, pod('b'))?.hostId, 131_072);
});
