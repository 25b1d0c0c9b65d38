import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { openPidfd, sendSignal, waitEnded } from '../linux/pidfd.ts';
import { bytesInPipe, makeFifo, openFifoToHold } from '../linux/pipe.ts';
import { keeperStarter } from './keeper.ts';
import { makeRig, poll } from './testing/rig.ts';

test('the keeper holds the staging pipe and its content when its maker lets go, in a session of its own, hardly using memory', async () => {
  const rig = makeRig();
  const fifo = path.join(rig.runDir, 'pipe');
  makeFifo(fifo, 0o600);
  const maker = openFifoToHold(fifo);
  const pid = await keeperStarter({ v1Procs: [] })(maker);
  const pidfd = openPidfd(pid);
  try {
    fs.writeSync(maker, 'staged');
    fs.closeSync(maker);
    const later = openFifoToHold(fifo);
    assert.equal(bytesInPipe(later), 6);
    fs.closeSync(later);
    // It has told that it runs before it closes what it told that with.
    await poll(
      () => fs.readdirSync(`/proc/${pid}/fd`).join(),
      (open) => open === '5',
    );
    const stat = fs
      .readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /, '')
      .split(' ');
    assert.equal(Number(stat[3]), pid, 'its session is its own');
    const status = fs.readFileSync(`/proc/${pid}/status`, 'latin1');
    assert.match(status, /^Name:\ttskubelet-keep$/m);
    // All but SIGKILL and SIGSTOP, which cannot be blocked.
    assert.match(status, /^SigBlk:\tfffffffffffbfeff$/m);
    assert.ok(Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) <= 64, status);
  } finally {
    sendSignal(pidfd, 9);
    assert.ok(await waitEnded(pidfd, 2000));
    fs.closeSync(pidfd);
    rig.remove();
  }
});

test('a keeper that cannot join its cgroup is reported and leaves no process', async () => {
  const rig = makeRig();
  const fifo = path.join(rig.runDir, 'pipe');
  makeFifo(fifo, 0o600);
  const maker = openFifoToHold(fifo);
  try {
    await assert.rejects(
      keeperStarter({ v1Procs: ['/nonexistent/cgroup.procs'] })(maker),
      /openat\(.*"\/nonexistent\/cgroup.procs".*ENOENT/,
    );
  } finally {
    fs.closeSync(maker);
    rig.remove();
  }
});
