import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { PauseProcess } from './pause.ts';
import { Rig, skipReason } from './testing/rig.ts';

const skip = skipReason();
let rig: Rig;
let pause: PauseProcess;

before(async () => {
  if (skip) return;
  rig = new Rig();
  pause = await rig.pause();
});
after(async () => {
  if (!skip) await rig.close();
});

test('a container runs its command as PID 1, writes to both streams and gives its exit code', { skip }, async () => {
  const ran = await rig.run(rig.spec(['sh', '-c', 'echo $$; echo oops >&2; exit 7']), pause);
  assert.deepEqual(
    { ...ran, exit: { ...ran.exit, finishedAt: 0n } },
    { exit: { code: 7, signal: 0, finishedAt: 0n }, stdout: '1\n', stderr: 'oops\n' },
  );
});
