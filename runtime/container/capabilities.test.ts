import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ALL_CAPABILITIES, DEFAULT_CAPABILITIES } from '../program/capabilities.ts';
import { planCapabilities } from './capabilities.ts';

const request = (add: string[], drop: string[], ambient: string[] = []) => ({
  addCapabilities: add,
  dropCapabilities: drop,
  addAmbientCapabilities: ambient,
});

const without = (names: readonly string[], ...gone: string[]) => names.filter((name) => !gone.includes(name));

for (const [title, add, drop, expected] of [
  ['nothing asked', [], [], DEFAULT_CAPABILITIES],
  ['one added, with or without CAP_', ['NET_ADMIN'], [], [...DEFAULT_CAPABILITIES, 'CAP_NET_ADMIN']],
  ['one dropped', [], ['CAP_CHOWN'], without(DEFAULT_CAPABILITIES, 'CAP_CHOWN')],
  ['all dropped, one added', ['sys_time'], ['ALL'], ['CAP_SYS_TIME']],
  ['all added, one dropped', ['ALL'], ['SYS_ADMIN'], without(ALL_CAPABILITIES, 'CAP_SYS_ADMIN')],
] as const)
  test(`planCapabilities with ${title}`, () => {
    const plan = planCapabilities(request([...add], [...drop]), false);
    assert.deepEqual(new Set(plan.bounding), new Set(expected));
    assert.deepEqual(plan.effective, plan.bounding);
    assert.deepEqual(plan.ambient, []);
  });

test('a privileged container has every capability, whatever is dropped', () => {
  assert.deepEqual(planCapabilities(request([], ['ALL']), true).effective, ALL_CAPABILITIES);
});

test('ambient capabilities are inheritable and in every set', () => {
  const plan = planCapabilities(request([], ['ALL'], ['NET_BIND_SERVICE']), false);
  assert.deepEqual(plan.ambient, ['CAP_NET_BIND_SERVICE']);
  assert.deepEqual(plan.inheritable, plan.ambient);
  assert.ok(plan.permitted.includes('CAP_NET_BIND_SERVICE'));
});

test('an unknown capability is refused by name', () => {
  assert.throws(() => planCapabilities(request(['FLY'], []), false), /unknown capability "FLY"/);
});
