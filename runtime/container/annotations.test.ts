import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planIoMax, planIoWeight, planRlimits } from './annotations.ts';

const container = (annotations: Record<string, string> = {}) => ({ metadata: { name: 'web', attempt: 0 }, annotations });
const sandbox = (kind: string, value: string) => ({ annotations: { [`tskubelet.dev/${kind}.web`]: value } });

test('io.max: sizes with suffixes, a device in front or none, several devices', () => {
  assert.deepEqual(planIoMax(container(), sandbox('io.max', 'rbps=1Mi wbps=2M')), [{ settings: 'rbps=1048576 wbps=2000000' }]);
  assert.deepEqual(planIoMax(container(), sandbox('io.max', '8:0 riops=100; 8:16 wbps=max')), [
    { device: '8:0', settings: 'riops=100' },
    { device: '8:16', settings: 'wbps=max' },
  ]);
  assert.deepEqual(planIoMax(container(), { annotations: { 'tskubelet.dev/io.max.other': 'rbps=1' } }), []);
  const own = container({ 'tskubelet.dev/io.max': 'rbps=7' });
  assert.deepEqual(planIoMax(own, sandbox('io.max', 'rbps=1')), [{ settings: 'rbps=7' }]);
});

for (const [kind, value, sentence] of [
  ['io.max', '', /is empty/],
  ['io.max', '8:0', /limits nothing/],
  ['io.max', 'read=1Mi', /"read=1Mi" is not one of rbps=/],
  ['io.max', 'rbps=0', /"0" is neither max nor a number/],
  ['io.max', 'rbps=1MB', /"1MB" is neither max nor a number/],
  ['io.weight', '0', /"0" is not a weight from 1 to 10000/],
  ['rlimits', 'nofile', /"nofile" is not of the form nofile=SOFT:HARD/],
  ['rlimits', 'files=1', /"files=1" is not of the form/],
  ['rlimits', 'nofile=x', /"x" is neither unlimited nor a number/],
  ['rlimits', 'nofile=2:1', /soft limit of nofile is above its hard limit/],
] as const)
  test(`the annotation ${kind} "${value}" is refused`, () => {
    const plan = { 'io.max': planIoMax, 'io.weight': planIoWeight, rlimits: planRlimits }[kind];
    assert.throws(() => plan(container(), sandbox(kind, value)), { code: 'INVALID_ARGUMENT', message: sentence });
  });

test('rlimits: soft and hard, one for both, unlimited', () => {
  assert.deepEqual(planRlimits(container(), sandbox('rlimits', 'nofile=1024:4096 core=0 memlock=unlimited')), [
    { type: 'RLIMIT_NOFILE', soft: 1024n, hard: 4096n },
    { type: 'RLIMIT_CORE', soft: 0n, hard: 0n },
    { type: 'RLIMIT_MEMLOCK', soft: 0xffffffffffffffffn, hard: 0xffffffffffffffffn },
  ]);
});
