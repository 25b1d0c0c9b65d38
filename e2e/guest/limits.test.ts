// The limits of a Pod's YAML where cgroup2 has all controllers: the same tests as on this host, in another kernel where need be.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lightestKernel, runInGuest } from './guest.ts';

const kernel = lightestKernel(['cpu', 'memory', 'pids']);
const skip =
  kernel.kind === 'none'
    ? kernel.reason
    : kernel.kind === 'host'
      ? 'this host has cgroup2 with all controllers: e2e/limits.test.ts'
      : false;

test('limits of a Pod stand in cgroup2 and are kept', { skip, timeout: 480_000 }, async (t) => {
  assert.ok(kernel.kind === 'uml' || kernel.kind === 'tcg');
  t.diagnostic(`kernel: ${kernel.kind}`);
  const { exitCode, output } = await runInGuest({
    kind: kernel.kind,
    command: 'node --test --test-reporter=spec e2e/limits.test.ts',
    timeoutMs: 230_000,
  });
  assert.equal(exitCode, 0, output);
  assert.match(output, /✔ limits \{memory: 64Mi, cpu: 250m\}/);
  assert.match(output, /✔ a container over its memory limit/);
  assert.match(output, /✔ two stressors/);
});
