import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DeepPartial, LinuxContainerResources } from '../../cri-proto/gen/api.ts';
import { codeOf } from '../errors.ts';
import { checkResources, mergeResources } from './merge-resources.ts';

const resources = (values: DeepPartial<LinuxContainerResources>) => LinuxContainerResources.create(values);

for (const [values, sentence] of [
  [{ cpuPeriod: 10n }, /^cpu_period 10 is not between 1000 and 1000000 microseconds$/],
  [{ cpuQuota: -2n }, /^cpu_quota -2 is neither -1/],
  [{ cpuQuota: 10n }, /^cpu_quota 10 /],
  [{ cpuShares: -1n }, /^cpu_shares -1 is negative$/],
  [{ memoryLimitInBytes: -5n }, /^memory_limit_in_bytes -5 /],
  [{ memorySwapLimitInBytes: -5n }, /^memory_swap_limit_in_bytes -5 /],
  [{ oomScoreAdj: 1001n }, /^oom_score_adj 1001 is not between -1000 and 1000$/],
  [{ cpusetCpus: '0-' }, /^cpuset_cpus "0-" is not a list/],
  [{ cpusetMems: 'a\n1' }, /^cpuset_mems /],
  [{ hugepageLimits: [{ pageSize: '../x', limit: 1n }] }, /^hugepage_limits.page_size "..\/x" /],
  [{ unified: { '../memory.max': '1' } }, /^unified "..\/memory.max" is not the name of a cgroup2 file$/],
  [{ unified: { 'pids.max': 'many' } }, /^unified pids.max "many" /],
] as const)
  test(`checkResources refuses ${JSON.stringify(values, (_, value) => (typeof value === 'bigint' ? String(value) : value))}`, () => {
    assert.throws(
      () => checkResources(resources(values as DeepPartial<LinuxContainerResources>)),
      (error: Error) => codeOf(error) === 'INVALID_ARGUMENT' && sentence.test(error.message),
    );
  });

test('checkResources takes what says nothing, and -1 for unlimited', () => {
  checkResources(resources({}));
  checkResources(resources({ cpuQuota: -1n, memoryLimitInBytes: -1n, memorySwapLimitInBytes: -1n, cpusetCpus: '0-2,7' }));
});

test('mergeResources leaves alone what the request does not name', () => {
  const current = resources({
    cpuShares: 512n,
    cpuQuota: 50_000n,
    unified: { a: '1', b: '2' },
    hugepageLimits: [{ pageSize: '2MB', limit: 0n }],
  });
  const merged = mergeResources(
    current,
    resources({ cpuQuota: 20_000n, unified: { b: '3' }, hugepageLimits: [{ pageSize: '1GB', limit: 5n }] }),
  );
  assert.deepEqual([merged.cpuShares, merged.cpuQuota, merged.unified], [512n, 20_000n, { a: '1', b: '3' }]);
  assert.deepEqual(
    merged.hugepageLimits.map(({ pageSize }) => pageSize),
    ['2MB', '1GB'],
  );
  assert.deepEqual(mergeResources(undefined, current), current);
});

test('mergeResources lifts the limit of memory and swap with a memory limit that outgrows it', () => {
  const current = resources({ memoryLimitInBytes: 15n, memorySwapLimitInBytes: 15n });
  assert.equal(mergeResources(current, resources({ memoryLimitInBytes: 30n })).memorySwapLimitInBytes, 30n);
  assert.equal(mergeResources(current, resources({ memoryLimitInBytes: -1n })).memorySwapLimitInBytes, -1n);
  assert.equal(mergeResources(current, resources({ memoryLimitInBytes: 10n })).memorySwapLimitInBytes, 15n);
});
