import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderCriuError } from './criu.ts';
import { findMountSource, parseMountinfo, planExternalFiles, planExternalMounts, planStdio } from './externals.ts';

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
  assert.deepEqual(planExternalFiles(files, mounts), [{ name: 'file[1e:2a]', link: '/run/tskubelet/containers/c/stdout' }]);
});

test('stdio is known by its FIFOs; stdin is a /dev/null where it has none', () => {
  const file = (name: string, link: string) => ({ name, link });
  const files = [file('file[1:1]', '/dev/null'), file('file[2:2]', '/run/c/stderr'), file('file[2:3]', '/run/other/stdout')];
  assert.deepEqual(planStdio(files, '/run/c'), ['file[1:1]', '', 'file[2:2]']);
  assert.equal(planStdio([file('file[2:1]', '/run/c/stdin'), ...files.slice(1)], '/run/c')[0], 'file[2:1]');
});

test('each mount of a checkpoint has its source in the new container, what lies below a volume too', () => {
  const bind = { kind: 'bind', sourceIsDirectory: true, readonly: false, recursiveReadonly: false, propagation: 'private' } as const;
  const spec = {
    mounts: [
      { ...bind, source: '/srv/new', target: '/data' },
      { ...bind, source: '/srv/inner', target: '/data/inner' },
      { kind: 'image', target: '/model', lowerDirs: ['/l'], mountpoint: '/c/image-volumes/0' } as const,
    ],
    shmSource: '/run/s/shm',
    cgroup: { unified: '/sys/fs/cgroup/k/c', v1Procs: [] },
    cgroupMount: 'cgroup2' as const,
  };
  const sources = ['/data', '/data/sub', '/data/inner/x', '/model', '/dev/shm', '/sys/fs/cgroup', '/database'].map((target) =>
    findMountSource(spec, target),
  );
  assert.deepEqual(sources, [
    '/srv/new',
    '/srv/new/sub',
    '/srv/inner/x',
    '/c/image-volumes/0',
    '/run/s/shm',
    '/sys/fs/cgroup/k/c',
    undefined,
  ]);
  const v1 = { unified: '/sys/fs/cgroup/unified/k/c', v1Procs: ['/sys/fs/cgroup/memory/k/c/cgroup.procs'] };
  assert.equal(findMountSource({ ...spec, cgroup: v1, cgroupMount: 'host-bind' }, '/sys/fs/cgroup/memory'), '/sys/fs/cgroup/memory/k/c');
});

test('the first error of criu is the cause', () => {
  const log = 'Error (criu/util.c:642): exited, status=1\n(00.1) Error (criu/vdso.c:381): vdso: bad\nError (criu/crtools.c:260): later\n';
  assert.equal(renderCriuError(log), 'vdso: bad');
  assert.equal(renderCriuError('all good'), 'it tells no reason');
});
