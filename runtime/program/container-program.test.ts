import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { OP_BYTES, type Program } from './builder.ts';
import { DEFAULT_CAPABILITIES } from './capabilities.ts';
import { planContainerProgram } from './container-program.ts';
import { DEFAULT_MASKED_PATHS, DEFAULT_READONLY_PATHS } from './defaults.ts';
import { planExecProgram } from './exec-program.ts';
import { describeFailure, explainProgram, renderProgram } from './explain.ts';
import { planPauseProgram, sysctlPath } from './pause-program.ts';
import type { ContainerSpec, Process } from './spec.ts';
import { PLAIN_CONTAINER, PLAIN_VOLUME } from './testing/container-spec.ts';

const process: Process = {
  args: ['sh', '-c', 'true'],
  env: ['PATH=/usr/bin:/bin', 'A=b'],
  cwd: '/app',
  user: { uid: 1000, gid: 1000, additionalGids: [1000] },
  capabilities: { bounding: DEFAULT_CAPABILITIES, effective: [], permitted: [], inheritable: [], ambient: [] },
  noNewPrivileges: true,
  rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1024n, hard: 4096n }],
  oomScoreAdj: 1000,
  terminal: false,
};

const spec: ContainerSpec = {
  ...PLAIN_CONTAINER,
  rootfs: { ...PLAIN_CONTAINER.rootfs, lowerDirs: ['/l/2', '/l/1'], readonly: true },
  process,
  mounts: [
    { ...PLAIN_VOLUME, source: '/v', readonly: true, recursiveReadonly: true },
    { ...PLAIN_VOLUME, source: '/p', target: '/proc/extra', propagation: 'rslave' },
  ],
  maskedPaths: DEFAULT_MASKED_PATHS,
  readonlyPaths: DEFAULT_READONLY_PATHS,
  cgroup: { unified: '/sys/fs/cgroup/k/c', v1Procs: ['/sys/fs/cgroup/memory/k/c/cgroup.procs'] },
};

const plan = (changes: Partial<ContainerSpec> = {}) => planContainerProgram({ ...spec, ...changes }, { recordId: 7, arch: 'x64' });
const calls = (program: Program) => explainProgram(program).map(({ call }) => call);

/** The positions of calls that start so, in order. */
function at(program: Program, start: string): number {
  const index = calls(program).findIndex((call) => call.includes(start));
  assert.notEqual(index, -1, `${start} in\n${renderProgram(program)}`);
  return index;
}

function inOrder(program: Program, starts: readonly string[]): void {
  const positions = starts.map((start) => at(program, start));
  assert.deepEqual(
    positions,
    [...positions].sort((a, b) => a - b),
    starts.map((start, i) => `${positions[i]} ${start}`).join('\n'),
  );
}

test('the steps of a container come in the order that its security needs', () => {
  inOrder(plan(), [
    'prctl(PR_SET_DUMPABLE, 0',
    'clone3(CLONE_NEWNS|CLONE_NEWPID|CLONE_VFORK|CLONE_PIDFD|CLONE_INTO_CGROUP',
    'pwrite64(9, record exited',
    'openat(AT_FDCWD, "/sys/fs/cgroup/memory/k/c/cgroup.procs"',
    'setns(8, CLONE_NEWNET|CLONE_NEWIPC|CLONE_NEWUTS)',
    'unshare(CLONE_NEWCGROUP)',
    '"/proc/self/oom_score_adj"',
    'open_tree(AT_FDCWD, "/p"',
    'mount("", "/", 0, MS_REC|MS_PRIVATE',
    'mount("overlay", "/c/rootfs", "overlay", 0, "lowerdir=/l/2:/l/1,upperdir=/c/upper,workdir=/c/work,index=off")',
    'open_tree(AT_FDCWD, "/v"',
    'fsopen("proc"',
    'pivot_root(".", ".")',
    'umount2(".", MNT_DETACH)',
    'mkdirat(AT_FDCWD, "/data"',
    'mkdirat(AT_FDCWD, "/app"',
    'move_mount($proc, "", AT_FDCWD, "/proc"',
    'mkdirat(AT_FDCWD, "/proc/extra"',
    'mount("/proc/sys", "/proc/sys", 0, MS_BIND|MS_REC, 0)',
    'move_mount($mask, "", AT_FDCWD, "/proc/kcore"',
    'mount_setattr(AT_FDCWD, "/", 0, ro',
    'prlimit64(0, RLIMIT_NOFILE, soft 1024 hard 4096',
    'close_range(5, 4294967295, 0)',
    'setgroups(1, 1000)',
    'setresgid(1000, 1000, 1000)',
    'setresuid(1000, 1000, 1000)',
    'capset(version 3, effective none)',
    'chdir("/app")',
    'prctl(PR_SET_NO_NEW_PRIVS, 1)',
    'execve("/usr/bin/sh", ["sh","-c","true"], 2 variables)',
    'execve("/bin/sh"',
  ]);
});

