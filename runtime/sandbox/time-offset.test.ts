import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planTimeOffsets, TIME_OFFSET } from './time-offset.ts';

const plan = (text: string) => planTimeOffsets({ [TIME_OFFSET]: text });

test('planTimeOffsets reads clocks with signs and units', () => {
  assert.equal(planTimeOffsets({}), undefined);
  assert.deepEqual(plan('monotonic=+3600s,boottime=-2h'), [
    { clock: 'monotonic', seconds: 3600 },
    { clock: 'boottime', seconds: -7200 },
  ]);
  assert.deepEqual(plan('boottime=1d'), [{ clock: 'boottime', seconds: 86_400 }]);
  assert.deepEqual(plan(' monotonic=5 '), [{ clock: 'monotonic', seconds: 5 }]);
});

test('planTimeOffsets says what is wrong', () => {
  for (const text of ['', 'realtime=+1s', 'monotonic', 'monotonic=1.5s', 'monotonic=+1w', 'monotonic=1s;boottime=1s'])
    assert.throws(() => plan(text), { code: 'INVALID_ARGUMENT', message: /is not of the form/ }, text);
  assert.throws(() => plan('monotonic=1s,monotonic=2s'), { message: /sets a clock twice/ });
  assert.throws(() => plan('monotonic=999999999d'), { message: /is more than/ });
});
