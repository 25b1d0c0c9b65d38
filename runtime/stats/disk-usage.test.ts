import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DiskUsage } from './disk-usage.ts';

const usage = (usedBytes: bigint) => ({ mountpoint: '/m', usedBytes, inodesUsed: 1n });

test('DiskUsage measures once for many who ask, and answers from that', async () => {
  let measured = 0;
  const disk = new DiskUsage(
    async () => usage(BigInt(++measured)),
    () => 7n,
  );
  const answers = await Promise.all([disk.read('a'), disk.read('a'), disk.read('a')]);
  assert.deepEqual(
    answers.map((answer) => [answer?.usage.usedBytes, answer?.atNs]),
    [
      [1n, 7n],
      [1n, 7n],
      [1n, 7n],
    ],
  );
  assert.equal((await disk.read('a'))?.usage.usedBytes, 1n);
  assert.equal(measured, 1);
});

test('DiskUsage does not wait for a tree that takes long, and has it when asked again', async () => {
  let finish: () => void = () => undefined;
  const disk = new DiskUsage(
    async () => {
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      return usage(5n);
    },
    () => 0n,
  );
  assert.equal(await disk.read('slow'), undefined);
  finish();
  assert.equal((await disk.read('slow'))?.usage.usedBytes, 5n);
});

test('DiskUsage knows nothing of what cannot be measured or is gone', async () => {
  const disk = new DiskUsage(
    async (id) => (id === 'bad' ? Promise.reject(new Error('gone')) : usage(1n)),
    () => 0n,
  );
  assert.equal(await disk.read('bad'), undefined);
  await disk.read('a');
  disk.retain(() => false);
  assert.equal((await disk.read('a'))?.usage.usedBytes, 1n, 'measured anew');
});
