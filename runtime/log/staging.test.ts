// What is left when the daemon and the keeper of the staging pipe die at the same moment.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { bootId } from '../state/process-identity.ts';
import { openJournal } from './journal.ts';
import { openLogPump } from './pump.ts';
import { makeRig, poll, type Rig, readStreams } from './testing/rig.ts';

let rig: Rig;
beforeEach(() => {
  rig = makeRig();
});
afterEach(() => rig.remove());

const open = () => openLogPump({ runDir: rig.runDir, logger: rig.logger, startKeeper: rig.startKeeper });

/** Leaves a batch open in the journal as a killed daemon does, with the keeper gone. */
async function leaveBatch(noted: number, read: string): Promise<ReturnType<Rig['container']>> {
  const web = rig.container('web', ['stdout']);
  const pump = await open();
  await pump.add(web.streams);
  await web.write('before\n');
  await poll(
    () => readStreams(web.logPath).stdout,
    (stdout) => stdout !== '',
  );
  await pump.close();
  process.kill(rig.keepers()[0]!, 'SIGKILL');
  const journal = openJournal(path.join(rig.runDir, 'log-journal'));
  journal.adopt(bootId());
  journal.openBatch(0, 0, 'move');
  if (noted > 0) {
    journal.timestamp.write('2025-01-01T00:00:00.000000000Z');
    journal.noteBytes(noted);
    journal.bytes.write(read, journal.batchStart);
    journal.noteDone(read.length);
  }
  journal.close();
  await poll(
    () => fs.existsSync(`/proc/${rig.keepers()[0]}/exe`),
    (alive) => !alive,
  );
  return web;
}

test('bytes that were read are written, those that were only staged are reported with their stream and number', async () => {
  const web = await leaveBatch(100, 'arrived\n');
  const pump = await open();
  assert.deepEqual(rig.warnings, [
    {
      fields: { containerId: 'web', stream: 'stdout', bytes: 92 },
      message: 'tskubelet and the keeper of the log staging pipe ended together: output that was on its way to the log is lost',
    },
  ]);
  await pump.add(web.streams);
  await web.write('after\n');
  await pump.finish('web');
  await pump.close();
  assert.equal(readStreams(web.logPath).stdout, 'before\narrived\nafter\n');
});

test('a batch of which not even the size was noted is reported as possibly lost', async () => {
  const web = await leaveBatch(0, '');
  const pump = await open();
  assert.deepEqual(rig.warnings[0]?.fields, { containerId: 'web', stream: 'stdout', bytes: 'up to 262144' });
  await pump.add(web.streams);
  await pump.finish('web');
  await pump.close();
  assert.equal(readStreams(web.logPath).stdout, 'before\n');
});

test('a journal of an earlier boot is begun afresh', async () => {
  const web = await leaveBatch(100, 'stale\n');
  const journal = openJournal(path.join(rig.runDir, 'log-journal'));
  journal.adopt('00000000-0000-0000-0000-000000000000');
  journal.close();
  const pump = await open();
  assert.deepEqual(rig.warnings, []);
  await pump.add(web.streams);
  await web.write('new\n');
  await pump.finish('web');
  await pump.close();
  assert.equal(readStreams(web.logPath).stdout, 'before\nnew\n');
});