test('a terminal is opened in the container, and its master left with the shim before anything of the host is closed', () => {
  const program = plan({ process: { ...process, terminal: true } });
  inOrder(program, [
    'CLONE_VFORK|CLONE_PIDFD',
    'pivot_root',
    'TIOCGPTPEER',
    'dup3($terminal_master, 15',
    'unshare(CLONE_FILES)',
    'TIOCSCTTY',
    'close_range(5, 4294967295',
  ]);
  assert.ok(calls(program).some((call) => call.includes('CLONE_FILES|CLONE_VFORK')));
});

test('a device of the request replaces the default one; in a user namespace devices are bound', () => {
  const fuse = { path: '/dev/fuse', hostPath: '/dev/fuse', type: 'c', major: 10, minor: 229, mode: 0o666, uid: 0, gid: 0 } as const;
  assert.ok(calls(plan({ devices: [fuse] })).includes('mknodat(AT_FDCWD, "/dev/fuse", c 0666, 10:229)'));
  const mapped = calls(
    plan({ devices: [fuse], namespaces: { ...spec.namespaces, user: 'join' }, uidMappings: [{ containerId: 0, hostId: 9, size: 1 }] }),
  );
  assert.ok(!mapped.some((call) => call.startsWith('mknodat')));
  assert.ok(mapped.some((call) => call.includes('open_tree(AT_FDCWD, "/dev/fuse"')));
  assert.ok(mapped.includes('fchownat(AT_FDCWD, "/c/upper", 9, 0, 0)'));
});

test('in a user namespace everything of the host is taken and mapped by its root, before the namespace is entered', () => {
  const volume = { kind: 'bind', source: '/volume', target: '/v', sourceIsDirectory: true, readonly: false } as const;
  const mounts = [
    { ...volume, recursiveReadonly: false, propagation: 'private', idmapped: true },
    { kind: 'image', target: '/image', lowerDirs: ['/layer', '/empty'], mountpoint: '/aside' },
  ] as const;
  const mappings = [{ containerId: 0, hostId: 9, size: 1 }];
  inOrder(plan({ mounts, namespaces: { ...spec.namespaces, user: 'join', time: 'join' }, uidMappings: mappings, gidMappings: mappings }), [
    'unshare(CLONE_NEWNS)',
    'mount("overlay", "/c/rootfs"',
    'open_tree(AT_FDCWD, "/volume"',
    'mount_setattr($/volume, "", AT_EMPTY_PATH|AT_RECURSIVE, idmap of descriptor 11',
    'mount("layers", "/aside", "tmpfs"',
    'open_tree(AT_FDCWD, "/layer"',
    'mount("overlay", "/aside", "overlay", 0, "lowerdir=/aside/0:/aside/1")',
    'CLONE_NEWUSER|CLONE_NEWNET|CLONE_NEWIPC|CLONE_NEWUTS|CLONE_NEWTIME',
    'clone3(',
    'mount(".", "."',
    'pivot_root(".", ".")',
    'move_mount($/volume, "", AT_FDCWD, "/v"',
    'move_mount($/aside, "", AT_FDCWD, "/image"',
  ]);
});

test('privileged: sysfs and cgroups writable, nothing hidden', () => {
  const text = renderProgram(plan({ privileged: true, maskedPaths: [], readonlyPaths: [] }));
  assert.match(text, /fsmount\(\$sysfs_context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID\|MOUNT_ATTR_NODEV\|MOUNT_ATTR_NOEXEC\)/);
  assert.ok(!text.includes('/proc/kcore", 0, MS_BIND'));
  assert.match(renderProgram(plan()), /MOUNT_ATTR_RDONLY\|MOUNT_ATTR_NOSUID\|MOUNT_ATTR_NODEV\|MOUNT_ATTR_NOEXEC/);
});

test('what cannot be meant is refused while planning', () => {
  assert.throws(() => plan({ process: { ...process, args: [] } }), /no command given/);
  assert.throws(() => plan({ process: { ...process, args: ['a\0b'] } }), /NUL byte/);
  assert.throws(
    () => plan({ process: { ...process, rlimits: [{ type: 'RLIMIT_X', soft: 0n, hard: 0n }] } }),
    /unknown resource limit "RLIMIT_X"/,
  );
  assert.throws(() => sysctlPath('net/../../etc'), /not valid/);
});

