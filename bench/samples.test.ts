import assert from 'node:assert/strict';
import { test } from 'node:test';
import { median, renderRange, renderSeries } from './samples.ts';

test('median takes the middle, or the mean of the two middles', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
});

test('renderRange shows median, minimum and maximum', () => {
  assert.equal(renderRange([1, 2.345, 30]), '2.35 (1.00–30.0)');
});

test('renderSeries compares with the first contender', () => {
  const series = (name: string, wallMs: number) => ({ name, samples: [{ wallMs, mainThreadMs: 0.5 }] });
  const text = renderSeries('start', [series('ours', 2), series('theirs', 9)]);
  assert.match(text, /^ours .* 1\.0× /m);
  assert.match(text, /^theirs .* 4\.5× /m);
});

test('renderSeries shows a blocked event loop where it was measured', () => {
  const sample = { wallMs: 2, mainThreadMs: 1.5 };
  const text = renderSeries('start', [
    { name: 'ours', samples: [{ ...sample, blockedMs: 0.5 }] },
    { name: 'theirs', samples: [sample] },
  ]);
  assert.match(text, /^ours .* 0\.50 \(0\.50–0\.50\)$/m);
  assert.match(text, /^theirs .* -$/m);
});
