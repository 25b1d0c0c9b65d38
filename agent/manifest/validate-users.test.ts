import { c0, manifest, testRows } from './testing/rows.ts';

testRows([
  [
    'users of its own in the network of the host',
    manifest({ spec: 'hostUsers: false\nhostNetwork: true' }),
    'refused',
    'spec.hostNetwork',
    11,
    /cannot share this namespace of the host; remove one of the two/,
  ],
  [
    'a localhost seccomp profile elsewhere on the host',
    manifest({ spec: 'securityContext:\n  seccompProfile: {type: Localhost, localhostProfile: ../a.json}' }),
    'refused',
    'spec.securityContext.seccompProfile.localhostProfile',
    11,
    /must be a path below <root-dir>\/seccomp/,
  ],
  [
    'a seccomp profile of a file that is not asked for',
    manifest({ container: 'securityContext:\n  seccompProfile: {type: RuntimeDefault, localhostProfile: a.json}' }),
    'refused',
    `${c0}.securityContext.seccompProfile.localhostProfile`,
    11,
    /only type Localhost has one, and this is RuntimeDefault/,
  ],
  [
    'an AppArmor profile of no type',
    manifest({ spec: 'securityContext:\n  appArmorProfile: {type: runtime/default}' }),
    'refused',
    'spec.securityContext.appArmorProfile.type',
    11,
    /not one of RuntimeDefault, Unconfined, Localhost|RuntimeDefault/,
  ],
  [
    'an AppArmor profile without its name',
    manifest({ container: 'securityContext:\n  appArmorProfile: {type: Localhost}' }),
    'refused',
    `${c0}.securityContext.appArmorProfile.localhostProfile`,
    11,
    /needs the name of a profile here, of those that the host has loaded/,
  ],
  [
    'an SELinux type with a colon',
    manifest({ container: 'securityContext:\n  seLinuxOptions: {type: "a:b"}' }),
    'refused',
    `${c0}.securityContext.seLinuxOptions.type`,
    11,
    /is not a plain name such as container_t/,
  ],
]);
