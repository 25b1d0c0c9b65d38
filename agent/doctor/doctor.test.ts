import assert from 'node:assert/strict';
import { test } from 'node:test';
import { evaluate, kernelVersion } from './evaluate.ts';
import { type Facts, gatherFacts } from './facts.ts';
import { renderDoctor } from './render.ts';

const TMPFS = 0x01021994;
const EXT4 = 0xef53;
const disk = { directory: '/var/lib', type: EXT4, freeBytes: 100n << 30n };

const good: Facts = {
  kernelRelease: '6.1.0-56-cloud-amd64',
  architecture: 'x64',
  nodeVersion: '24.21.0',
  effectiveUid: 0,
  capabilities: (1n << 41n) - 1n,
  namespaces: { mnt: 9, pid: 9, net: 9, ipc: 9, uts: 9, cgroup: 9, user: 9, time: 9 },
  missingCalls: [],
  cgroup: {
    mode: 'unified',
    unified: '/sys/fs/cgroup',
    unifiedControllers: ['cpu', 'memory', 'pids', 'cpuset', 'io', 'hugetlb'],
    v1: {},
    writable: true,
    swapAccounting: true,
  },
  overlay: 'present',
  nfTables: 'usable',
  memfdNoexec: 0,
  seccompFilter: true,
  ipForward: { on: true, writable: true },
  root: { wanted: '/var/lib/tskubelet', fileSystem: disk },
  run: { wanted: '/run/tskubelet', fileSystem: { ...disk, type: TMPFS } },
};

test('a machine with everything has nothing but ok', () => {
  assert.deepEqual(
    evaluate(good).filter(({ state, consequence }) => state !== 'ok' || consequence !== ''),
    [],
  );
});

const without = (...bits: number[]) => bits.reduce((set, bit) => set & ~(1n << BigInt(bit)), good.capabilities);
const { time: _, ...noTime } = good.namespaces;
const v1 = { cpu: '/c', memory: '/m', pids: '/p', cpuset: '/s', blkio: '/b' };

