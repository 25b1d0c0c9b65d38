import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ContainerConfig } from '../../cri-proto/gen/api.ts';
import { fieldOf } from './step-field.ts';

const config = ContainerConfig.fromPartial({
  mounts: [
    { hostPath: '', containerPath: '/models', image: { image: 'localhost/models:1' } },
    { hostPath: '/srv/site', containerPath: '/www' },
  ],
});

const cases: readonly (readonly [phase: string, call: string, field: string | undefined])[] = [
  ['volumes', 'mkdirat(AT_FDCWD, "/models", 0755)', 'mounts /models'],
  ['volumes', 'move_mount($/srv/site, "", AT_FDCWD, "/www", MOVE_MOUNT_F_EMPTY_PATH)', 'mounts /www'],
  ['host sources', '$/srv/site = open_tree(AT_FDCWD, "/srv/site", OPEN_TREE_CLONE)', 'mounts /www'],
  // "" is no host path: an image volume took every step with an empty argument for its own.
  ['host sources', 'mount("", "/", 0, MS_REC|MS_PRIVATE, 0)', undefined],
  ['volumes', 'move_mount($/run/hostname, "", AT_FDCWD, "/etc/hostname", MOVE_MOUNT_F_EMPTY_PATH)', undefined],
  ['hidden paths', 'mount("/proc/bus", "/proc/bus", 0, MS_BIND|MS_REC, 0)', 'linux.security_context.readonly_paths'],
  ['hidden paths', '$refusal = prlimit64(0, RLIMIT_NOFILE, soft 1 hard 2, 0)', 'annotations tskubelet.dev/rlimits'],
];

for (const [phase, call, field] of cases)
  test(`fieldOf gives ${call} to ${field ?? 'no field'}`, () => assert.equal(fieldOf({ number: 0, phase, call }, config), field));
