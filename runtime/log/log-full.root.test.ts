// A file system that is full: the log's, the run-dir's. Needs root to mount small tmpfs.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { MNT_DETACH } from '../linux/constants.ts';
import { syscall } from '../linux/syscall.ts';
import { type LogPump, openLogPump } from './pump.ts';
import { checkLines, numberedLine } from './testing/lines.ts';
import { makeRig, poll, type Rig, readStreams } from './testing/rig.ts';

const skip = process.getuid?.() === 0 ? false : 'mounting needs root';
let rig: Rig;
let pump: LogPump | undefined;
const mounts: string[] = [];

beforeEach(() => {
  rig = makeRig();
});
afterEach(async () => {
  await pump?.close();
  pump = undefined;
  for (const mount of mounts.splice(0)) syscall('umount2', mount, MNT_DETACH);
  assert.ok(!fs.readFileSync('/proc/self/mounts', 'latin1').includes(rig.logDir), 'no mount is left');
  rig.remove();
});

function mountTmpfs(dir: string, size: string): void {
  fs.mkdirSync(dir, { recursive: true });
  syscall('mount', 'tsk-test', dir, 'tmpfs', 0, `size=${size}`);
  mounts.push(dir);
}

const open = () => openLogPump({ runDir: rig.runDir, logger: rig.logger, startKeeper: rig.startKeeper });
const lines = (tag: string, count: number) => Array.from({ length: count }, (_, n) => `${numberedLine(tag, n)}\n`).join('');
const verdict = (count: number) => ({ lines: count, lost: 0, doubled: 0, malformed: 0, rest: '' });

for (const restart of [false, true]) {
  test(`a full log keeps its output, warns once, holds up no other log and goes on${restart ? ', also after a restart' : ''}`, {
    skip,
  }, async () => {
    const full = rig.container('full', ['stdout']);
    const fine = rig.container('fine', ['stdout']);
    mountTmpfs(path.dirname(full.logPath), '256k');
    pump = await open();
    await pump.add([...full.streams, ...fine.streams]);
    const writing = full.write(lines('full', 5500));
    await poll(
      () => rig.warnings.length,
      (count) => count === 1,
    );
    assert.match(JSON.stringify(rig.warnings[0]), /container log cannot be written/);
    await fine.write(lines('fine', 1000));
    await poll(
      () => checkLines('fine', readStreams(fine.logPath).stdout).lines,
      (count) => count === 1000,
    );
    if (restart) {
      await pump.close();
      pump = await open();
      await pump.add([...full.streams, ...fine.streams]);
    }
    const before = fs.statSync(full.logPath).size;
    assert.ok(before <= 256 * 1024);
    syscall('mount', 'none', path.dirname(full.logPath), 'tmpfs', 32, 'size=64m'); // MS_REMOUNT
    await writing;
    await pump.finish('full');
    assert.deepEqual(checkLines('full', readStreams(full.logPath).stdout), verdict(5500));
    assert.equal(rig.warnings.length, restart ? 2 : 1);
  });
}

test('a full log that is rotated goes on in the new file, with nothing twice', { skip }, async () => {
  const full = rig.container('full', ['stdout']);
  const dir = path.dirname(full.logPath);
  mountTmpfs(dir, '256k');
  pump = await open();
  await pump.add(full.streams);
  const writing = full.write(lines('full', 5500));
  await poll(
    () => rig.warnings.length,
    (count) => count === 1,
  );
  const rotated = `${full.logPath}.20250101-000000`;
  fs.renameSync(full.logPath, rotated);
  await pump.reopen('full');
  syscall('mount', 'none', dir, 'tmpfs', 32, 'size=64m');
  await writing;
  await pump.finish('full');
  assert.deepEqual(checkLines('full', readStreams(rotated, full.logPath).stdout), verdict(5500));
});

test('a full log does not keep a removed container for ever', { skip }, async () => {
  const full = rig.container('full', ['stdout']);
  mountTmpfs(path.dirname(full.logPath), '64k');
  pump = await open();
  await pump.add(full.streams);
  await full.write(lines('full', 2000));
  const removed = new AbortController();
  const finished = pump.finish('full', { signal: removed.signal });
  await poll(
    () => rig.warnings.length,
    (count) => count === 1,
  );
  removed.abort();
  await finished;
  assert.match(JSON.stringify(rig.warnings.at(-1)), /"bytes":\d+.*gave up on container output/);
});

test('a full run-dir and a full log at once block, and nothing is lost when there is room again', { skip }, async () => {
  const full = rig.container('full', ['stdout']);
  mountTmpfs(path.dirname(full.logPath), '256k');
  const runDir = path.join(rig.logDir, 'run');
  mountTmpfs(runDir, '16m');
  pump = await openLogPump({ runDir, logger: rig.logger, startKeeper: rig.startKeeper });
  await pump.add(full.streams);
  const ballast = fs.openSync(path.join(runDir, 'ballast'), 'w');
  try {
    for (;;) fs.writeSync(ballast, Buffer.alloc(4096));
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
  } finally {
    fs.closeSync(ballast);
  }
  const writing = full.write(lines('full', 5500));
  await poll(
    () => rig.warnings.length,
    (count) => count === 1,
  );
  syscall('mount', 'none', path.dirname(full.logPath), 'tmpfs', 32, 'size=64m');
  fs.rmSync(path.join(runDir, 'ballast'));
  await writing;
  await pump.finish('full');
  assert.deepEqual(checkLines('full', readStreams(full.logPath).stdout), verdict(5500));
});
