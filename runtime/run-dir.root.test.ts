import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { trySyscall } from './linux/syscall.ts';
import { lockDirectory } from './lock.ts';
import { openRunDir } from './run-dir.ts';

const TMPFS_MAGIC = 0x01021994;
let base = '';
let rootDir = '';
let runDir = '';

const skip =
  process.getuid?.() !== 0
    ? 'needs root'
    : fs.statfsSync(os.tmpdir()).type === TMPFS_MAGIC
      ? 'the temporary directory is a tmpfs already'
      : false;

const isMounted = (directory: string) => fs.readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${directory} `);

beforeEach(() => {
  base = fs.mkdtempSync(path.join(os.tmpdir(), 'run-dir-'));
  rootDir = path.join(base, 'root');
  runDir = path.join(base, 'run');
  fs.mkdirSync(rootDir);
});

afterEach(() => {
  for (const name of ['run', 'other']) while (isMounted(path.join(base, name))) trySyscall('umount2', path.join(base, name), 2);
  fs.rmSync(base, { recursive: true, force: true });
});

test('a run-dir elsewhere than on a tmpfs becomes one, once, and goes without a trace', { skip }, () => {
  openRunDir(runDir, rootDir);
  assert.equal(fs.statfsSync(runDir).type, TMPFS_MAGIC);
  fs.writeFileSync(path.join(runDir, 'events'), '');
  const again = openRunDir(runDir, rootDir);
  assert.ok(fs.existsSync(path.join(runDir, 'events')), 'a second start finds what the first one left');
  again.empty();
  again.remove();
  assert.ok(!isMounted(runDir) && !fs.existsSync(runDir));
  assert.deepEqual(fs.readdirSync(rootDir), []);
});

test('the mount is noted before it is made: a start that died in between is repeated', { skip }, () => {
  fs.writeFileSync(path.join(rootDir, 'run-dir.json'), JSON.stringify({ mounted: runDir }));
  openRunDir(runDir, rootDir).remove();
  assert.ok(!fs.existsSync(runDir));
});

test('a run-dir goes also while a file of it is open', { skip }, () => {
  const run = openRunDir(runDir, rootDir);
  const events = fs.openSync(path.join(runDir, 'events'), 'w');
  run.empty();
  run.remove();
  fs.closeSync(events);
  assert.ok(!isMounted(runDir) && !fs.existsSync(runDir));
});

test('another run-dir for the same root-dir is refused while the first one is there', { skip }, () => {
  openRunDir(runDir, rootDir);
  assert.throws(() => openRunDir(path.join(base, 'other'), rootDir), {
    message: `what ${rootDir} holds was started with --run-dir ${runDir}: use that one again, or another --root-dir`,
  });
});

test('what is not ours in a run-dir on a tmpfs stays', { skip: skip || !fs.existsSync('/dev/shm') }, () => {
  const shared = fs.mkdtempSync('/dev/shm/run-dir-');
  try {
    const run = openRunDir(shared, rootDir);
    for (const name of ['events', 'mine']) fs.writeFileSync(path.join(shared, name), '');
    run.empty();
    run.remove();
    assert.deepEqual(fs.readdirSync(shared), ['mine']);
  } finally {
    fs.rmSync(shared, { recursive: true });
  }
});

test('the second daemon on a directory is told the pid of the first', { skip }, () => {
  const lock = lockDirectory(rootDir, '--root-dir');
  assert.throws(() => lockDirectory(rootDir, '--root-dir'), {
    message: `${rootDir} is in use by the tskubelet with pid ${process.pid}; stop it or choose another --root-dir`,
  });
  lock.release();
  lockDirectory(rootDir, '--root-dir').release();
});
