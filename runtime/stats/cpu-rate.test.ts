import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CpuRates, chooseBase, computeRate } from './cpu-rate.ts';

const S = 1_000_000_000n;
const reading = (atS: number, usageS: number) => ({ atNs: BigInt(Math.round(atS * 1e9)), usageNs: BigInt(Math.round(usageS * 1e9)) });

test('computeRate is nanoseconds of CPU time per second', () => {
  assert.equal(computeRate(reading(10, 4), reading(12, 5)), S / 2n);
  assert.equal(computeRate(reading(10, 4), reading(10, 4)), undefined, 'no time between');
  assert.equal(computeRate(reading(10, 4), reading(12, 3)), undefined, 'a counter that began anew');
});

test('chooseBase takes the newest reading at least a second old, else the oldest, and none of long ago', () => {
  const readings = [reading(1, 0), reading(5, 1), reading(9.5, 2)];
  assert.equal(chooseBase(readings, reading(10, 2)), readings[1]);
  assert.equal(chooseBase([readings[2] ?? reading(0, 0)], reading(10, 2)), readings[2]);
  assert.equal(chooseBase(readings, reading(1000, 2)), undefined);
});

test('CpuRates counts from the start of a young container, and knows nothing at the first reading of an old one', () => {
  const rates = new CpuRates();
  assert.equal(rates.rate('young', reading(102, 1), 100n * S), S / 2n);
  assert.equal(rates.rate('old', reading(1000, 500), 100n * S), undefined);
  assert.equal(rates.rate('old', reading(1002, 501), 100n * S), S / 2n);
});

test('CpuRates keeps its window when asked more often than once a second', () => {
  const rates = new CpuRates();
  for (let i = 0; i <= 100; i++) {
    const rate = rates.rate('busy', reading(1000 + i / 50, i / 50), 0n);
    if (i > 50) assert.equal(rate, S, `reading ${i}`);
  }
});

test('CpuRates forgets what no longer exists', () => {
  const rates = new CpuRates();
  rates.rate('gone', reading(1000, 500), 0n);
  rates.retain((key) => key !== 'gone');
  assert.equal(rates.rate('gone', reading(1001, 501), 0n), undefined);
});
