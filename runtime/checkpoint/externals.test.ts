import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderCriuError } from './criu.ts';
import { parseMountinfo, planExternalFiles, planExternalMounts } from './externals.ts';

const mounts = parseMountinfo(
  [
    '100 90 0:50 / / rw - overlay overlay rw,lowerdir=/l',
    '101 100 0:51 / /dev rw,nosuid - tmpfs tmpfs rw',
    '102 101 0:52 / /dev/shm rw - tmpfs shm rw',
    '103 100 0:53 / /proc rw - proc proc rw',
    '104 103 0:53 /bus /proc/bus ro - proc proc rw',
    '105 103 0:5 /null /proc/kcore rw - devtmpfs udev rw',
    '106 100 8:1 /srv/a\\040b /data rw - ext4 /dev/sda1 rw',
    '107 100 0:20 /run/hosts /etc/hosts rw - tmpfs tmpfs rw',
    '',
  ].join('\n'),
);

test('mounts from outside are external, what criu makes anew and parts of it are not', () => {
  assert.equal(mounts[6]?.root, '/srv/a b');
  assert.deepEqual(planExternalMounts(mounts, new Set(['/dev/shm', '/data'])), ['/dev/shm', '/proc/kcore', '/data', '/etc/hosts']);
});

test('files whose mount the container does not have are external, pipes and its own files are not', () => {
  const files = [
    { mountId: 30, inode: 0x2an, link: '/run/tskubelet/containers/c/stdout' },
    { mountId: 30, inode: 0x2an, link: '/run/tskubelet/containers/c/stdout' },
    { mountId: 9, inode: 7n, link: 'pipe:[7]' },
    { mountId: 100, inode: 8n, link: '/etc/passwd' },
  ];
  assert.deepEqual(planExternalFiles(files, mounts), ['file[1e:2a]']);
});

test('the first error of criu is the cause', () => {
  const log = 'Error (criu/util.c:642): exited, status=1\n(00.1) Error (criu/vdso.c:381): vdso: bad\nError (criu/crtools.c:260): later\n';
  assert.equal(renderCriuError(log), 'vdso: bad');
  assert.equal(renderCriuError('all good'), 'it tells no reason');
});
