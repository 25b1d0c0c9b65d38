import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CgroupHost } from './cgroup.ts';
import { type CgroupRootFacts, cgroupProblem, planCgroupRoot } from './root.ts';

const host: CgroupHost = {
  mode: 'unified',
  unified: '/sys/fs/cgroup',
  unifiedControllers: ['cpu', 'memory'],
  v1: {},
  writable: true,
  swapAccounting: true,
};
const facts: CgroupRootFacts = { host, own: '/system.slice/sshd.service', delegated: undefined, unifiedIsKernelRoot: true };
const service = '/system.slice/tskubelet.service';

for (const [name, change, expected] of [
  ['uses the root cgroup', {}, { root: '/', shims: '/tskubelet-shims', cri: '/cri' }],
  ['stays in the root cgroup of the kernel, which may hold processes', { own: '/' }, { root: '/', shims: '/tskubelet-shims', cri: '/cri' }],
  [
    'leaves the root of a cgroup namespace, which may not',
    { own: '/', unifiedIsKernelRoot: false },
    { root: '/', shims: '/tskubelet-shims', cri: '/cri', daemon: '/tskubelet' },
  ],
  [
    'uses the cgroup that systemd delegated',
    { own: service, delegated: service },
    { root: service, shims: `${service}/tskubelet-shims`, cri: `${service}/cri`, daemon: `${service}/tskubelet` },
  ],
  [
    'knows the delegated cgroup also where systemd starts it in a child',
    { own: `${service}/tskubelet`, delegated: service },
    { root: service, shims: `${service}/tskubelet-shims`, cri: `${service}/cri` },
  ],
  ['follows --cgroup-root', { flag: '/node' }, { root: '/node', shims: '/node/tskubelet-shims', cri: '/node/cri' }],
  [
    'leaves an ancestor of --cgroup-root',
    { flag: '/a/b', own: '/a' },
    { root: '/a/b', shims: '/a/b/tskubelet-shims', cri: '/a/b/cri', daemon: '/a/tskubelet' },
  ],
  [
    'has a root of its own for a second node',
    { suffix: 'x1' },
    { root: '/tskubelet-x1', shims: '/tskubelet-x1/tskubelet-shims', cri: '/tskubelet-x1/cri' },
  ],
  [
    'ignores delegation where the controllers are on v1',
    { host: { ...host, mode: 'hybrid' as const }, own: service, delegated: service },
    { root: '/', shims: '/tskubelet-shims', cri: '/cri' },
  ],
] as const)
  test(`planCgroupRoot ${name}`, () => {
    assert.deepEqual(planCgroupRoot({ ...facts, ...change }), expected);
  });

test('planCgroupRoot refuses a relative root', () => {
  assert.throws(() => planCgroupRoot({ ...facts, flag: 'node' }), /not an absolute path/);
});

test('cgroupProblem is one sentence with both ways out, and nothing where all is well', () => {
  assert.equal(cgroupProblem(host), undefined);
  assert.match(cgroupProblem({ ...host, writable: false }) ?? '', /read-only.*privileged.*--allow-no-limits/);
  assert.match(cgroupProblem({ ...host, mode: 'none', writable: false }) ?? '', /no cgroup hierarchy.*--allow-no-limits/);
});
