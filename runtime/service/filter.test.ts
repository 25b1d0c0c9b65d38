import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DeepPartial, PodSandboxConfig, PodSandboxFilter, PodSandboxState } from '../../cri-proto/gen/api.ts';
import type { SandboxRecord } from '../sandbox/record.ts';
import { filterSandboxes } from './filter.ts';

function sandbox(id: string, state: SandboxRecord['state'], labels: Record<string, string>): [string, SandboxRecord] {
  const config = PodSandboxConfig.create({ labels });
  return [id, { id, recordId: 1, createdAt: 1n, config, runtimeHandler: '', state, bootId: '', ips: [], networkAttached: false }];
}

const records = new Map([
  sandbox('aa1', 'ready', { app: 'web', tier: 'front' }),
  sandbox('aa2', 'notReady', { app: 'web' }),
  sandbox('bb1', 'ready', { app: 'db' }),
  sandbox('cc1', 'creating', { app: 'web' }),
]);

for (const [title, filter, expected] of [
  ['no filter shows all but those still being made', undefined, ['aa1', 'aa2', 'bb1']],
  ['a full id', { id: 'aa1' }, ['aa1']],
  ['a unique prefix', { id: 'b' }, ['bb1']],
  ['an ambiguous prefix gives nothing', { id: 'aa' }, []],
  ['an unknown id gives nothing', { id: 'zz' }, []],
  ['a state', { state: { state: PodSandboxState.SANDBOX_NOTREADY } }, ['aa2']],
  ['labels match exactly', { labelSelector: { app: 'web' } }, ['aa1', 'aa2']],
  ['fields are ANDed', { labelSelector: { app: 'web' }, state: { state: PodSandboxState.SANDBOX_READY } }, ['aa1']],
  ['labels do not match by prefix', { labelSelector: { app: 'we' } }, []],
] as const)
  test(`filterSandboxes: ${title}`, () => {
    const wanted = filter === undefined ? undefined : PodSandboxFilter.create(filter as DeepPartial<PodSandboxFilter>);
    assert.deepEqual(
      filterSandboxes(records, wanted).map(({ id }) => id),
      expected,
    );
  });
