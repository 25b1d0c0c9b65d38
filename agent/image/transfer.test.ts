import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TransferLayer } from '../../cri-proto/images.ts';
import { addSample, computeTransfer, percentOf, renderBytes, renderLeft, renderTransfer, type Sample } from './transfer.ts';

const layer = (state: string, doneBytes: number, totalBytes: number): TransferLayer => ({
  digest: 'sha256:1',
  state,
  doneBytes,
  totalBytes,
});
const samples = (...all: [number, number][]): Sample[] => all.map(([atMs, bytes]) => ({ atMs, bytes }));

test('a transfer tells share, bytes, speed and what is left', () => {
  const layers = [layer('downloading', 70e6, 200e6), layer('done', 0, 50e6), layer('waiting', 0, 30e6), layer('cached', 900e6, 900e6)];
  const transfer = computeTransfer(layers, samples([0, 0]), 4000);
  assert.deepEqual(transfer, { doneBytes: 120e6, totalBytes: 280e6, bytesPerSecond: 30e6, leftSeconds: 6, unpacking: false });
  assert.equal(percentOf(transfer), 42);
  assert.equal(renderTransfer(transfer), '42 %, 120/280MB, 30MB/s, ~6s left');
});

test('no speed is told before there is one, and a stalled transfer promises nothing', () => {
  assert.equal(renderTransfer(computeTransfer([layer('downloading', 1e6, 10e6)], samples([0, 0]), 100)), '10 %, 1.0/10MB');
  assert.equal(renderTransfer(computeTransfer([layer('downloading', 1e6, 10e6)], samples([0, 1e6]), 5000)), '10 %, 1.0/10MB, stalled');
  assert.equal(renderTransfer(computeTransfer([], [], 0)), 'starting');
});

test('what has arrived and is unpacked has no time left to tell', () => {
  assert.equal(
    renderTransfer(computeTransfer([layer('unpacking', 10e6, 10e6), layer('done', 0, 0)], samples([0, 0]), 1000)),
    '100 %, 10.0/10MB, unpacking',
  );
});

test('speed is that of the last seconds', () => {
  let kept: readonly Sample[] = [];
  for (let second = 0; second <= 20; second++)
    kept = addSample(kept, { atMs: second * 1000, bytes: second < 10 ? second * 100 : 1000 + (second - 10) * 10 });
  assert.equal(kept[0]?.atMs, 15_000);
  assert.equal(computeTransfer([layer('downloading', 1100, 2000)], kept, 20_000).bytesPerSecond, 10);
});

test('bytes and times are short', () => {
  const rows = [
    [0, 280e6, '0/280MB'],
    [1.25e6, 280e6, '1.3/280MB'],
    [120e6, 1.5e9, '0.1/1.5GB'],
    [5, 10, '5/10B'],
  ] as const;
  for (const [doneBytes, totalBytes, text] of rows) assert.equal(renderBytes({ doneBytes, totalBytes }), text);
  assert.deepEqual([4, 60, 80, 3600, 7500].map(renderLeft), ['4s', '1m', '1m20s', '1h', '2h5m']);
});
