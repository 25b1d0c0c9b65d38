import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_DEVICE_RULES } from '../cgroup/device-filter.ts';
import type { ContainerSpec } from '../program/spec.ts';
import { PLAIN_CONTAINER, PLAIN_VOLUME } from '../program/testing/container-spec.ts';
import { planOciResources } from './resources.ts';
import { type OciFacts, planOciSpec } from './spec.ts';
import { encodeOciSpec } from './types.ts';

const capabilities = { bounding: ['CAP_KILL'], effective: ['CAP_KILL'], permitted: ['CAP_KILL'], inheritable: [], ambient: [] };

const plain: ContainerSpec = {
  ...PLAIN_CONTAINER,
  rootfs: { ...PLAIN_CONTAINER.rootfs, readonly: true },
  process: {
    ...PLAIN_CONTAINER.process,
    args: ['/bin/true'],
    env: ['PATH=/bin'],
    user: { uid: 1000, gid: 100, additionalGids: [100, 5] },
    capabilities,
    noNewPrivileges: true,
    rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1024n, hard: 0xffffffffffffffffn }],
    oomScoreAdj: 900,
  },
  maskedPaths: ['/proc/kcore'],
  readonlyPaths: ['/proc/sys'],
  cgroupMount: 'cgroup2',
  shmSource: '/run/shm',
};

const facts: OciFacts = {
  names: {
    containerName: 'web',
    imageName: 'localhost/busybox:host',
    sandboxId: 's1',
    sandboxName: 'pod',
    sandboxNamespace: 'default',
    sandboxUid: 'u1',
  },
  pausePid: 42,
  cgroupPath: '/kubepods/pod1/c1',
  resources: {},
  deviceRules: DEFAULT_DEVICE_RULES.slice(0, 3),
};

const bind = (changes: object) => ({ ...PLAIN_VOLUME, ...changes }) as ContainerSpec['mounts'][number];

test('a plain container as an OCI bundle', () => {
  assert.deepEqual(planOciSpec(plain, facts), {
    ociVersion: '1.1.0',
    process: {
      terminal: false,
      user: { uid: 1000, gid: 100, umask: 18, additionalGids: [100, 5] },
      args: ['/bin/true'],
      env: ['PATH=/bin'],
      cwd: '/',
      capabilities,
      rlimits: [{ type: 'RLIMIT_NOFILE', hard: 18446744073709551615n, soft: 1024n }],
      noNewPrivileges: true,
      oomScoreAdj: 900,
    },
    root: { path: '/c/rootfs', readonly: true },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'] },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
      },
      { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
      { destination: '/dev/shm', type: 'bind', source: '/run/shm', options: ['rbind', 'rprivate'] },
      { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
      { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['nosuid', 'noexec', 'nodev', 'relatime', 'ro'] },
      { destination: '/data', type: 'bind', source: '/srv', options: ['rbind', 'rprivate', 'rw'] },
    ],
    annotations: {
      'io.kubernetes.cri.container-type': 'container',
      'io.kubernetes.cri.container-name': 'web',
      'io.kubernetes.cri.image-name': 'localhost/busybox:host',
      'io.kubernetes.cri.sandbox-id': 's1',
      'io.kubernetes.cri.sandbox-name': 'pod',
      'io.kubernetes.cri.sandbox-namespace': 'default',
      'io.kubernetes.cri.sandbox-uid': 'u1',
    },
    linux: {
      namespaces: [
        { type: 'network', path: '/proc/42/ns/net' },
        { type: 'ipc', path: '/proc/42/ns/ipc' },
        { type: 'uts', path: '/proc/42/ns/uts' },
        { type: 'pid' },
        { type: 'cgroup' },
        { type: 'mount' },
      ],
      devices: [],
      cgroupsPath: '/kubepods/pod1/c1',
      resources: {
        devices: [
          { allow: false, access: 'rwm' },
          { allow: true, type: 'c', access: 'm' },
          { allow: true, type: 'b', access: 'm' },
          { allow: true, type: 'c', major: 1, minor: 3, access: 'rwm' },
        ],
      },
      rootfsPropagation: 'rprivate',
      maskedPaths: ['/proc/kcore'],
      readonlyPaths: ['/proc/sys'],
    },
  });
});

