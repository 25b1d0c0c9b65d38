import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { addFailure } from './backoff.ts';
import { makeDesired, makePod, World } from './testing/model.ts';

const start = ['ensureVolumes', 'createSandbox 0', 'ensureHosts', 'ensureImage web', 'createContainer web 0', 'startContainer web'];

test('a new pod gets volumes, a sandbox, hosts, and each container its image before it is created', () => {
  const world = new World(makeDesired(makePod('Always')));
  const next = world.settle();
  assert.deepEqual(world.steps, start);
  assert.equal(next.status?.phase, 'Running');
  assert.equal(next.wakeAtMs, undefined);
});

test('containers start side by side, each in its own lane', () => {
  const world = new World(makeDesired(makePod('Always', ['a', 'b'])));
  const together = world.plan().actions.find(({ action }) => action === 'together');
  assert.equal(together?.action === 'together' && together.lanes.length, 2);
});

test('restarts follow at once, then after 10 s, doubled to 300 s', () => {
  const world = new World(makeDesired(makePod('Always')));
  world.settle();
  const waits: number[] = [];
  for (let i = 0; i < 9; i++) {
    world.exit('web', 1);
    const endedMs = world.nowMs;
    const next = world.settle();
    if (next.wakeAtMs === undefined) waits.push(0);
    else {
      assert.equal(next.status?.containerStatuses?.[0]?.state?.waiting?.reason, 'CrashLoopBackOff');
      waits.push(next.wakeAtMs - endedMs);
      world.nowMs = next.wakeAtMs;
      world.settle();
    }
    assert.equal(world.newest('web').state, 'running');
    assert.equal(world.newest('web').restartCount, i + 1);
  }
  assert.deepEqual(
    waits.map((ms) => ms / 1000),
    [0, 10, 20, 40, 80, 160, 300, 300, 300],
  );
});

test('a container that ran ten minutes starts over without a delay', () => {
  const world = new World(makeDesired(makePod('Always')));
  world.settle();
  for (let i = 0; i < 4; i++) {
    world.exit('web', 1);
    world.nowMs = world.settle().wakeAtMs ?? world.nowMs;
    world.settle();
  }
  world.nowMs += 600_000;
  world.exit('web', 1);
  assert.equal(world.settle().wakeAtMs, undefined);
  assert.equal(world.newest('web').restartCount, 5);
});

test('a container is restarted as its policy says', () => {
  for (const [policy, exitCode, phase, restarted] of [
    ['Always', 0, 'Running', true],
    ['Always', 1, 'Running', true],
    ['OnFailure', 0, 'Succeeded', false],
    ['OnFailure', 1, 'Running', true],
    ['Never', 0, 'Succeeded', false],
    ['Never', 3, 'Failed', false],
  ] as const) {
    const world = new World(makeDesired(makePod(policy)));
    world.settle();
    world.exit('web', exitCode);
    const next = world.settle();
    assert.equal(next.status?.phase, phase, `${policy} ${exitCode}`);
    assert.equal(world.containers.length, restarted ? 2 : 1, `${policy} ${exitCode}`);
  }
});

test('a finished pod gives its sandbox, volumes and cgroup back and stays listed, once', () => {
  const world = new World(makeDesired(makePod('Never')));
  world.settle();
  world.exit('web', 0);
  world.steps.length = 0;
  world.settle();
  assert.deepEqual(world.steps, ['stopSandbox s0', 'release']);
  assert.equal(world.record?.released, true);
  // Also when the runtime forgets it, it does not run again.
  world.containers = [];
  world.sandboxes = [];
  assert.deepEqual(world.settle().actions, []);
  assert.equal(world.record?.status.phase, 'Succeeded');
});

test('a pod whose sandbox died gets a new one, and every container starts again in it', () => {
  const world = new World(makeDesired(makePod('Always', ['a', 'b'])));
  world.settle();
  world.loseSandbox();
  world.exit('a', 137);
  world.steps.length = 0;
  world.settle();
  assert.deepEqual(world.steps.slice(0, 4), ['killContainer b', 'stopSandbox s0', 'ensureVolumes', 'createSandbox 1']);
  assert.equal(world.newest('a').restartCount, 1);
  assert.equal(world.newest('b').restartCount, 1);
  assert.equal(world.sandboxes.filter(({ ready }) => ready).length, 1);
});

test('a pod of policy Never whose sandbox died has failed', () => {
  const world = new World(makeDesired(makePod('Never')));
  world.settle();
  world.loseSandbox();
  assert.equal(world.settle().status?.phase, 'Failed');
  assert.equal(world.containers.length, 1);
});

test('another hash ends the old pod completely before the new one starts', () => {
  const world = new World(makeDesired(makePod('Always')));
  world.settle();
  world.steps.length = 0;
  world.desired = makeDesired(makePod('Always'), 'two');
  world.settle();
  assert.deepEqual(world.steps, [
    ...['killContainer web', 'stopSandbox s0', 'removeContainer web', 'removeSandbox s0', 'cleanup'],
    ...start,
  ]);
  assert.equal(world.newest('web').restartCount, 0);
  assert.equal(world.record?.hash, 'two');
});

test('a finished pod runs again when its manifest changes', () => {
  const world = new World(makeDesired(makePod('Never')));
  world.settle();
  world.exit('web', 0);
  world.settle();
  world.desired = makeDesired(makePod('Never'), 'two');
  assert.equal(world.settle().status?.phase, 'Running');
});