test('explain shows phases, numbers, names of flags, reasons and what is tolerated', () => {
  const text = renderProgram(plan());
  assert.match(text, /^process\n {5}0 {2}prctl\(PR_SET_DUMPABLE, 0\) {3}# a process of the container must not/);
  assert.match(text, /\n\npivot\n +\d+ {2}pivot_root\("\.", "\."\)\n/);
  assert.match(text, /mkdirat\(AT_FDCWD, "\/dev", 0755\) {3}# EEXIST is fine/);
  assert.match(text, /\$pid = clone3\(/);
  assert.ok(!/subtract/.test(text));
});

test('a failure names its step by the offset, and repeats count as the step itself', () => {
  const program = plan();
  const find = (name: string, repeated: boolean) => program.ops.findIndex((op) => op.name === name && op.repeated === repeated) * OP_BYTES;
  assert.equal(
    describeFailure(program, find('mount', false), 16).sentence,
    'mount("", "/", 0, MS_REC|MS_PRIVATE, 0): EBUSY (device or resource busy)',
  );
  assert.match(describeFailure(program, find('mkdirat', true), 30).sentence, /^mkdirat\(AT_FDCWD, "\/dev", 0755\): EROFS/);
  assert.match(describeFailure(program, 80_000_000, 1).sentence, /unknown step/);
});

test('the sysctl names of both separators mean the same file', () => {
  assert.equal(sysctlPath('net.ipv4.ip_forward'), '/proc/sys/net/ipv4/ip_forward');
  assert.equal(sysctlPath('net/ipv4/conf/eth0.1/forwarding'), '/proc/sys/net/ipv4/conf/eth0.1/forwarding');
  assert.equal(sysctlPath('net.ipv4.conf.eth0/1.forwarding'), '/proc/sys/net/ipv4/conf/eth0.1/forwarding');
});

test('exec and pause programs name what they join and make', () => {
  const exec = planExecProgram({ process, cgroup: spec.cgroup, namespaces: ['mnt', 'pid', 'net'] }, { recordId: 1, arch: 'x64' });
  inOrder(exec, [
    '"/sys/fs/cgroup/memory/k/c/cgroup.procs"',
    'setns(8, CLONE_NEWNS|CLONE_NEWPID|CLONE_NEWNET)',
    'clone3(',
    'write($cgroup.procs, "0", 1)',
    'execve',
  ]);
  const pause = planPauseProgram(
    {
      namespaces: { net: 'new', ipc: 'new', uts: 'new', pid: 'host', user: 'host' },
      hostname: 'web',
      sysctls: { 'net.core.somaxconn': '99' },
      cgroup: { v1Procs: [] },
    },
    { recordId: 1, arch: 'x64' },
  );
  inOrder(pause, [
    'unshare(CLONE_NEWNET|CLONE_NEWIPC|CLONE_NEWUTS)',
    'sethostname("web", 3)',
    'lo up',
    '"/proc/sys/net/core/somaxconn"',
    'record ready',
    'close_range(0, 3',
  ]);
});

test('every program of any spec encodes for both architectures, with all targets inside', () => {
  const mode = fc.constantFrom('new', 'join', 'host') as fc.Arbitrary<'new' | 'join' | 'host'>;
  const name = fc.stringMatching(/^[a-z,:\\ ]{1,8}$/);
  fc.assert(
    fc.property(
      fc.record({
        net: mode,
        ipc: mode,
        uts: mode,
        pid: mode,
        cgroup: mode,
        user: fc.constantFrom('join', 'host') as fc.Arbitrary<'join' | 'host'>,
      }),
      fc.array(name, { maxLength: 4 }),
      fc.boolean(),
      fc.constantFrom('cgroup2', 'host-bind', 'none') as fc.Arbitrary<ContainerSpec['cgroupMount']>,
      (namespaces, names, terminal, cgroupMount) => {
        const mounts = names.map(
          (target) =>
            ({
              kind: 'bind',
              source: `/${target}`,
              target: `/m/${target}`,
              sourceIsDirectory: false,
              readonly: true,
              recursiveReadonly: false,
              propagation: 'private',
            }) as const,
        );
        for (const arch of ['x64', 'arm64'] as const) {
          const program = planContainerProgram(
            { ...spec, namespaces, mounts, cgroupMount, process: { ...process, terminal } },
            { recordId: 1, arch },
          );
          const ops = Number(program.bytes.readBigUInt64LE(16)) - program.base;
          for (let i = 0; i < program.ops.length; i++)
            for (const field of [64, 68, 72]) {
              const target = program.bytes.readUInt32LE(ops + i * OP_BYTES + field);
              assert.ok(target <= 1 || (target % OP_BYTES === 0 && target < program.ops.length * OP_BYTES), `op ${i}: target ${target}`);
            }
        }
      },
    ),
    { numRuns: 50 },
  );
});
