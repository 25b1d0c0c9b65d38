import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_CAPABILITIES } from '../program/capabilities.ts';
import { planDefaultProfile } from '../program/seccomp-profile.ts';
import { planOciSeccomp } from './seccomp.ts';

test('the default profile in OCI words: names, conditions on arguments, ENOSYS for what cannot be filtered', () => {
  const seccomp = planOciSeccomp(planDefaultProfile(DEFAULT_CAPABILITIES), 'x64');
  const of = (name: string) => (seccomp.syscalls ?? []).filter(({ names }) => names.includes(name));
  assert.deepEqual([seccomp.defaultAction, seccomp.defaultErrnoRet], ['SCMP_ACT_ERRNO', 1]);
  assert.equal(of('openat')[0]?.action, 'SCMP_ACT_ALLOW');
  assert.deepEqual(of('reboot'), []);
  assert.deepEqual(of('socket'), [{ names: ['socket'], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value: 40n, op: 'SCMP_CMP_NE' }] }]);
  assert.deepEqual(of('clone')[0]?.args, [{ index: 0, value: 0x7e020000n, valueTwo: 0n, op: 'SCMP_CMP_MASKED_EQ' }]);
  assert.deepEqual(of('clone3'), [{ names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: 38 }]);
});

test('a call that a capability allows whole has no conditions', () => {
  const seccomp = planOciSeccomp(planDefaultProfile(['CAP_SYS_ADMIN']), 'arm64');
  assert.deepEqual(seccomp.architectures, ['SCMP_ARCH_AARCH64']);
  const clone = (seccomp.syscalls ?? []).filter(({ names }) => names.includes('clone'));
  assert.equal(clone.length, 1);
  assert.equal(clone[0]?.args, undefined);
});
