import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LinuxContainerSecurityContext, SecurityProfile, SecurityProfile_ProfileType as Type } from '../../cri-proto/gen/api.ts';
import { planAppArmorProfile } from './apparmor.ts';
import { planProfileChoice } from './security-profile.ts';
import { planSelinuxLabels } from './selinux.ts';

const profile = (profileType: number, localhostRef = '') => SecurityProfile.create({ profileType: profileType as Type, localhostRef });

for (const [message, spelled, expected] of [
  [undefined, '', { kind: 'unsaid' }],
  [undefined, 'runtime/default', { kind: 'default' }],
  [undefined, 'docker/default', { kind: 'default' }],
  [undefined, 'unconfined', { kind: 'unconfined' }],
  [undefined, 'localhost//a/b.json', { kind: 'localhost', reference: '/a/b.json' }],
  [profile(Type.RuntimeDefault), 'unconfined', { kind: 'default' }],
  [profile(Type.Unconfined), '', { kind: 'unconfined' }],
  [profile(Type.Localhost, '/a.json'), '', { kind: 'localhost', reference: '/a.json' }],
  [profile(Type.Localhost, 'localhost//a.json'), '', { kind: 'localhost', reference: '/a.json' }],
] as const)
  test(`a seccomp profile of ${message === undefined ? JSON.stringify(spelled) : `type ${message.profileType} ${message.localhostRef}`} is ${expected.kind}`, () => {
    assert.deepEqual(planProfileChoice('seccomp', message, spelled), expected);
  });

for (const [message, spelled, sentence] of [
  [undefined, 'default', /"default": use runtime\/default, unconfined or localhost\/NAME/],
  [profile(Type.Localhost), '', /without localhost_ref/],
  [profile(Type.Localhost, 'localhost/'), '', /without localhost_ref/],
  [profile(9), '', /unknown type 9/],
] as const)
  test(`a profile that means nothing is refused: ${sentence}`, () => {
    assert.throws(() => planProfileChoice('apparmor', message, spelled), sentence);
  });

test('AppArmor: the default where the host has it, nothing unless asked where it has not, an error where asked', () => {
  const has = { enabled: true, parser: '/sbin/apparmor_parser' };
  const lacks = { enabled: false, parser: undefined };
  const security = (apparmor?: SecurityProfile, privileged = false) =>
    LinuxContainerSecurityContext.create({ privileged, ...(apparmor === undefined ? {} : { apparmor }) });
  assert.equal(planAppArmorProfile(undefined, has), 'tskubelet-default');
  assert.equal(planAppArmorProfile(undefined, { ...has, parser: undefined }), undefined);
  assert.equal(planAppArmorProfile(security(undefined, true), has), undefined);
  assert.equal(planAppArmorProfile(security(profile(Type.Localhost, 'localhost/mine'), true), has), 'mine');
  assert.equal(planAppArmorProfile(security(profile(Type.Unconfined)), has), undefined);
  assert.equal(planAppArmorProfile(undefined, lacks), undefined);
  assert.equal(planAppArmorProfile(security(profile(Type.Unconfined)), lacks), undefined);
  for (const type of [Type.RuntimeDefault, Type.Localhost])
    assert.throws(() => planAppArmorProfile(security(profile(type, 'x')), lacks), { code: 'FAILED_PRECONDITION', message: /no AppArmor/ });
});

test('SELinux: options make a label where the host has it, and have no effect elsewhere', () => {
  const security = LinuxContainerSecurityContext.create({ selinuxOptions: { user: '', role: '', type: 'web_t', level: 's0:c1,c2' } });
  assert.equal(planSelinuxLabels(security, false), undefined);
  assert.deepEqual(planSelinuxLabels(security, true), {
    process: 'system_u:system_r:web_t:s0:c1,c2',
    mount: 'system_u:object_r:container_file_t:s0:c1,c2',
  });
  const wrong = LinuxContainerSecurityContext.create({ selinuxOptions: { type: 'a b' } });
  assert.throws(() => planSelinuxLabels(wrong, true), { code: 'INVALID_ARGUMENT' });
});
