import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NamespaceMode, PodSandboxConfig } from '../../cri-proto/gen/api.ts';
import { checkSysctls } from './sysctls.ts';

const check = (name: string, options = {}) =>
  checkSysctls(
    PodSandboxConfig.create({
      linux: { sysctls: { [name]: '1' }, securityContext: { namespaceOptions: { network: 0, ipc: 0, ...options } } },
    }),
  );

test('sysctls of the network and IPC namespaces are allowed, spelled either way', () => {
  for (const name of [
    'net.core.somaxconn',
    'net/ipv4/ip_forward',
    'kernel.shmmax',
    'kernel.shm_rmid_forced',
    'fs.mqueue.msg_max',
    'kernel.sem',
  ])
    check(name);
});

for (const [name, options, sentence] of [
  ['vm.swappiness', {}, /has no namespace of its own/],
  ['kernel.pid_max', {}, /has no namespace of its own/],
  ['kernel.shmmax.x', {}, /has no namespace of its own/],
  ['kernel.hostname', {}, /hostname field/],
  ['net/../kernel/pid_max', {}, /not valid/],
  ['net.core.somaxconn', { network: NamespaceMode.NODE }, /no network namespace of its own/],
  ['kernel.shmmax', { ipc: NamespaceMode.NODE }, /no ipc namespace of its own/],
] as const)
  test(`sysctl ${name} ${JSON.stringify(options)} is refused`, () => {
    assert.throws(
      () => check(name, options),
      (error: Error & { code?: string; cause?: Error }) =>
        error.code === 'INVALID_ARGUMENT' && sentence.test(`${error.message}: ${error.cause?.message}`),
    );
  });
