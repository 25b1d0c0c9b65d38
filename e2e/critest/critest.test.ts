// The conformance suite of CRI, critest, against `tskubelet runtime`: every registered spec but AppArmor's (apparmor.test.ts runs them
// where the kernel has it) and the benchmarks, several at a time. Then the streaming specs again over WebSocket.
import assert from 'node:assert/strict';
import { after, before, type TestContext, test } from 'node:test';
import { SUITE_MS, type Suite, type Summary, startSuite, suiteProblem } from './suite.ts';

/** Of v1.36.0 on a host without SELinux, which adds 17. */
const REGISTERED_SPECS = 122;
const APPARMOR_SPECS = 9;
const BENCHMARK_SPECS = 5;

const options = { skip: suiteProblem, timeout: SUITE_MS };

let suite: Suite | undefined;
before(async () => {
  if (suiteProblem === false) suite = await startSuite();
});
after(() => suite?.destroy());

async function critest(t: TestContext, name: string, flags: readonly string[]): Promise<Summary> {
  assert.ok(suite);
  const summary = await suite.run(name, flags);
  t.diagnostic(summary.text);
  if (summary.failed.length > 0) process.stdout.write(summary.output);
  assert.deepEqual(summary.failed, []);
  return summary;
}

test('critest passes', options, async (t) => {
  const { passed, skipped } = await critest(t, 'over SPDY', []);
  const apparmor = skipped.filter((title) => title.includes('AppArmor'));
  const benchmarks = skipped.filter((title) => title.includes('benchmark'));
  assert.deepEqual(
    skipped.filter((title) => !apparmor.includes(title) && !benchmarks.includes(title)),
    [],
    'nothing else is left out',
  );
  assert.ok(apparmor.length <= APPARMOR_SPECS && benchmarks.length <= BENCHMARK_SPECS, skipped.join('\n'));
  assert.ok(passed + skipped.length >= REGISTERED_SPECS, `${passed} specs passed and ${skipped.length} were left out`);
});

test('critest’s streaming specs pass over WebSocket', options, async (t) => {
  const flags = ['-websocket-exec', '-websocket-attach', '-websocket-portforward', '-ginkgo.focus', 'Streaming'];
  const { passed } = await critest(t, 'over WebSocket', flags);
  assert.equal(passed, 5);
});
