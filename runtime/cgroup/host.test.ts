import assert from 'node:assert/strict';
import { test } from 'node:test';
import { computeCgroupHost } from './host.ts';

const cgroup2 = (at: string, options = 'rw') => `40 30 0:37 / ${at} ${options},nosuid - cgroup2 cgroup2 rw`;
const v1 = (controllers: string, options = 'rw') =>
  `31 30 0:28 / /sys/fs/cgroup/${controllers} ${options},relatime - cgroup cgroup rw,${controllers}`;

function hostOf(lines: string[], unifiedControllers = '', mayWrite = true) {
  return computeCgroupHost({ mountInfo: lines.join('\n'), unifiedControllers, mayWrite: () => mayWrite, swapAccounting: true });
}

test('cgroup2 alone is a unified host', () => {
  assert.deepEqual(hostOf([cgroup2('/sys/fs/cgroup')], 'cpuset cpu io memory pids\n'), {
    mode: 'unified',
    unified: '/sys/fs/cgroup',
    unifiedControllers: ['cpuset', 'cpu', 'io', 'memory', 'pids'],
    v1: {},
    writable: true,
    swapAccounting: true,
  });
});

test('v1 controllers beside cgroup2 are a hybrid host, a named hierarchy is no controller', () => {
  const host = hostOf([v1('cpu,cpuacct'), v1('memory'), v1('name=systemd'), cgroup2('/sys/fs/cgroup/unified')], 'hugetlb\n');
  assert.equal(host.mode, 'hybrid');
  assert.deepEqual(host.v1, {
    cpu: '/sys/fs/cgroup/cpu,cpuacct',
    cpuacct: '/sys/fs/cgroup/cpu,cpuacct',
    memory: '/sys/fs/cgroup/memory',
  });
  assert.deepEqual(host.unifiedControllers, ['hugetlb']);
});

test('cgroup2 beside nothing but a named v1 hierarchy is a unified host', () => {
  assert.equal(hostOf([v1('name=systemd'), cgroup2('/sys/fs/cgroup/unified')]).mode, 'unified');
});

test('v1 alone is a legacy host', () => {
  assert.equal(hostOf([v1('memory')]).mode, 'legacy');
});

test('without any hierarchy there is nothing, and nothing is writable', () => {
  const host = hostOf(['22 1 0:20 / /proc rw - proc proc rw']);
  assert.deepEqual([host.mode, host.writable], ['none', false]);
});

for (const [what, lines, mayWrite] of [
  ['a read-only cgroup2', [cgroup2('/sys/fs/cgroup', 'ro')], true],
  ['one read-only v1 controller', [v1('memory', 'ro'), cgroup2('/sys/fs/cgroup/unified')], true],
  ['another owner', [cgroup2('/sys/fs/cgroup')], false],
] as const)
  test(`${what} makes the host not writable`, () => {
    assert.equal(hostOf([...lines], '', mayWrite).writable, false);
  });