test("the host's namespaces are not named, a target's PID namespace is", () => {
  const namespaces = { net: 'host', ipc: 'host', uts: 'host', pid: 'join', cgroup: 'new', user: 'host' } as const;
  assert.deepEqual(planOciSpec({ ...plain, namespaces }, { ...facts, pidHolder: 77 }).linux.namespaces, [
    { type: 'pid', path: '/proc/77/ns/pid' },
    { type: 'cgroup' },
    { type: 'mount' },
  ]);
});

test('a user namespace is joined with its mappings, and mounts are seen through it', () => {
  const uidMappings = [{ containerId: 0, hostId: 100000, size: 65536 }];
  const spec = planOciSpec(
    {
      ...plain,
      namespaces: { ...plain.namespaces, user: 'join' },
      uidMappings,
      gidMappings: uidMappings,
      mounts: [bind({ idmapped: true })],
    },
    facts,
  );
  const expected = [{ containerID: 0, hostID: 100000, size: 65536 }];
  assert.deepEqual(spec.linux.namespaces[5], { type: 'user', path: '/proc/42/ns/user' });
  assert.deepEqual(spec.linux.uidMappings, expected);
  assert.deepEqual(spec.mounts.at(-1)?.uidMappings, expected);
});

for (const [propagation, root] of [
  ['private', 'rprivate'],
  ['rslave', 'rslave'],
  ['rshared', 'rshared'],
] as const)
  test(`a ${propagation} mount makes the root ${root}`, () => {
    const spec = planOciSpec({ ...plain, mounts: [bind({ propagation })] }, facts);
    assert.equal(spec.linux.rootfsPropagation, root);
    assert.deepEqual(spec.mounts.at(-1)?.options, ['rbind', propagation === 'private' ? 'rprivate' : propagation, 'rw']);
  });

test('read-only and recursively read-only mounts', () => {
  const options = (changes: object) =>
    planOciSpec({ ...plain, mounts: [bind(changes)] }, facts)
      .mounts.at(-1)
      ?.options.at(-1);
  assert.equal(options({ readonly: true }), 'ro');
  assert.equal(options({ readonly: true, recursiveReadonly: true }), 'rro');
});

test('a privileged container may use every device and write to /sys', () => {
  const spec = planOciSpec({ ...plain, privileged: true }, facts);
  assert.deepEqual(spec.linux.resources.devices, [{ allow: true, access: 'rwm' }]);
  assert.equal(spec.mounts.find(({ destination }) => destination === '/sys')?.options.at(-1), 'rw');
});

test('resources, with raw cgroup2 files only where the controllers are in cgroup2', () => {
  const resources = {
    memoryLimitBytes: 1n << 40n,
    cpuShares: 512n,
    cpuQuotaUs: -1n,
    pidsLimit: 100n,
    memoryOomGroup: true,
    hugepageLimits: { '2MB': 0n },
    unified: { 'io.max': '8:0 rbps=1' },
  };
  const common = {
    memory: { limit: 1n << 40n },
    cpu: { shares: 512n, quota: -1n },
    pids: { limit: 100n },
    hugepageLimits: [{ pageSize: '2MB', limit: 0n }],
  };
  assert.deepEqual(planOciResources(resources, { unified: false }), common);
  assert.deepEqual(planOciResources(resources, { unified: true }), {
    ...common,
    unified: { 'memory.oom.group': '1', 'io.max': '8:0 rbps=1' },
  });
  assert.deepEqual(planOciResources({}, { unified: true }), {});
});

test('encodeOciSpec writes every digit of a limit', () => {
  const text = encodeOciSpec(planOciSpec(plain, facts));
  assert.match(text, /"hard": 18446744073709551615/);
  assert.deepEqual((JSON.parse(text) as { process: { args: string[] } }).process.args, ['/bin/true']);
});
