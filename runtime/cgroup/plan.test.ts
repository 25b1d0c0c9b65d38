import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CgroupHost, Resources } from './cgroup.ts';
import { cpuWeight, planCgroup } from './plan.ts';

const v2: CgroupHost = {
  mode: 'unified',
  unified: '/sys/fs/cgroup',
  unifiedControllers: ['cpuset', 'cpu', 'io', 'memory', 'hugetlb', 'pids'],
  v1: {},
  writable: true,
  swapAccounting: true,
};
const hybrid: CgroupHost = {
  ...v2,
  mode: 'hybrid',
  unified: '/sys/fs/cgroup/unified',
  unifiedControllers: ['hugetlb'],
  v1: Object.fromEntries(['cpu', 'cpuset', 'memory', 'pids', 'blkio'].map((name) => [name, `/sys/fs/cgroup/${name}`])),
};

const lines = (resources: Resources, host: CgroupHost) => planCgroup(resources, host).writes.map(({ file, value }) => `${file}=${value}`);

// The values of runc's own test table and of KEP-2254's examples.
for (const [shares, weight] of [
  [0n, 1],
  [2n, 1],
  [10n, 4],
  [102n, 17],
  [512n, 59],
  [1024n, 100],
  [2048n, 174],
  [262143n, 10_000],
  [262144n, 10_000],
  [300000n, 10_000],
] as const)
  test(`${shares} shares are a weight of ${weight}`, () => {
    assert.equal(cpuWeight(shares), weight);
  });

const table: [name: string, resources: Resources, v2: string[], v1: string[]][] = [
  [
    'a memory limit without swap',
    { memoryLimitBytes: 67108864n, memorySwapLimitBytes: 67108864n },
    ['memory.max=67108864', 'memory.swap.max=0'],
    ['memory.limit_in_bytes=67108864', 'memory.memsw.limit_in_bytes=67108864'],
  ],
  [
    'no memory limit',
    { memoryLimitBytes: -1n, memorySwapLimitBytes: -1n },
    ['memory.max=max', 'memory.swap.max=max'],
    ['memory.limit_in_bytes=-1', 'memory.memsw.limit_in_bytes=-1'],
  ],
  ['a quarter of a CPU', { cpuQuotaUs: 25000n }, ['cpu.max=25000 100000'], ['cpu.cfs_period_us=100000', 'cpu.cfs_quota_us=25000']],
  [
    'no quota with a period of its own',
    { cpuQuotaUs: -1n, cpuPeriodUs: 50000n },
    ['cpu.max=max 50000'],
    ['cpu.cfs_period_us=50000', 'cpu.cfs_quota_us=-1'],
  ],
  ['shares', { cpuShares: 1024n }, ['cpu.weight=100'], ['cpu.shares=1024']],
  ['shares out of range', { cpuShares: 1n }, ['cpu.weight=1'], ['cpu.shares=2']],
  ['a number of processes', { pidsLimit: 100n }, ['pids.max=100'], ['pids.max=100']],
  ['unlimited processes', { pidsLimit: -1n }, ['pids.max=max'], ['pids.max=max']],
  ['zero processes, which means unset', { pidsLimit: 0n }, [], []],
  ['a cpuset', { cpusetCpus: '0-1', cpusetMems: '0' }, ['cpuset.cpus=0-1', 'cpuset.mems=0'], ['cpuset.cpus=0-1', 'cpuset.mems=0']],
  ['huge pages, which a hybrid host has in cgroup2', { hugepageLimits: { '2MB': 0n } }, ['hugetlb.2MB.max=0'], ['hugetlb.2MB.max=0']],
  [
    'io.max',
    { unified: { 'io.max': '8:0 rbps=1048576 wiops=max' } },
    ['io.max=8:0 rbps=1048576 wiops=max'],
    ['blkio.throttle.read_bps_device=8:0 1048576', 'blkio.throttle.write_iops_device=8:0 0'],
  ],
  ['one OOM victim at a time', { memoryOomGroup: false }, ['memory.oom.group=0'], []],
  ['a file of cgroup2 itself', { unified: { 'cgroup.max.depth': '3' } }, ['cgroup.max.depth=3'], ['cgroup.max.depth=3']],
];
for (const [name, resources, expected2, expected1] of table)
  test(`planCgroup expresses ${name} on both versions`, () => {
    assert.deepEqual(lines(resources, v2), expected2);
    assert.deepEqual(lines(resources, hybrid), expected1);
  });

test('planCgroup lists what v1 cannot express', () => {
  const plan = planCgroup(
    {
      memoryMinBytes: 1n,
      memoryLowBytes: 2n,
      memoryHighBytes: 3n,
      memoryOomGroup: true,
      unified: { 'memory.peak': '0', 'io.weight': '5' },
    },
    hybrid,
  );
  assert.deepEqual(plan.writes, []);
  assert.deepEqual(
    plan.unexpressed.map(({ intent, reason }) => `${intent}: ${reason}`),
    [
      'memory.min: cgroup v1 memory controller',
      'memory.low: cgroup v1 memory controller',
      'memory.high: cgroup v1 memory controller',
      'memory.oom.group: cgroup v1 memory controller',
      'memory.peak: cgroup v1 memory controller',
      'io.weight: no io controller on this host',
    ],
  );
});

test('planCgroup names the v1 controllers to join, and none of cgroup2', () => {
  const plan = planCgroup({ memoryLimitBytes: 1n, pidsLimit: 1n, hugepageLimits: { '2MB': 1n } }, hybrid);
  assert.deepEqual(plan.controllers, ['memory', 'pids', 'blkio']);
  assert.deepEqual(planCgroup({ memoryLimitBytes: 1n }, v2).controllers, []);
});

test('planCgroup says that a swap limit is lost where the kernel counts no swap', () => {
  const plan = planCgroup({ memoryLimitBytes: 5n, memorySwapLimitBytes: 5n }, { ...hybrid, swapAccounting: false });
  assert.deepEqual(
    plan.writes.map(({ file }) => file),
    ['memory.limit_in_bytes'],
  );
  assert.deepEqual(plan.unexpressed, [{ intent: 'memory.swap.max', reason: 'this kernel counts no swap' }]);
});

for (const file of ['../x', 'memory/max', 'memory.max/..', '', 'memory', '.max', 'cgroup.procs', 'cgroup.kill', 'memory.max\n'])
  test(`planCgroup refuses the raw file name ${JSON.stringify(file)}`, () => {
    assert.throws(() => planCgroup({ unified: { [file]: '1' } }, v2), /is not a cgroup2 resource file/);
  });

for (const [what, resources, message] of [
  ['a swap limit below the memory limit', { memoryLimitBytes: 10n, memorySwapLimitBytes: 5n }, /below the memory limit/],
  ['an unknown page size', { hugepageLimits: { '../2MB': 1n } }, /huge page size/],
  ['an io.max that v1 cannot read', { unified: { 'io.max': '8:0 rbps=many' } }, /io\.max "8:0 rbps=many"/],
] as const)
  test(`planCgroup refuses ${what}`, () => {
    assert.throws(() => planCgroup(resources, hybrid), message);
  });
