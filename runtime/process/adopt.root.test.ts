import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { openFifoToRead } from '../linux/pipe.ts';
import { isAlive, type ProcessIdentity } from '../state/process-identity.ts';
import { adoptContainer } from './container.ts';
import { openEvents } from './events.ts';
import { readExitFile } from './exit-file.ts';
import { findOurProcesses, killOurProcess } from './ours.ts';
import { killPauseProcess } from './pause.ts';
import { drain, skipReason } from './testing/rig.ts';

const skip = skipReason();

interface Left {
  readonly rig: string;
  readonly dir: string;
  readonly recordId: number;
  readonly pausePid: number;
  readonly shim: ProcessIdentity;
  readonly initPid: number;
}

/** Starts a daemon with a container, kills it with SIGKILL once the container runs, and gives what it left. */
async function killedDaemon(script: string, stdin = 'null'): Promise<Left> {
  const daemon: ChildProcess = spawn(process.execPath, [path.join(import.meta.dirname, 'testing/daemon.ts'), script, stdin], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (daemon.stdout === null) throw new Error('no output');
  const [line] = await Promise.race([
    readline
      .createInterface(daemon.stdout)
      [Symbol.asyncIterator]()
      .next()
      .then(({ value }) => [value as string]),
    delay(20_000, undefined, { ref: false }).then(() => [undefined]),
  ]);
  const gone = new Promise((resolve) => daemon.once('exit', resolve));
  daemon.kill('SIGKILL');
  await gone;
  assert.ok(line !== undefined, 'the daemon did not start its container');
  return JSON.parse(line) as Left;
}

async function cleanUp({ rig, shim, pausePid }: Left): Promise<void> {
  await killOurProcess({ kind: 'shim', name: '', identity: shim });
  await killPauseProcess(pausePid);
  fs.rmSync(rig, { recursive: true, force: true });
}

const adopt = (left: Left, events: ReturnType<typeof openEvents>) =>
  adoptContainer({ events, recordId: left.recordId, shim: left.shim, exitFile: path.join(left.dir, 'exit') });

test('a container outlives its daemon: the next one adopts it, signals it and learns its exit code', { skip }, async () => {
  const left = await killedDaemon('read line; echo got $line; exit 17', 'fifo');
  const events = openEvents(path.join(left.rig, 'events'));
  try {
    const container = await adopt(left, events);
    assert.ok(container !== undefined);
    assert.deepEqual([container.initPid, container.shimPid], [left.initPid, left.shim.pid]);
    const output = openFifoToRead(path.join(left.dir, 'stdout'));
    fs.writeFileSync(path.join(left.dir, 'stdin'), 'after the restart\n');
    const exit = await container.exited;
    assert.deepEqual([exit?.code, exit?.signal], [17, 0]);
    assert.equal(drain(output), 'got after the restart\n');
    fs.closeSync(output);
    await container.release();
    assert.ok(!isAlive(left.shim));
  } finally {
    events.close();
    await cleanUp(left);
  }
});

test('a container that ended while no daemon ran has its exit code and its output', { skip }, async () => {
  const left = await killedDaemon('read line; echo last words; exit 23', 'fifo');
  fs.writeFileSync(path.join(left.dir, 'stdin'), 'now\n');
  const exitFile = path.join(left.dir, 'exit');
  for (const deadline = Date.now() + 5000; readExitFile(exitFile) === undefined; await delay(5)) assert.ok(Date.now() < deadline);
  const events = openEvents(path.join(left.rig, 'events'));
  try {
    const container = await adopt(left, events);
    assert.ok(container !== undefined, 'its shim holds the output');
    const output = openFifoToRead(path.join(left.dir, 'stdout'));
    assert.equal((await container.exited)?.code, 23);
    assert.equal(drain(output), 'last words\n');
    fs.closeSync(output);
    assert.equal(container.kill(9), false);
    await container.release();
  } finally {
    events.close();
    await cleanUp(left);
  }
});

test('a container whose shim was killed ends with the kernel’s word, or with none', { skip }, async () => {
  const left = await killedDaemon('read line; exit 5', 'fifo');
  const events = openEvents(path.join(left.rig, 'events'));
  try {
    const container = await adopt(left, events);
    assert.ok(container !== undefined);
    // The FIFO's writer goes with the shim: another one holds it until then.
    const stdin = fs.openSync(path.join(left.dir, 'stdin'), 'r+');
    process.kill(left.shim.pid, 'SIGKILL');
    for (const deadline = Date.now() + 5000; isAlive(left.shim); await delay(5)) assert.ok(Date.now() < deadline);
    await delay(1500); // the watch has moved on to init itself
    fs.writeSync(stdin, 'end\n');
    const exit = await container.exited;
    assert.ok(
      exit === undefined || exit.code === 5,
      JSON.stringify(exit, (_, value) => (typeof value === 'bigint' ? String(value) : value)),
    );
    fs.closeSync(stdin);
    await container.release();
  } finally {
    events.close();
    await cleanUp(left);
  }
});

test('a new daemon finds its shims and pause processes by the event FIFO, and no other node’s', { skip }, async () => {
  const [mine, other] = await Promise.all([killedDaemon('sleep 1000'), killedDaemon('sleep 1000')]);
  const events = openEvents(path.join(mine.rig, 'events'));
  try {
    const found = findOurProcesses(events);
    assert.deepEqual(found.map(({ kind, name }) => [kind, name]).sort(), [
      ['pause', 'sandbox'],
      ['shim', `container-${mine.recordId}`],
    ]);
    assert.ok(found.every(({ identity }) => [mine.shim.pid, mine.pausePid].includes(identity.pid)));
    assert.equal(
      await adoptContainer({ events, recordId: 1, shim: { ...mine.shim, startTime: '1' }, exitFile: '/nonexistent' }),
      undefined,
    );
  } finally {
    events.close();
    for (const left of [mine, other]) {
      process.kill(left.initPid, 'SIGKILL');
      await cleanUp(left);
    }
  }
});
