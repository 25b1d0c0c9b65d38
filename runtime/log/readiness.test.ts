import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { createPipe } from '../linux/pipe2.ts';
import { planStep } from './open-log.ts';
import { planPause, Readiness } from './readiness.ts';

test('pauses grow while batches stay small, and end with a large one', () => {
  const pauses: number[] = [];
  for (let i = 0; i < 6; i++) pauses.push(planPause(100, pauses.at(-1) ?? 0));
  assert.deepEqual(pauses, [1, 2, 4, 8, 16, 16]);
  assert.equal(planPause(20_000, 16), 1);
  assert.equal(planPause(64 * 1024, 16), 0);
});

test('steps grow to the pipe, and shrink for lines so short that their prefix is most of the work', () => {
  assert.equal(planStep(64 * 1024, 64 * 1024, 90_000), 128 * 1024);
  assert.equal(planStep(256 * 1024, 256 * 1024, 300_000), 256 * 1024);
  assert.equal(planStep(256 * 1024, 1000, 1400), 256 * 1024);
  assert.equal(planStep(64 * 1024, 64 * 1024, 2_700_000), 32 * 1024);
  assert.equal(planStep(16 * 1024, 16 * 1024, 2_700_000), 16 * 1024);
});

test('a stream that always has more does not keep others from their turn, nor timers from theirs', async () => {
  const readiness = new Readiness();
  const pipes = [createPipe(), createPipe()];
  const steps = [0, 0];
  try {
    for (const [i, pipe] of pipes.entries()) {
      fs.writeSync(pipe.write, 'x');
      readiness.add({
        fd: pipe.read,
        step: () => {
          steps[i]!++;
          return 'again';
        },
      });
    }
    const more = async (than: readonly number[]) => {
      const deadline = Date.now() + 10_000;
      while (steps.some((count, i) => count <= than[i]!) && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
      assert.ok(
        steps.every((count, i) => count > than[i]!),
        `${steps}, wanted more than ${than}`,
      );
    };
    // The one that is seen ready first may have many turns alone.
    await more([0, 0]);
    const before = [...steps];
    await more(before.map((count) => count + 10));
    const [first, second] = steps.map((count, i) => count - before[i]!);
    assert.ok(Math.abs(first! - second!) <= 1, `${steps} after ${before}`);
  } finally {
    await readiness.close();
    for (const { read, write } of pipes) for (const fd of [read, write]) fs.closeSync(fd);
  }
});

test('a process that ends without closing its epoll does not hang', async () => {
  const { spawnSync } = await import('node:child_process');
  const script = `import { openEpoll } from ${JSON.stringify(new URL('../linux/epoll.ts', import.meta.url).href)};
    openEpoll(); setTimeout(() => process.exit(7), 50);`;
  const { status, signal } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { timeout: 10_000 });
  assert.deepEqual({ status, signal }, { status: 7, signal: null });
});