for (const [what, change, name, state, finding] of [
  ['an old kernel', { kernelRelease: '5.10.0-28-amd64' }, 'kernel', 'missing', /5\.10/],
  ['the oldest kernel that will do', { kernelRelease: '5.15.0' }, 'kernel', 'ok', /5\.15/],
  ['an old Node', { nodeVersion: '20.19.1' }, 'node', 'missing', /20/],
  ['another processor', { architecture: 'riscv64' }, 'node', 'missing', /riscv64/],
  ['a user', { effectiveUid: 1000 }, 'root', 'missing', /user 1000/],
  ['a container without privileges', { capabilities: without(21, 12) }, 'capabilities', 'missing', /CAP_SYS_ADMIN, CAP_NET_ADMIN$/],
  ['a lack of CAP_SYS_RESOURCE', { capabilities: without(24) }, 'capabilities', 'degraded', /CAP_SYS_RESOURCE/],
  ['a seccomp filter around us', { missingCalls: ['clone3'] }, 'system calls', 'missing', /clone3/],
  ['no time namespaces', { namespaces: noTime }, 'time namespace', 'degraded', /not in this kernel/],
  ['forbidden user namespaces', { namespaces: { ...good.namespaces, user: 0 } }, 'user namespace', 'degraded', /max_user_namespaces is 0/],
  ['forbidden network namespaces', { namespaces: { ...good.namespaces, net: 0 } }, 'net namespace', 'missing', /max_net_namespaces is 0/],
  ['read-only cgroups', { cgroup: { ...good.cgroup, writable: false } }, 'cgroups', 'missing', /read-only/],
  ['no cgroups', { cgroup: { ...good.cgroup, mode: 'none' as const, writable: false } }, 'cgroups', 'missing', /not mounted/],
  ['v1 alone', { cgroup: { ...good.cgroup, mode: 'legacy' as const, unifiedControllers: [], v1 } }, 'cgroups', 'degraded', /v1 only/],
  [
    'memory on v1',
    { cgroup: { ...good.cgroup, mode: 'hybrid' as const, unifiedControllers: ['hugetlb'], v1 } },
    'cgroup memory',
    'degraded',
    /v1/,
  ],
  ['cpu on v1', { cgroup: { ...good.cgroup, mode: 'hybrid' as const, unifiedControllers: ['hugetlb'], v1 } }, 'cgroup cpu', 'ok', /v1/],
  ['io under its v1 name', { cgroup: { ...good.cgroup, mode: 'hybrid' as const, unifiedControllers: [], v1 } }, 'cgroup io', 'ok', /v1/],
  ['no cpuset controller', { cgroup: { ...good.cgroup, unifiedControllers: ['cpu', 'memory'] } }, 'cgroup cpuset', 'degraded', /no such/],
  ['no overlayfs', { overlay: 'absent' as const }, 'overlayfs', 'missing', /not in this kernel/],
  ['overlayfs as a module', { overlay: 'loadable' as const }, 'overlayfs', 'ok', /usable/],
  [
    'a root-dir on overlayfs',
    { root: { wanted: '/data', fileSystem: { ...disk, type: 0x794c7630 } } },
    'overlayfs',
    'degraded',
    /\/data is on overlayfs/,
  ],
  ['no nf_tables', { nfTables: 'EPROTONOSUPPORT' }, 'nf_tables', 'degraded', /EPROTONOSUPPORT/],
  ['forwarding that is still off', { ipForward: { on: false, writable: true } }, 'ip forwarding', 'ok', /switched on/],
  ['forwarding that cannot be switched on', { ipForward: { on: false, writable: false } }, 'ip forwarding', 'degraded', /read-only/],
  ['forbidden memory files', { memfdNoexec: 2 }, 'memfd_noexec', 'degraded', /is 2/],
  ['no seccomp', { seccompFilter: false }, 'seccomp', 'degraded', /no filters/],
  ['a nearly full disk', { root: { ...good.root, fileSystem: { ...disk, freeBytes: 1n << 30n } } }, 'free space', 'degraded', /1024 MiB/],
  ['a full disk', { root: { ...good.root, fileSystem: { ...disk, freeBytes: 1n << 20n } } }, 'free space', 'missing', /1 MiB/],
  ['a run-dir on disk', { run: { wanted: '/run/x', fileSystem: disk } }, 'run-dir', 'degraded', /not a tmpfs/],
] as const)
  test(`evaluate says ${state} to ${what}, and what follows`, () => {
    const row = evaluate({ ...good, ...change } as Facts).find((candidate) => candidate.name === name);
    assert.equal(row?.state, state);
    assert.match(row?.finding ?? '', finding);
    assert.equal(row?.consequence === '', state === 'ok');
  });

test('kernelVersion reads what distributions make of it', () => {
  assert.deepEqual(kernelVersion('6.1.0-56-cloud-amd64'), [6, 1]);
  assert.deepEqual(kernelVersion('5.15.167.4-microsoft-standard-WSL2'), [5, 15]);
  assert.deepEqual(kernelVersion(''), [0, 0]);
});

test('renderDoctor aligns the columns, puts the consequence below and closes with a verdict', () => {
  const text = renderDoctor([
    { name: 'kernel', state: 'ok', finding: 'Linux 6.1', consequence: '' },
    { name: 'nf_tables', state: 'degraded', finding: 'absent', consequence: 'no NAT' },
  ]);
  assert.equal(
    text,
    [
      'kernel     ok        Linux 6.1',
      'nf_tables  degraded  absent',
      '                     no NAT',
      '',
      'This machine can run pods; 1 requirement is degraded.',
      '',
    ].join('\n'),
  );
  assert.match(
    renderDoctor([{ name: 'root', state: 'missing', finding: 'user', consequence: 'sudo' }]),
    /cannot run pods yet: 1 missing\./,
  );
});

test('gatherFacts reads this machine without changing it', async () => {
  const facts = await gatherFacts({ rootDir: '/nonexistent/deep/below', runDir: '/run/tskubelet' });
  assert.equal(facts.root.fileSystem.directory, '/');
  assert.equal(facts.nodeVersion, process.versions.node);
  assert.ok(evaluate(facts).length > 20);
});
