import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { CriCallError } from '../../cri-proto/client.ts';
import { createEventLog } from '../event/events.ts';
import { ImagePulls } from '../image/pulls.ts';
import { noPodCgroups } from '../resource/pod-cgroups.ts';
import type { DesiredPod, SourceUpdate } from '../source/source.ts';
import { AGENT_NODE, ORIGIN_FILE } from './labels.ts';
import { Observer } from './observe.ts';
import { Pods } from './pods.ts';
import { followRuntime } from './runtime-events.ts';
import { FakeRuntime } from './testing/fake-runtime.ts';
import { makeDesired, makePod, NODE, UID } from './testing/model.ts';

const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const base = fs.mkdtempSync(path.join(os.tmpdir(), 'tsk-pods-'));
const closers: (() => Promise<void>)[] = [];
after(async () => {
  for (const close of closers) await close();
  fs.rmSync(base, { recursive: true, force: true });
});

let count = 0;

async function openPods(runtime = new FakeRuntime(), root = path.join(base, String(count++))) {
  const paths = { podsDir: path.join(root, 'pods'), logDir: path.join(root, 'log') };
  const host = { servers: [], searches: [], options: [] };
  const events = createEventLog(silent);
  const closing = new AbortController();
  const pods = new Pods({
    node: {
      ...{ cri: runtime.client, cgroups: noPodCgroups, events, logger: silent, facts: NODE, pulls: new ImagePulls(runtime.client) },
      config: {
        nodeName: NODE.nodeName,
        hostIps: NODE.hostIps,
        memoryBytes: 1n << 33n,
        mapsTmpfs: true,
        clusterDomain: 'cluster.local',
        paths,
      },
      credentialsFor: async () => [],
      dnsSources: async () => ({ host, clusterServers: ['10.244.0.1'], clusterDomain: 'cluster.local' }),
      observer: new Observer(runtime.client, paths),
      ...{ onStarted: () => undefined, onPulled: () => undefined, onSync: () => undefined, onRunning: () => undefined },
    },
    expectedSources: ['files'],
    onDesired: () => undefined,
  });
  await pods.start(closing.signal);
  const following = followRuntime({ cri: runtime.client, pods, logger: silent, signal: closing.signal });
  const close = async () => {
    closing.abort();
    await pods.close();
    await following;
  };
  closers.push(close);
  const set = (...desired: DesiredPod[]) => pods.update('files', { pods: desired, problems: [] });
  return { pods, runtime, root, paths, events, set, close };
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`not within 10 s: ${what}`);
    await delay(5);
  }
}

const phase = (pods: Pods, uid = UID) => pods.worker(uid)?.status?.phase;
const named = (name: string, uid: string, policy = 'Always', hash = 'one'): DesiredPod => {
  const pod = makePod(policy);
  return makeDesired({ ...pod, metadata: { ...pod.metadata, name, uid } }, hash);
};

test('a manifest becomes a running pod, and nothing when it is removed', async () => {
  const { pods, runtime, paths, events, set } = await openPods();
  set(makeDesired(makePod('Always')));
  await until('running', () => phase(pods) === 'Running');
  assert.deepEqual(runtime.calls, ['runPodSandbox web 0', 'createContainer web 0', 'startContainer web']);
  const view = pods.worker(UID)?.view();
  assert.equal(view?.status?.podIP, '10.244.0.7');
  assert.match(view?.status?.containerStatuses?.[0]?.containerID ?? '', /^tskubelet:\/\/container-/);
  assert.match(fs.readFileSync(path.join(paths.podsDir, UID, 'etc-hosts'), 'utf8'), /10\.244\.0\.7\tweb/);
  assert.deepEqual(
    events.list().map(({ reason }) => reason),
    ['Pulled', 'Created', 'Started'],
  );
  set();
  await until('gone', () => pods.list().length === 0);
  assert.deepEqual(runtime.calls.slice(3, 6), ['stopContainer web 30', 'stopPodSandbox sandbox-1', 'removeContainer web']);
  assert.equal(runtime.sandboxes.size + runtime.containers.size, 0);
  assert.equal(fs.existsSync(path.join(paths.podsDir, UID)), false);
  assert.equal(fs.existsSync(path.join(paths.logDir, `default_web_${UID}`)), false);
});

test('an event of the runtime restarts an ended container at once', async () => {
  const { pods, runtime, events, set } = await openPods();
  set(makeDesired(makePod('Always')));
  await until('running', () => phase(pods) === 'Running');
  runtime.exit(runtime.find('web'), 3);
  await until('restarted', () => runtime.calls.includes('createContainer web 1'));
  await until('counted', () => pods.worker(UID)?.status?.containerStatuses?.[0]?.restartCount === 1);
  const status = pods.worker(UID)?.status?.containerStatuses?.[0];
  assert.equal(status?.lastState?.terminated?.exitCode, 3);
  assert.ok(events.list().some(({ message }) => message === 'Container web ended with exit code 3 (Error)'));
});

test('a pod that hangs in the runtime holds up no other, and an end interrupts its start', async () => {
  const { pods, runtime, set } = await openPods();
  const gate = Promise.withResolvers<void>();
  runtime.held.set('pullImage', gate.promise);
  const slow = named('slow', 'uid-slow');
  slow.pod.spec!.containers[0]!.image = 'example.com/large:1';
  set(slow, named('quick', 'uid-quick'));
  await until('quick runs', () => phase(pods, 'uid-quick') === 'Running');
  assert.equal(phase(pods, 'uid-slow'), 'Pending');
  set(named('quick', 'uid-quick'));
  gate.resolve();
  await until('slow is gone', () => pods.worker('uid-slow') === undefined);
  assert.ok(!runtime.calls.includes('createContainer slow 0'));
});

