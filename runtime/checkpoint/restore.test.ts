import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explainProgram } from '../program/explain.ts';
import { planRestoreProgram } from '../program/restore-program.ts';
import type { ContainerSpec } from '../program/spec.ts';
import { PLAIN_CONTAINER, PLAIN_VOLUME } from '../program/testing/container-spec.ts';
import { planRestoreArgs } from './restore.ts';

const spec: ContainerSpec = {
  ...PLAIN_CONTAINER,
  process: { ...PLAIN_CONTAINER.process, apparmorProfile: 'default' },
  mounts: [PLAIN_VOLUME, { kind: 'image', target: '/model', lowerDirs: ['/l/m', '/l/n'], mountpoint: '/c/image-volumes/0' }],
  cgroup: { unified: '/sys/fs/cgroup/k/c', v1Procs: ['/sys/fs/cgroup/memory/k/c/cgroup.procs'] },
};
const externals = { mounts: ['/data', '/dev/shm'], stdio: ['file[1:1]', 'file[2:2]', ''] } as const;

test('criu is told where mounts and stdio come from', () => {
  const args = planRestoreArgs(spec, externals, '/c/restore');
  const values = (option: string) => args.filter((_, i) => args[i - 1] === option);
  assert.deepEqual(values('--external'), ['mnt[/data]:/srv', 'mnt[/dev/shm]:/s/shm']);
  assert.deepEqual(values('--inherit-fd'), ['fd[5]:file[1:1]', 'fd[6]:file[2:2]']);
  assert.deepEqual(values('--root'), ['/c/rootfs']);
  assert.deepEqual(values('--images-dir'), ['/c/restore/checkpoint']);
  assert.deepEqual(values('--lsm-profile'), ['apparmor:default']);
});

test('what cannot be restored is told with its reason', () => {
  const refused = (changes: Partial<ContainerSpec>, message: RegExp) =>
    assert.throws(() => planRestoreArgs({ ...spec, ...changes }, externals, '/r'), { message });
  refused({ mounts: [] }, /the checkpoint has a mount on \/data/);
  refused({ namespaces: { ...spec.namespaces, pid: 'join' } }, /PID namespace of its own/);
  refused({ namespaces: { ...spec.namespaces, user: 'join' } }, /user namespace/);
  refused({ namespaces: { ...spec.namespaces, time: 'join' } }, /time namespace/);
  refused({ process: { ...spec.process, terminal: true } }, /terminal/);
  refused(
    { mounts: spec.mounts.map((mount) => (mount.kind === 'bind' ? { ...mount, propagation: 'rslave' as const } : mount)) },
    /mount propagation \(\/data\)/,
  );
});

test('criu runs in the cgroups and the namespaces of the container, with mounts that the host does not see', () => {
  const program = planRestoreProgram({ recordId: 7, container: spec, argv: ['/usr/sbin/criu', 'restore'], env: [], ignoredSignals: [13] });
  const calls = explainProgram(program).map(({ call }) => call);
  const at = (pattern: RegExp) => calls.findIndex((call) => pattern.test(call));
  const order = [
    /^prctl\(36, 1\)/,
    /clone3\(.*CLONE_INTO_CGROUP/,
    /memory\/k\/c\/cgroup\.procs/,
    /^setns\(8, CLONE_NEWNET\|CLONE_NEWIPC\|CLONE_NEWUTS/,
    /^unshare\(CLONE_NEWNS\|CLONE_NEWCGROUP/,
    /^mount\("", "\/", .*PRIVATE/,
    /^mount\("overlay", "\/c\/rootfs"/,
    /^mount\("overlay", "\/c\/image-volumes\/0"/,
    /^execve\("\/usr\/sbin\/criu"/,
  ];
  const found = order.map(at);
  assert.ok(!found.includes(-1), `${found}: ${calls.join('\n')}`);
  assert.deepEqual(
    found,
    [...found].sort((a, b) => a - b),
  );
});
