import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createReport, type TestEvent } from './test-report.ts';

const counts = { tests: 2, suites: 0, passed: 1, failed: 0, cancelled: 0, skipped: 1, todo: 0 };
const passed = (name: string, skip?: string | boolean): TestEvent => ({
  type: 'test:pass',
  data: { name, nesting: 0, file: '/tree/a.test.ts', details: { duration_ms: 1 }, ...(skip === undefined ? {} : { skip }) },
});

function reported(events: readonly TestEvent[]): [success: boolean, text: string] {
  let text = '';
  const report = createReport('/tree', {
    write: (chunk) => {
      text += chunk;
    },
  });
  report.start('unit', 1);
  for (const event of events) report.event(event);
  return [report.finish(), text];
}

test('skipped tests are listed under their reason, and the counts close the report', () => {
  const [success, text] = reported([
    passed('one'),
    passed('two', 'no root'),
    { type: 'test:summary', data: { file: '/tree/a.test.ts', counts, duration_ms: 5, success: true } },
    { type: 'test:summary', data: { counts, duration_ms: 5, success: true } },
  ]);
  assert.equal(success, true);
  assert.match(text, /✔ a\.test\.ts \(2 tests, 1 skipped, 0\.0 s\)/);
  assert.match(text, /skipped:\n {2}no root\n {4}a\.test\.ts: two\n/);
  assert.match(text, /\nℹ tests 2\nℹ suites 0\nℹ pass 1\nℹ fail 0\nℹ cancelled 0\nℹ skipped 1\nℹ todo 0\nℹ duration_ms [\d.]+\n$/);
});

test('a failure is told with its error, place and the output of its file', () => {
  const [success, text] = reported([
    { type: 'test:stderr', data: { file: '/tree/a.test.ts', message: 'a word before\n' } },
    {
      type: 'test:fail',
      data: {
        name: 'breaks',
        nesting: 0,
        file: '/tree/a.test.ts',
        line: 7,
        details: { duration_ms: 1, error: new Error('wrapped', { cause: new Error('the reason') }) },
      },
    },
    { type: 'test:summary', data: { counts: { ...counts, failed: 1 }, duration_ms: 5, success: false } },
  ]);
  assert.equal(success, false);
  assert.match(text, /✖ breaks\n {2}a\.test\.ts:7\n {4}Error: the reason/);
  assert.match(text, /output of a\.test\.ts:\n {4}a word before/);
});

test('runs of several kinds are counted together', () => {
  const summary: TestEvent = { type: 'test:summary', data: { counts, duration_ms: 5, success: true } };
  assert.match(reported([summary, summary])[1], /ℹ tests 4\n/);
});
