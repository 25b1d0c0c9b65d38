import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { computeStatusEvents } from '../event/status-events.ts';
import { makeDesired, makePod, World } from '../pod/testing/model.ts';
import { decodeRecord, readRecord, writeRecord } from './record.ts';

const condition = (world: World, type: string) => world.plan().status?.conditions?.find((candidate) => candidate.type === type);

test('the phase goes from Pending to Running, the conditions with it, each keeping the time of its change', () => {
  const world = new World(makeDesired(makePod('Always')));
  const before = world.plan().status;
  assert.equal(before?.phase, 'Pending');
  assert.equal(before?.containerStatuses?.[0]?.state?.waiting?.reason, 'ContainerCreating');
  world.settle();
  const after = world.plan().status;
  assert.deepEqual(
    after?.conditions?.map(({ type, status }) => `${type}=${status}`),
    ['PodReadyToStartContainers=True', 'Initialized=True', 'Ready=True', 'ContainersReady=True', 'PodScheduled=True'],
  );
  const readySince = condition(world, 'Ready')?.lastTransitionTime;
  world.nowMs += 60_000;
  assert.deepEqual(condition(world, 'Ready')?.lastTransitionTime, readySince);
  assert.deepEqual(world.plan().status?.startTime, before?.startTime);
  assert.equal(after?.podIP, '10.244.0.2');
  assert.equal(after?.hostIP, '192.0.2.10');
  assert.equal(after?.qosClass, 'BestEffort');
});

test('a pod that is not ready names the containers that are not', () => {
  const world = new World(makeDesired(makePod('OnFailure', ['a', 'b'])));
  world.settle();
  world.exit('a', 0);
  const ready = condition(world, 'Ready');
  assert.equal(ready?.status, 'False');
  assert.equal(ready?.message, 'containers with unready status: [a]');
  assert.equal(world.plan().status?.phase, 'Running');
});

test("a pod in the host's network has the host's address", () => {
  const world = new World(makeDesired(makePod('Always', ['web'], { hostNetwork: true })));
  world.settle();
  assert.equal(world.plan().status?.podIP, '192.0.2.10');
});

test('a finished pod keeps its address and its end for good', () => {
  const world = new World(makeDesired(makePod('Never')));
  world.settle();
  world.exit('web', 9);
  world.settle();
  const { status } = world.plan();
  assert.equal(status?.podIP, '10.244.0.2');
  assert.equal(status?.containerStatuses?.[0]?.state?.terminated?.exitCode, 9);
  assert.equal(status?.conditions?.find(({ type }) => type === 'Ready')?.reason, 'PodFailed');
});

test('an OOM kill is named in the state and in the last state', () => {
  const world = new World(makeDesired(makePod('Always')));
  world.settle();
  world.exit('web', 137, 'OOMKilled');
  assert.equal(world.plan().status?.containerStatuses?.[0]?.state?.terminated?.reason, 'OOMKilled');
  world.settle();
  const status = world.plan().status?.containerStatuses?.[0];
  assert.ok(status?.state?.running);
  assert.equal(status.lastState?.terminated?.reason, 'OOMKilled');
  assert.equal(status.restartCount, 1);
});

test('a program that cannot be started waits with the sentence of the runtime', () => {
  const world = new World(makeDesired(makePod('Always')));
  world.settle();
  for (let i = 0; i < 2; i++) {
    world.exit('web', 128, 'StartError');
    world.change(world.newest('web').id, { message: 'exec "/nope": ENOENT (no such file or directory)' });
    world.settle();
  }
  const waiting = world.plan().status?.containerStatuses?.[0]?.state?.waiting;
  assert.equal(waiting?.reason, 'RunContainerError');
  assert.equal(waiting?.message, 'exec "/nope": ENOENT (no such file or directory); next try after 10s');
});

test('an end and a back-off are news once', () => {
  const world = new World(makeDesired(makePod('Always')));
  world.settle();
  const running = world.plan().status;
  world.exit('web', 1);
  const ended = world.plan().status;
  assert.ok(running && ended);
  assert.deepEqual(
    computeStatusEvents(running, ended, false).map(({ reason, message }) => [reason, message]),
    [['Error', 'Container web ended with exit code 1 (Error)']],
  );
  assert.deepEqual(
    [false, true].map((removed) => computeStatusEvents(running, ended, removed)[0]?.type),
    ['Warning', 'Normal'],
    'a container that we end is no warning',
  );
  assert.deepEqual(computeStatusEvents(ended, ended, false), []);
  world.settle();
  const again = world.plan().status;
  world.exit('web', 1);
  world.settle();
  const waiting = world.plan().status;
  assert.ok(again && waiting);
  assert.deepEqual(
    computeStatusEvents(again, waiting, false).map(({ reason }) => reason),
    ['Error', 'BackOff'],
  );
  assert.deepEqual(computeStatusEvents(undefined, waiting, false), []);
});

test('a record comes back as it was written, and a torn one counts as none', async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'tsk-record-'));
  try {
    const world = new World(makeDesired(makePod('Always')));
    world.settle();
    const record = { uid: 'u', namespace: 'n', name: 'p', hash: 'h', originFile: '/f', released: false, status: world.plan().status! };
    await writeRecord(path.join(directory, 'u'), record, { durable: true });
    assert.deepEqual(await readRecord(path.join(directory, 'u')), record);
    assert.equal(await readRecord(path.join(directory, 'none')), undefined);
    assert.equal(decodeRecord('{"uid":"u","ha'), undefined);
    assert.equal(decodeRecord('[]'), undefined);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
});
