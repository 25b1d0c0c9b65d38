import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { MAX_LOGS, openJournal } from './journal.ts';
import { type LogPump, openLogPump } from './pump.ts';
import { makeRig, poll, type Rig, readStreams } from './testing/rig.ts';

let rig: Rig;
const open: LogPump[] = [];

async function openPump(): Promise<LogPump> {
  const pump = await openLogPump({ runDir: rig.runDir, logger: rig.logger, startKeeper: rig.startKeeper });
  open.push(pump);
  return pump;
}

async function closePump(pump: LogPump): Promise<void> {
  open.splice(open.indexOf(pump), 1);
  await pump.close();
}

beforeEach(() => {
  rig = makeRig();
});
afterEach(async () => {
  for (const pump of open.splice(0)) await pump.close();
  rig.remove();
});

test('both streams of a container go to one log file, mode 0640, in the order they are read', async () => {
  const pump = await openPump();
  const web = rig.container('web');
  await pump.add(web.streams);
  await web.write('one\ntwo\n');
  await web.write('oops\n', 'stderr');
  await poll(
    () => readStreams(web.logPath),
    ({ stdout, stderr }) => stdout === 'one\ntwo\n' && stderr === 'oops\n',
  );
  assert.equal(fs.statSync(web.logPath).mode & 0o7777, 0o640);
});

test('finish drains what waits in the FIFO and writes an unfinished last line as P, so that readers add no newline', async () => {
  const pump = await openPump();
  const web = rig.container('web');
  await pump.add(web.streams);
  await web.write('whole\nhalf');
  await web.write('of stderr', 'stderr');
  await pump.finish('web');
  assert.deepEqual(readStreams(web.logPath), { stdout: 'whole\nhalf', stderr: 'of stderr' });
  assert.match(fs.readFileSync(web.logPath, 'latin1'), /stdout P half\n/);
  await pump.finish('web');
  await pump.finish('never heard of');
});

test('a pump that is opened again goes on in the same file with the unfinished line it left', async () => {
  const web = rig.container('web');
  const first = await openPump();
  await first.add(web.streams);
  await web.write('one\nbegin ');
  await poll(
    () => readStreams(web.logPath).stdout,
    (stdout) => stdout === 'one\n',
  );
  await closePump(first);
  await web.write('end\n');
  const second = await openPump();
  await second.add(web.streams);
  await second.finish('web');
  assert.equal(readStreams(web.logPath).stdout, 'one\nbegin end\n');
  assert.deepEqual(rig.warnings, []);
});

test('closing ends the keeper only when no log is open', async () => {
  const web = rig.container('web');
  const first = await openPump();
  await first.add(web.streams);
  await closePump(first);
  const second = await openPump();
  assert.equal(rig.keepers().length, 1, 'the first keeper still holds the staging pipe');
  await second.add(web.streams);
  await second.finish('web');
  await closePump(second);
  await openPump();
  assert.equal(rig.keepers().length, 2);
});

test('a keeper that ends is replaced at once', async () => {
  const pump = await openPump();
  process.kill(rig.keepers()[0]!, 'SIGKILL');
  await poll(
    () => rig.keepers().length,
    (count) => count === 2,
  );
  const web = rig.container('web');
  await pump.add(web.streams);
  await web.write('still here\n');
  await pump.finish('web');
  assert.equal(readStreams(web.logPath).stdout, 'still here\n');
});

test('reopen goes on in a new file at the same path, in the middle of a line too', async () => {
  const pump = await openPump();
  const web = rig.container('web');
  await pump.add(web.streams);
  await web.write('old\nbegin ');
  await poll(
    () => readStreams(web.logPath).stdout,
    (stdout) => stdout === 'old\n',
  );
  const rotated = `${web.logPath}.20250101-000000`;
  fs.renameSync(web.logPath, rotated);
  await pump.reopen('web');
  assert.ok(fs.existsSync(web.logPath));
  await pump.reopen('web');
  await web.write('end\n');
  await pump.finish('web');
  assert.equal(readStreams(rotated).stdout, 'old\n');
  assert.equal(readStreams(web.logPath).stdout, 'begin end\n');
});

test('a reopen that fails leaves the old file in use', async () => {
  const pump = await openPump();
  const web = rig.container('web');
  await pump.add(web.streams);
  await web.write('old\n');
  await poll(
    () => readStreams(web.logPath).stdout,
    (stdout) => stdout === 'old\n',
  );
  fs.renameSync(web.logPath, `${web.logPath}.1`);
  fs.mkdirSync(web.logPath);
  await assert.rejects(pump.reopen('web'), { code: 'EISDIR' });
  await assert.rejects(pump.reopen('nobody'), /container nobody has no open log/);
  await web.write('goes on\n');
  await pump.finish('web');
  assert.equal(readStreams(`${web.logPath}.1`).stdout, 'old\ngoes on\n');
});

