import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ContainerConfig,
  type DeepPartial,
  MountPropagation,
  NamespaceMode,
  PodSandboxConfig,
  SecurityProfile_ProfileType,
} from '../../cri-proto/gen/api.ts';
import type { ImageConfig } from '../image/store.ts';
import { DEFAULT_MASKED_PATHS } from '../program/defaults.ts';
import { defaultSeccompFilter } from '../program/seccomp-default.ts';
import { planSeccomp } from './seccomp.ts';
import { type HostFindings, planContainerSpec } from './spec.ts';

const image: ImageConfig = {
  entrypoint: ['/entry'],
  cmd: [],
  env: [],
  workingDir: '/work',
  user: '',
  stopSignal: '',
  labels: {},
  volumes: [],
};

const host: HostFindings = {
  rootfs: { lowerDirs: ['/l'], upperDir: '/u', workDir: '/w', mountpoint: '/m', readonly: false },
  user: { uid: 0, gid: 0, additionalGids: [] },
  sourceIsDirectory: new Map([['/etc/file', false]]),
  devices: [],
  cgroup: { v1Procs: [] },
  cgroupMount: 'cgroup2',
  hostname: 'web',
  shmSource: '/shm',
  sandboxFiles: new Map([['/etc/hosts', '/run/hosts']]),
  seccomp: () => undefined,
};

function plan(config: DeepPartial<ContainerConfig>, sandbox: DeepPartial<PodSandboxConfig> = {}) {
  const whole = ContainerConfig.create(config);
  const seccomp = planSeccomp(whole.linux?.securityContext, undefined);
  return planContainerSpec(whole, PodSandboxConfig.create(sandbox), image, { ...host, seccomp });
}

test('a plain container joins the sandbox, has its own PID namespace, default masks and capabilities, and no seccomp filter', () => {
  const spec = plan({});
  assert.deepEqual(spec.namespaces, { net: 'join', ipc: 'join', uts: 'join', pid: 'new', cgroup: 'new', user: 'host' });
  assert.deepEqual(spec.maskedPaths, DEFAULT_MASKED_PATHS);
  assert.equal(spec.process.seccomp, undefined);
  assert.equal(spec.process.cwd, '/work');
  assert.equal(spec.process.oomScoreAdj, undefined);
});

test('a privileged container has no masks, no filter and every capability', () => {
  const spec = plan({ linux: { securityContext: { privileged: true } } });
  assert.deepEqual(spec.maskedPaths, []);
  assert.deepEqual(spec.readonlyPaths, []);
  assert.equal(spec.process.seccomp, undefined);
  assert.ok(spec.process.capabilities.effective.includes('CAP_SYS_ADMIN'));
});

for (const [mode, expected] of [
  [NamespaceMode.CONTAINER, 'new'],
  [NamespaceMode.POD, 'join'],
  [NamespaceMode.NODE, 'host'],
  [NamespaceMode.TARGET, 'join'],
] as const)
  test(`PID namespace mode ${mode} means ${expected}`, () => {
    assert.equal(plan({ linux: { securityContext: { namespaceOptions: { pid: mode } } } }).namespaces.pid, expected);
  });

test("a sandbox in the host's network and IPC leaves those namespaces alone", () => {
  const options = { network: NamespaceMode.NODE, ipc: NamespaceMode.NODE, pid: NamespaceMode.CONTAINER };
  const spec = plan({}, { linux: { securityContext: { namespaceOptions: options } } });
  assert.deepEqual([spec.namespaces.net, spec.namespaces.ipc, spec.namespaces.uts], ['host', 'host', 'host']);
});

test("the request's mounts replace the sandbox's files, and parents come before what lies below them", () => {
  const spec = plan({
    mounts: [
      { containerPath: '/data/deep', hostPath: '/srv/deep' },
      { containerPath: '/data', hostPath: '/srv', propagation: MountPropagation.PROPAGATION_BIDIRECTIONAL },
      { containerPath: '/etc/hosts', hostPath: '/etc/file', readonly: true },
    ],
  });
  assert.deepEqual(
    spec.mounts.map((mount) => (mount.kind === 'bind' ? [mount.source, mount.target, mount.propagation] : [])),
    [
      ['/srv', '/data', 'rshared'],
      ['/srv/deep', '/data/deep', 'private'],
      ['/etc/file', '/etc/hosts', 'private'],
    ],
  );
  const hosts = spec.mounts.find(({ target }) => target === '/etc/hosts');
  assert.ok(hosts?.kind === 'bind' && !hosts.sourceIsDirectory && hosts.readonly);
});

for (const [title, config, sentence] of [
  ['a relative mount target', { mounts: [{ containerPath: 'data', hostPath: '/srv' }] }, /"data" is not an absolute path/],
  ['a mount without host path', { mounts: [{ containerPath: '/data' }] }, /mount of \/data: host_path is empty/],
  [
    'a recursive read-only mount that is not read-only',
    { mounts: [{ containerPath: '/data', hostPath: '/srv', recursiveReadOnly: true }] },
    /recursive_read_only needs readonly/,
  ],
  ['a relative working directory', { workingDir: 'tmp' }, /working directory "tmp" is not absolute/],
] as const)
  test(`planContainerSpec refuses ${title}`, () => {
    assert.throws(() => plan(config as DeepPartial<ContainerConfig>), sentence);
  });

test('an unconfined container has no filter', () => {
  const asked = (profileType: SecurityProfile_ProfileType) => plan({ linux: { securityContext: { seccomp: { profileType } } } }).process;
  const { seccomp, capabilities } = asked(SecurityProfile_ProfileType.RuntimeDefault);
  assert.equal(seccomp, defaultSeccompFilter(capabilities.bounding));
  assert.equal(asked(SecurityProfile_ProfileType.Unconfined).seccomp, undefined);
});
