import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_CAPABILITIES } from '../program/capabilities.ts';
import { DEFAULT_PROFILE } from '../program/seccomp-default.ts';
import { parseSeccompProfile } from '../program/seccomp-oci.ts';
import { planOciSeccomp } from './seccomp.ts';

const target = { capabilities: DEFAULT_CAPABILITIES, kernelRelease: '6.1.0', arch: 'x64' } as const;

test('the default profile in OCI words: names, conditions on arguments, ENOSYS for what cannot be filtered', () => {
  const seccomp = planOciSeccomp(DEFAULT_PROFILE, target);
  const of = (name: string) => (seccomp.syscalls ?? []).filter(({ names }) => names.includes(name));
  assert.deepEqual([seccomp.defaultAction, seccomp.defaultErrnoRet], ['SCMP_ACT_ERRNO', 1]);
  assert.deepEqual(seccomp.architectures, ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86']);
  assert.equal(of('openat')[0]?.action, 'SCMP_ACT_ALLOW');
  assert.deepEqual(of('reboot'), []);
  assert.deepEqual(of('socket')[3]?.args, [{ index: 0, value: 0xffffffc8n, valueTwo: 0n, op: 'SCMP_CMP_MASKED_EQ' }]);
  assert.deepEqual(of('clone')[0]?.args, [{ index: 0, value: 0x7e020000n, valueTwo: 0n, op: 'SCMP_CMP_MASKED_EQ' }]);
  assert.deepEqual(of('clone3'), [{ names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: 38 }]);
});

test('a call that a capability allows whole has no conditions', () => {
  const seccomp = planOciSeccomp(DEFAULT_PROFILE, { ...target, capabilities: ['CAP_SYS_ADMIN'], arch: 'arm64' });
  assert.deepEqual(seccomp.architectures, ['SCMP_ARCH_AARCH64']);
  const clone = (seccomp.syscalls ?? []).filter(({ names }) => names.includes('clone'));
  assert.equal(clone.length, 1);
  assert.equal(clone[0]?.args, undefined);
});

test('a profile of a file: what holds for the container, with its flags, actions and errnos', () => {
  const profile = parseSeccompProfile(`{
    "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"],
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
    "syscalls": [
      {"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13, "args": [{"index": 1, "value": 18446744073709551615, "op": "SCMP_CMP_NE"}]},
      {"names": ["ptrace"], "action": "SCMP_ACT_KILL_PROCESS", "excludes": {"caps": ["CAP_SYS_PTRACE"]}},
      {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
      {"names": ["read"], "action": "SCMP_ACT_ALLOW"}
    ]}`);
  assert.deepEqual(planOciSeccomp(profile, target), {
    defaultAction: 'SCMP_ACT_ALLOW',
    architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
    flags: ['SECCOMP_FILTER_FLAG_LOG'],
    syscalls: [
      {
        names: ['chmod'],
        action: 'SCMP_ACT_ERRNO',
        errnoRet: 13,
        args: [{ index: 1, value: 0xffffffffffffffffn, op: 'SCMP_CMP_NE' }],
      },
      { names: ['ptrace'], action: 'SCMP_ACT_KILL_PROCESS' },
    ],
  });
});
