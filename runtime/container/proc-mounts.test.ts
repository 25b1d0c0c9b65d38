import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkProcMount } from './proc-mounts.ts';

for (const [target, source] of [
  ['/process', '/tmp'],
  ['/proc/meminfo', '/var/lib/lxcfs/proc/meminfo'],
  ['/proc', '/proc'],
] as const)
  test(`${source} may be mounted on ${target}`, () => checkProcMount(target, source));

for (const target of ['/proc', '/proc/', '/proc/self/attr', '/proc/1/root/etc', '/proc/sys', '/proc/sys/kernel'])
  test(`a volume on ${target} is refused by name`, () => {
    assert.throws(() => checkProcMount(target, '/var/volume'), new RegExp(`mount of ${target}`));
  });
