import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { added, assertNoLeaks, snapshot } from './leaks.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const directory = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'tsk-leaks-')));
const cgroup = fs.existsSync('/sys/fs/cgroup/unified')
  ? `/sys/fs/cgroup/unified/tsk-test-${process.pid}`
  : `/sys/fs/cgroup/tsk-test-${process.pid}`;
const scope = { directories: [directory], cgroups: [cgroup] };
after(() => fs.rmSync(directory, { recursive: true, force: true }));

test('added counts repetitions', () => {
  assert.deepEqual(added(['a', 'b'], ['b', 'a', 'a', 'c']), ['a', 'c']);
});

test('assertNoLeaks passes when everything is undone', { skip }, async () => {
  const before = snapshot(scope);
  const fd = fs.openSync(path.join(directory, 'file'), 'w');
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  fs.closeSync(fd);
  child.kill('SIGKILL');
  await once(child, 'exit');
  await assertNoLeaks(before);
});

for (const [what, leak, undo] of [
  ['mount', () => execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', directory]), () => execFileSync('umount', [directory])],
  ['cgroup', () => fs.mkdirSync(cgroup), () => fs.rmdirSync(cgroup)],
] as const)
  test(`assertNoLeaks names a ${what} left behind`, { skip }, async () => {
    const before = snapshot(scope);
    leak();
    try {
      await assert.rejects(assertNoLeaks(before, 50), new RegExp(`left behind:\n {2}${what} ${what === 'cgroup' ? cgroup : directory}`));
    } finally {
      undo();
    }
    await assertNoLeaks(before);
  });

test('assertNoLeaks names a process and a descriptor left behind', { skip }, async () => {
  const before = snapshot(scope);
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  const fd = fs.openSync(path.join(directory, 'kept'), 'w');
  await assert.rejects(
    assertNoLeaks(before, 50),
    (error: Error) => /process \d+ \(sleep, S\)/.test(error.message) && /descriptor .*\/kept/.test(error.message),
  );
  child.kill('SIGKILL');
  fs.closeSync(fd);
  await assertNoLeaks(before);
});