test('a new agent takes up running pods, keeps their restart counts, and starts nothing twice', async () => {
  const first = await openPods();
  first.set(makeDesired(makePod('Always')));
  await until('running', () => phase(first.pods) === 'Running');
  first.runtime.exit(first.runtime.find('web'), 1);
  await until('restarted', () => first.pods.worker(UID)?.status?.containerStatuses?.[0]?.restartCount === 1);
  await until('running again', () => first.pods.worker(UID)?.status?.containerStatuses?.[0]?.state?.running !== undefined);
  const startTime = first.pods.worker(UID)?.status?.startTime;
  await first.close();
  const calls = first.runtime.calls.length;
  const second = await openPods(first.runtime, first.root);
  second.set(makeDesired(makePod('Always')));
  await until('known', () => phase(second.pods) === 'Running');
  assert.equal(second.pods.worker(UID)?.status?.containerStatuses?.[0]?.restartCount, 1);
  assert.deepEqual(second.pods.worker(UID)?.status?.startTime, startTime);
  assert.equal(first.runtime.calls.length, calls);
});

test('a pod that finished while no agent ran keeps its exit code and stays finished', async () => {
  const first = await openPods();
  first.set(makeDesired(makePod('Never')));
  await until('running', () => phase(first.pods) === 'Running');
  await first.close();
  first.runtime.exit(first.runtime.find('web'), 7);
  const second = await openPods(first.runtime, first.root);
  second.set(makeDesired(makePod('Never')));
  await until('failed', () => phase(second.pods) === 'Failed');
  assert.equal(second.pods.worker(UID)?.status?.containerStatuses?.[0]?.state?.terminated?.exitCode, 7);
  assert.equal(first.runtime.calls.filter((call) => call.startsWith('createContainer')).length, 1);
});

test('a pod without a manifest is ended once all sources have spoken, unless its file is there and refused', async () => {
  for (const refused of [true, false]) {
    const first = await openPods();
    first.set(makeDesired(makePod('Always')));
    await until('running', () => phase(first.pods) === 'Running');
    await first.close();
    const { annotations } = [...first.runtime.sandboxes.values()][0]!.config;
    assert.deepEqual([annotations[AGENT_NODE], annotations[ORIGIN_FILE]], ['node', '/pods/web.yaml']);
    const second = await openPods(first.runtime, first.root);
    await delay(50);
    assert.equal(first.runtime.sandboxes.size, 1, 'nothing ends before the sources spoke');
    const origin = { source: 'file', file: '/pods/web.yaml', document: 1 } as const;
    const update: SourceUpdate = { pods: [], problems: refused ? [{ origin, severity: 'refused', message: 'not YAML' }] : [] };
    second.pods.update('files', update);
    if (!refused) await until('ended', () => first.runtime.sandboxes.size === 0);
    else assert.equal(first.runtime.sandboxes.size, 1);
  }
});

test('a changed UID of one name ends the old pod before the new one starts', async () => {
  const { pods, runtime, set } = await openPods();
  set(named('web', 'uid-1'));
  await until('first runs', () => phase(pods, 'uid-1') === 'Running');
  set(named('web', 'uid-2', 'Always', 'two'));
  await until('second runs', () => phase(pods, 'uid-2') === 'Running');
  const removed = runtime.calls.indexOf('removePodSandbox sandbox-1');
  assert.ok(removed > 0 && removed < runtime.calls.lastIndexOf('runPodSandbox web 0'));
});

test('two manifests of one name: the running one stays, the other is told which file has the name', async () => {
  const { pods, set } = await openPods();
  set(named('web', 'uid-1'));
  await until('first runs', () => phase(pods, 'uid-1') === 'Running');
  const other = { ...named('web', 'uid-2'), origin: { source: 'file', file: '/pods/aaa.yaml', document: 1 } as const };
  set(other, named('web', 'uid-1'));
  assert.equal(pods.worker('uid-2'), undefined);
  assert.equal(pods.problems.length, 1);
  assert.match(pods.problems[0]?.message ?? '', /defined already by \/pods\/web\.yaml/);
  assert.equal(pods.problems[0]?.origin.file, '/pods/aaa.yaml');
});

test('what the runtime refuses is in the status, with its own sentence', async () => {
  for (const [method, reason] of [
    ['createContainer', 'CreateContainerError'],
    ['startContainer', 'RunContainerError'],
    ['runPodSandbox', 'ContainerCreating'],
  ] as const) {
    const { pods, runtime, set } = await openPods();
    runtime.failures.set(method, new CriCallError('UNKNOWN', method, 'exec "/nope": ENOENT (no such file or directory)'));
    set(makeDesired(makePod('Always')));
    const waiting = () => pods.worker(UID)?.status?.containerStatuses?.[0]?.state?.waiting;
    await until(reason, () => (waiting()?.message ?? '') !== '');
    assert.equal(waiting()?.reason, reason);
    assert.match(waiting()?.message ?? '', /exec "\/nope": ENOENT/);
    assert.equal(phase(pods), 'Pending');
  }
});

test('stopping ends every pod and leaves nothing', async () => {
  const { pods, runtime, set } = await openPods();
  set(named('a', 'uid-a'), named('b', 'uid-b', 'Never'));
  await until('both run', () => phase(pods, 'uid-a') === 'Running' && phase(pods, 'uid-b') === 'Running');
  runtime.exit(runtime.find('web'), 0);
  await pods.stopPods();
  assert.equal(runtime.sandboxes.size + runtime.containers.size + pods.list().length, 0);
});