test('a removed pod ends with its own grace period and leaves nothing', () => {
  const world = new World(makeDesired(makePod('Always', ['a', 'b'])));
  world.settle();
  world.removed = true;
  const kills = world.plan().actions[0];
  assert.ok(kills?.action === 'together');
  assert.deepEqual(
    kills.lanes.map(([kill]) => kill?.action === 'killContainer' && kill.graceSeconds),
    [30, 30],
  );
  const next = world.settle();
  assert.equal(next.gone, true);
  assert.deepEqual([world.sandboxes, world.containers, world.directory], [[], [], false]);
});

test('a pod that is known from the runtime alone is ended', () => {
  const world = new World(makeDesired(makePod('Always')));
  world.settle();
  world.desired = undefined;
  assert.equal(world.settle().gone, true);
});

test('a created container of an agent that died is started, not created again', () => {
  const world = new World(makeDesired(makePod('Always')));
  world.settle();
  world.change(world.newest('web').id, { state: 'created', startedAtMs: 0 });
  world.steps.length = 0;
  world.settle();
  assert.deepEqual(world.steps, ['ensureVolumes', 'ensureHosts', 'startContainer web']);
});

test('what failed is not tried before its time, and says why it waits', () => {
  for (const [key, reason, shown] of [
    ['volumes', 'FailedMount', 'ContainerCreating'],
    ['sandbox', 'CreatePodSandboxError', 'ContainerCreating'],
    ['image web', 'ErrImagePull', 'ErrImagePull'],
    ['create web', 'CreateContainerError', 'CreateContainerError'],
  ] as const) {
    const world = new World(makeDesired(makePod('Always')));
    world.failures = addFailure(new Map(), key, { reason, message: 'no such thing', nowMs: world.nowMs });
    const next = world.plan();
    const waiting = next.status?.containerStatuses?.[0]?.state?.waiting;
    assert.deepEqual(next.actions, [], key);
    assert.equal(next.wakeAtMs, world.failures.get(key)?.untilMs, key);
    assert.equal(waiting?.reason, shown, key);
    assert.equal(waiting?.message, 'no such thing', key);
    assert.equal(next.status?.phase, 'Pending', key);
    world.nowMs = next.wakeAtMs ?? 0;
    assert.notDeepEqual(world.plan().actions, [], key);
  }
});

test('a second failed pull is ImagePullBackOff with the error in its message', () => {
  for (const reason of ['ErrImagePull', 'RegistryUnavailable']) {
    const world = new World(makeDesired(makePod('Always')));
    for (let i = 0; i < 2; i++)
      world.failures = addFailure(world.failures, 'image web', { reason, message: 'no route', nowMs: world.nowMs });
    const waiting = world.plan().status?.containerStatuses?.[0]?.state?.waiting;
    assert.equal(waiting?.reason, 'ImagePullBackOff');
    assert.match(waiting?.message ?? '', new RegExp(`^Back-off pulling image ".*": ${reason}: no route$`));
  }
});

test('one dead container per name is kept', () => {
  const world = new World(makeDesired(makePod('Always')));
  world.settle();
  for (let i = 0; i < 4; i++) {
    world.exit('web', 1);
    world.nowMs = world.settle().wakeAtMs ?? world.nowMs;
    world.settle();
  }
  assert.deepEqual(
    world.containers.map(({ state, restartCount }) => [state, restartCount]),
    [
      ['exited', 3],
      ['running', 4],
    ],
  );
});

const happening = fc.oneof(
  fc.record({ what: fc.constant('exit' as const), name: fc.constantFrom('a', 'b'), code: fc.constantFrom(0, 1, 137) }),
  fc.constant({ what: 'lose' as const }),
  fc.constant({ what: 'wait' as const }),
  fc.record({ what: fc.constant('replace' as const), hash: fc.constantFrom('one', 'two', 'three') }),
  fc.record({ what: fc.constant('unknown' as const), name: fc.constantFrom('a', 'b') }),
  fc.constant({ what: 'restart agent' as const }),
);

test('whatever happens, a pod settles, counts its restarts up, and leaves nothing when it is removed', () => {
  fc.assert(
    fc.property(fc.constantFrom('Always', 'OnFailure', 'Never'), fc.array(happening, { maxLength: 25 }), (policy, events) => {
      const world = new World(makeDesired(makePod(policy, ['a', 'b'])));
      world.settle();
      const counts = new Map<string, number>();
      for (const event of events) {
        const running = (name: string) => world.containers.find((container) => container.name === name && container.state === 'running');
        if (event.what === 'exit' && running(event.name) !== undefined) world.exit(event.name, event.code);
        else if (event.what === 'unknown' && running(event.name) !== undefined)
          world.change(running(event.name)!.id, { state: 'unknown', exitCode: 255, finishedAtMs: world.nowMs });
        else if (event.what === 'lose') world.loseSandbox();
        else if (event.what === 'wait') world.nowMs += 400_000;
        else if (event.what === 'restart agent') world.failures = new Map();
        else if (event.what === 'replace' && event.hash !== world.desired?.hash) {
          world.desired = makeDesired(makePod(policy, ['a', 'b']), event.hash);
          counts.clear();
        }
        world.settle();
        for (const { name, restartCount } of world.containers) {
          assert.ok(world.containers.filter((other) => other.name === name).length <= 2, 'old containers are removed');
          assert.ok(restartCount >= 0);
        }
        for (const name of ['a', 'b']) {
          const highest = Math.max(
            -1,
            ...world.containers.filter((container) => container.name === name).map((container) => container.restartCount),
          );
          assert.ok(highest >= (counts.get(name) ?? -1), 'restart counts do not fall');
          counts.set(name, highest);
        }
      }
      world.removed = true;
      assert.equal(world.settle().gone, true);
      assert.deepEqual([world.sandboxes, world.containers, world.directory], [[], [], false]);
    }),
    { numRuns: 300 },
  );
});
