// The root tests of runtime/cgroup where cgroup2 has all controllers, which most machines that this is built on do not offer.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guestProblem, runInGuest } from './guest.ts';

const command = 'node --test --test-reporter=spec runtime/cgroup/cgroup.root.test.ts';

for (const [kind, cpuset] of [
  ['uml', 'skipped'],
  ['tcg', 'passed'],
] as const)
  test(`cgroup2 of a ${kind} guest keeps limits, counts OOM kills, kills and removes (cpuset ${cpuset})`, {
    skip: guestProblem(kind) ?? false,
    timeout: 480_000,
  }, async (t) => {
    t.diagnostic(`kernel: ${kind}`);
    const { exitCode, output } = await runInGuest({ kind, command, timeoutMs: 180_000 });
    assert.equal(exitCode, 0, output);
    assert.match(output, /cgroup unified host/);
    assert.match(output, /✔ limits read back from the kernel as they were asked for/);
    assert.match(output, /✔ an OOM kill is counted/);
    assert.match(output, /fail 0/);
    assert.match(output, cpuset === 'passed' ? /✔ a cpuset/ : /﹣ a cpuset/);
  });
