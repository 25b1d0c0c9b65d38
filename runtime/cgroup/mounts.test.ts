import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findHierarchies, parseMountInfo, parseProcCgroup, pathBelowMount } from './mounts.ts';

test('parseMountInfo reads optional fields, escapes and skips what is no mount line', () => {
  const text = [
    '36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue',
    'not a line',
    '',
  ].join('\n');
  assert.deepEqual(parseMountInfo(text), [
    {
      root: '/mnt1',
      mountpoint: '/mnt 2',
      options: ['rw', 'noatime'],
      fstype: 'ext3',
      superOptions: ['rw', 'errors=continue'],
    },
  ]);
});

test('findHierarchies tells controllers from other options of a co-mounted v1 hierarchy', () => {
  const [found] = findHierarchies(
    parseMountInfo('33 32 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,xattr,cpu,cpuacct,noprefix'),
  );
  assert.deepEqual(found?.controllers, ['cpu', 'cpuacct']);
});

test('findHierarchies leaves out a hierarchy hidden by a later mount', () => {
  const text = [
    '40 30 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw',
    '50 40 0:40 / /sys/fs/cgroup/unified rw - tmpfs tmpfs rw',
  ].join('\n');
  assert.deepEqual(findHierarchies(parseMountInfo(text)), []);
});

test('findHierarchies prefers the writable view, then the wider one', () => {
  const text = [
    '40 30 0:37 / /a ro - cgroup2 cgroup2 rw',
    '41 30 0:37 /docker/x /b rw - cgroup2 cgroup2 rw',
    '42 30 0:37 / /c rw - cgroup2 cgroup2 rw',
  ].join('\n');
  assert.deepEqual(
    findHierarchies(parseMountInfo(text)).map(({ mountpoint }) => mountpoint),
    ['/c'],
  );
});

test('parseProcCgroup keys each controller, and cgroup2 by the empty name', () => {
  const paths = parseProcCgroup('9:name=systemd:/\n4:cpu,cpuacct:/a:b\n0::/user.slice\n');
  assert.deepEqual(
    [...paths],
    [
      ['name=systemd', '/'],
      ['cpu', '/a:b'],
      ['cpuacct', '/a:b'],
      ['', '/user.slice'],
    ],
  );
});

for (const [root, named, below] of [
  ['/', '/a/b', '/a/b'],
  ['/docker/x', '/docker/x', '/'],
  ['/docker/x', '/docker/x/y', '/y'],
  ['/docker/x', '/docker/xy', undefined],
  ['/', '/../other', undefined],
] as const)
  test(`pathBelowMount finds ${named} at ${below} in a mount of ${root}`, () => {
    assert.equal(pathBelowMount({ version: 2, controllers: [], mountpoint: '/m', root, writable: true }, named), below);
  });