test('a log that was renamed while no pump ran goes on in a new file', async () => {
  const web = rig.container('web');
  const first = await openPump();
  await first.add(web.streams);
  await web.write('old\nbegin ');
  await poll(
    () => readStreams(web.logPath).stdout,
    (stdout) => stdout === 'old\n',
  );
  await closePump(first);
  fs.renameSync(web.logPath, `${web.logPath}.1`);
  const second = await openPump();
  await second.add(web.streams);
  await web.write('end\n');
  await second.finish('web');
  assert.equal(readStreams(web.logPath).stdout, 'begin end\n');
});

test('a log folder that vanished is made again', async () => {
  const pump = await openPump();
  const web = rig.container('web');
  await pump.add(web.streams);
  await web.write('lost with its folder\n');
  await poll(
    () => readStreams(web.logPath).stdout,
    (stdout) => stdout !== '',
  );
  fs.rmSync(path.dirname(web.logPath), { recursive: true });
  await web.write('noticed\n');
  await poll(() => fs.existsSync(web.logPath), Boolean);
  await web.write('again\n');
  await poll(
    () => readStreams(web.logPath).stdout,
    (stdout) => stdout === 'again\n',
  );
});

test('a log that someone truncates goes on at its end, without a hole', async () => {
  const pump = await openPump();
  const web = rig.container('web');
  await pump.add(web.streams);
  await web.write('gone\n');
  await poll(
    () => readStreams(web.logPath).stdout,
    (stdout) => stdout !== '',
  );
  fs.truncateSync(web.logPath, 0);
  await web.write('new\n');
  await pump.finish('web');
  assert.equal(readStreams(web.logPath).stdout, 'new\n');
});

test('a log path that is a symbolic link is not followed', async () => {
  const pump = await openPump();
  const web = rig.container('web');
  const victim = path.join(rig.logDir, 'victim');
  fs.writeFileSync(victim, 'untouched');
  fs.mkdirSync(path.dirname(web.logPath));
  fs.symlinkSync(victim, web.logPath);
  await assert.rejects(pump.add(web.streams), { code: 'ELOOP' });
  assert.equal(fs.readFileSync(victim, 'latin1'), 'untouched');
});

test('a second pump on the same run-dir is refused', async () => {
  await openPump();
  await assert.rejects(openPump(), /log-journal is in use by another tskubelet/);
});

test('processes outside the container are read until they close its pipe', async () => {
  const pump = await openPump();
  const web = rig.container('web', ['stdout']);
  await pump.add(web.streams);
  await web.write('init ended\n');
  const finished = pump.finish('web', { othersMayWrite: true });
  await poll(
    () => readStreams(web.logPath).stdout,
    (stdout) => stdout === 'init ended\n',
  );
  await web.write('a stranger\n');
  web.letGo();
  await finished;
  assert.equal(readStreams(web.logPath).stdout, 'init ended\na stranger\n');
});

test('processes outside the container that keep its pipe are left after two seconds', async () => {
  const pump = await openPump();
  const web = rig.container('web', ['stdout']);
  await pump.add(web.streams);
  const start = performance.now();
  await pump.finish('web', { othersMayWrite: true });
  const took = performance.now() - start;
  assert.ok(took > 1900, `took ${took} ms`);
});

test('the slots of finished containers are used again, and one more log than fits is refused with a sentence', async () => {
  const pump = await openPump();
  const first = rig.container('first', ['stdout']);
  await pump.add(first.streams);
  for (let i = 1; i < MAX_LOGS; i++) {
    // Only slots are counted here: one FIFO serves all.
    await pump.add([{ ...first.streams[0]!, containerId: `c${i}`, logPath: path.join(rig.logDir, `c${i}.log`) }]);
  }
  const web = rig.container('web', ['stdout']);
  await assert.rejects(pump.add(web.streams), /output of container web: 1024 container logs are open/);
  await pump.finish('c500');
  await pump.add(web.streams);
  await web.write('fits now\n');
  await pump.finish('web');
  assert.equal(readStreams(web.logPath).stdout, 'fits now\n');
});

test('slots of containers that vanished while no pump ran are taken back when they are needed', async () => {
  const pump = await openPump();
  await closePump(pump);
  const journal = openJournal(path.join(rig.runDir, 'log-journal'));
  for (let slot = 0; slot < MAX_LOGS; slot++) {
    const record = { inode: 1n, length: 0, carry: [0, 0], half: [0, 0], parked: 0, unparked: 0, parkedStream: 0 } as const;
    journal.take(slot, { containerId: `gone${slot}`, logPath: '/nonexistent/log', fifoPaths: ['/nonexistent/fifo'] }, record);
  }
  journal.close();
  const next = await openPump();
  const web = rig.container('web');
  await next.add(web.streams);
  await web.write('room\n');
  await next.finish('web');
  assert.equal(readStreams(web.logPath).stdout, 'room\n');
});
