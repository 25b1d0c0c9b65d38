import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { DEFAULT_CAPABILITIES } from '../program/capabilities.ts';
import { defaultSeccompFilter } from '../program/seccomp-default.ts';
import type { BindMount, ContainerSpec } from '../program/spec.ts';
import type { PauseProcess } from './pause.ts';
import { ProgramError } from './program-error.ts';
import { capabilities, finish, Rig, skipReason } from './testing/rig.ts';

const skip = skipReason();
let rig: Rig;
let pause: PauseProcess;
let mountsBefore: string;

before(async () => {
  if (skip) return;
  mountsBefore = fs.readFileSync('/proc/self/mountinfo', 'utf8');
  rig = new Rig();
  pause = await rig.pause();
});
after(async () => {
  if (skip) return;
  await rig.close();
  const left = fs
    .readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(rig.dir));
  assert.deepEqual(left, [], `mounts are left; before: ${mountsBefore.length} bytes`);
});

const sh = (script: string, changes: Parameters<Rig['spec']>[1] = {}) => rig.spec(['sh', '-c', script], changes);

async function output(spec: ContainerSpec): Promise<string> {
  const { stdout, stderr, exit } = await rig.run(spec, pause);
  assert.deepEqual({ stderr, code: exit?.code, signal: exit?.signal }, { stderr: '', code: 0, signal: 0 }, stdout);
  return stdout;
}

function bind(source: string, target: string, changes: Partial<BindMount> = {}): BindMount {
  return {
    kind: 'bind',
    source,
    target,
    sourceIsDirectory: fs.statSync(source).isDirectory(),
    readonly: false,
    recursiveReadonly: false,
    propagation: 'private',
    ...changes,
  };
}

test('a container runs its command as PID 1, writes to both streams and gives its exit code', { skip }, async () => {
  const { exit, stdout, stderr } = await rig.run(sh('echo $$; echo oops >&2; exit 7'), pause);
  assert.deepEqual({ code: exit?.code, signal: exit?.signal, stdout, stderr }, { code: 7, signal: 0, stdout: '1\n', stderr: 'oops\n' });
  const age = BigInt(Date.now()) * 1_000_000n - (exit?.finishedAt ?? 0n);
  assert.ok(age >= 0n && age < 10_000_000_000n, `finished ${age} ns ago`);
});

test('a signal that ends init is told as a signal', { skip }, async () => {
  const started = await rig.start(rig.spec(['sleep', '100']), pause);
  assert.equal(started.container.kill(9), true);
  const { exit } = await finish(started);
  assert.deepEqual([exit?.code, exit?.signal], [0, 9]);
  assert.equal(started.container.kill(9), false);
});

test('no signal is ignored or blocked in a container, whatever the daemon ignores', { skip }, async () => {
  assert.match(fs.readFileSync('/proc/self/status', 'latin1'), /^SigIgn:\s*0*[1-9a-f]/m, 'Node ignores SIGPIPE');
  const lines = (await output(rig.spec(['grep', '-E', '^Sig(Ign|Blk)', '/proc/self/status']))).trim().split('\n');
  assert.deepEqual(lines.toSorted(), ['SigBlk:\t0000000000000000', 'SigIgn:\t0000000000000000']);
});

test('the sandbox’s namespaces are joined, pid mnt and cgroup are new, and pause holds what is shared', { skip }, async () => {
  const kinds = ['net', 'ipc', 'uts', 'pid', 'mnt', 'cgroup'];
  const inside = (await output(sh(`for n in ${kinds.join(' ')}; do readlink /proc/self/ns/$n; done; hostname`))).trim().split('\n');
  const of = (pid: number | 'self') => kinds.map((kind) => fs.readlinkSync(`/proc/${pid}/ns/${kind}`));
  const host = of('self');
  const sandbox = of(pause.pid);
  assert.deepEqual(inside.slice(0, 3), sandbox.slice(0, 3));
  assert.deepEqual(inside.at(-1), 'sandbox');
  for (const [i, kind] of kinds.entries()) assert.notEqual(inside[i], host[i], kind);
  for (const i of [0, 1, 2]) assert.notEqual(sandbox[i], host[i]);
});

test('neither files nor processes of the host are visible, and no descriptor of it is open', { skip }, async () => {
  const text = await output(sh('ls /; ls /proc | grep -E "^[0-9]+$"; ls /proc/self/fd; cat /proc/self/mountinfo'));
  assert.ok(!text.includes(rig.dir.slice(1)) || text.includes('lowerdir'), text);
  assert.match(text, /^bin\ndev\netc\nproc\nroot\nsys\ntmp\nvar\n1\n/);
  const mounts = text
    .split('\n')
    .filter((line) => / - /.test(line))
    .map((line) => line.split(' ')[4]);
  for (const target of ['/', '/dev', '/dev/pts', '/dev/mqueue', '/dev/shm', '/sys', '/proc', '/proc/sys'])
    assert.ok(mounts.includes(target), target);
});

test('stdin is /dev/null, or a FIFO whose only lasting writer is the shim', { skip }, async () => {
  assert.equal(await output(sh('readlink /proc/self/fd/0; cat')), '/dev/null\n');
  const started = await rig.start(sh('head -n 1', { keepsStdin: true }), pause);
  fs.writeFileSync(path.join(started.dir, 'stdin'), 'hello\nrest\n');
  assert.equal((await finish(started)).stdout, 'hello\n');
});

test('devices, links and file systems of the OCI specification are there with their modes', { skip }, async () => {
  const text = await output(
    sh(
      'stat -c "%n %F %t:%T %a" /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty; for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done; stat -f -c %T /dev /dev/shm /dev/pts /proc /sys; echo x > /dev/null; head -c 3 /dev/zero | grep -c .',
    ),
  ).catch((error) => assert.fail(String(error)));
  for (const line of ['/dev/null character special file 1:3 666', '/dev/tty character special file 5:0 666', '/proc/self/fd/2', 'pts/ptmx'])
    assert.ok(text.includes(`${line}\n`), text);
});

test('a device of the request is made with its numbers, mode and owner', { skip }, async () => {
  const device = { path: '/dev/sub/fuse', hostPath: '/dev/fuse', type: 'c', major: 10, minor: 229, mode: 0o640, uid: 7, gid: 8 } as const;
  assert.equal(await output(sh('stat -c "%t:%T %a %u:%g" /dev/sub/fuse', { devices: [device] })), 'a:e5 640 7:8\n');
});

test('masked paths are empty, read-only paths are, and /sys is read-only unless privileged', { skip }, async () => {
  const script =
    'cat /proc/keys /proc/timer_list; ls /sys/firmware; for f in /proc/sys/kernel/domainname /sys/kernel/profiling /proc/sysrq-trigger; do (echo x > $f) 2>/dev/null && echo "$f writable"; done; grep -c " /proc/sys proc ro," /proc/mounts';
  assert.equal(await output(sh(script)), '1\n');
  const privileged = sh('(echo 5 > /proc/sys/vm/laptop_mode_none) 2>&1 | grep -c -i read-only; grep -c " /sys sysfs rw" /proc/mounts', {
    maskedPaths: [],
    readonlyPaths: [],
    privileged: true,
  });
  assert.equal((await rig.run(privileged, pause)).stdout, '0\n1\n');
});

test('capabilities are exactly those asked for, in every set', { skip }, async () => {
  const status = (text: string) => Object.fromEntries([...text.matchAll(/^(Cap\w+):\s*(\w+)$/gm)].map((match) => [match[1], match[2]]));
  const script = 'grep ^Cap /proc/self/status';
  const set = '00000000a80425fb';
  const none = '0000000000000000';
  assert.deepEqual(status(await output(sh(script))), { CapInh: none, CapPrm: set, CapEff: set, CapBnd: set, CapAmb: none });
  const user = { uid: 1000, gid: 1000, additionalGids: [] };
  assert.deepEqual(status(await output(sh(script, { in: { user } }))), {
    CapInh: none,
    CapPrm: none,
    CapEff: none,
    CapBnd: set,
    CapAmb: none,
  });
  const bind = ['CAP_NET_BIND_SERVICE'];
  const ambient = { ...capabilities(bind), inheritable: bind, ambient: bind };
  const bit = '0000000000000400';
  assert.deepEqual(status(await output(sh(script, { in: { user, capabilities: ambient } }))), {
    CapInh: bit,
    CapPrm: bit,
    CapEff: bit,
    CapBnd: bit,
    CapAmb: bit,
  });
});

test('user, group and supplementary groups are set, and the user may open its own output again', { skip }, async () => {
  const user = { uid: 1000, gid: 1001, additionalGids: [1001, 2000] };
  assert.equal(await output(sh('id -u; id -g; id -G; echo again > /dev/stdout', { in: { user } })), '1000\n1001\n1001 2000\nagain\n');
});

test('no_new_privs and seccomp are on when asked for, with and without each other', { skip }, async () => {
  const seccomp = defaultSeccompFilter(DEFAULT_CAPABILITIES);
  const script = 'grep -E "^(NoNewPrivs|Seccomp):" /proc/self/status; unshare -m true 2>&1; mount -t tmpfs x /tmp 2>&1; true';
  for (const noNewPrivileges of [true, false])
    for (const user of [0, 1000]) {
      const text = await output(sh(script, { in: { seccomp, noNewPrivileges, user: { uid: user, gid: 0, additionalGids: [] } } }));
      assert.match(text, new RegExp(`NoNewPrivs:\t${noNewPrivileges ? 1 : 0}\nSeccomp:\t2\n.*Operation not permitted`));
    }
  assert.match(await output(sh('grep ^Seccomp: /proc/self/status')), /Seccomp:\t0/);
});

test('binds are writable, read-only, or read-only with everything below them', { skip }, async () => {
  const volume = path.join(rig.dir, 'volume');
  fs.mkdirSync(path.join(volume, 'sub'), { recursive: true });
  fs.writeFileSync(path.join(volume, 'file'), 'of the host\n');
  const script = 'for d in rw ro rro; do cat /$d/file; touch /$d/new 2>/dev/null && echo $d writable; done; cat /deep/er/file; true';
  const mounts = [
    bind(volume, '/rw'),
    bind(volume, '/ro', { readonly: true }),
    bind(volume, '/rro', { readonly: true, recursiveReadonly: true }),
    bind(path.join(volume, 'file'), '/deep/er/file'),
    { kind: 'tmpfs', target: '/scratch', options: 'mode=1777,size=1m' } as const,
  ];
  assert.equal(await output(sh(script, { mounts })), 'of the host\nrw writable\nof the host\nof the host\nof the host\n');
  assert.ok(fs.existsSync(path.join(volume, 'new')));
});

test('links of the image never lead a mount out of the container', { skip }, async () => {
  const image = path.join(rig.dir, 'evil');
  fs.cpSync(rig.image, image, { recursive: true, verbatimSymlinks: true });
  fs.symlinkSync(rig.dir, path.join(image, 'absolute'));
  fs.symlinkSync('../../../../../../../../../../etc', path.join(image, 'relative'));
  fs.symlinkSync('/proc/1/root/tmp', path.join(image, 'magic'));
  fs.symlinkSync('/run/nowhere/resolv.conf', path.join(image, 'etc/resolv.conf'));
  const volume = path.join(rig.dir, 'evil-volume');
  fs.mkdirSync(volume);
  fs.writeFileSync(path.join(volume, 'file'), 'mounted\n');
  const spec = sh('cat /absolute/in/file /relative/in/file /magic/file /etc/resolv.conf; ls -d /etc/in', {
    mounts: ['/absolute/in', '/relative/in', '/magic']
      .map((target) => bind(volume, target))
      .concat(bind(path.join(volume, 'file'), '/etc/resolv.conf')),
    namespaces: { net: 'join', ipc: 'join', uts: 'join', pid: 'host', cgroup: 'new', user: 'host' },
    in: { cwd: '/magic/deep' },
  });
  const text = await output({ ...spec, rootfs: { ...spec.rootfs, lowerDirs: [image] } });
  assert.equal(text, 'mounted\nmounted\nmounted\nmounted\n/etc/in\n');
  for (const name of ['/etc/in', '/tmp/deep', path.join(rig.dir, 'in')]) assert.ok(!fs.existsSync(name), name);
});

test('a read-only root keeps its volumes writable', { skip }, async () => {
  const volume = path.join(rig.dir, 'writable');
  fs.mkdirSync(volume);
  const spec = sh('touch /x 2>/dev/null && echo root writable; touch /volume/x && echo volume writable', {
    mounts: [bind(volume, '/volume')],
  });
  assert.equal(await output({ ...spec, rootfs: { ...spec.rootfs, readonly: true } }), 'volume writable\n');
});

test('propagation: a mount made later on the host shows with rslave and rshared, not with private', { skip }, async () => {
  const base = path.join(rig.dir, 'shared');
  fs.mkdirSync(path.join(base, 'later'), { recursive: true });
  const { syscall } = await import('../linux/syscall.ts');
  syscall('mount', 'none', base, 'tmpfs', 0, 'size=64k');
  syscall('mount', '', base, 0, 1 << 20, 0);
  fs.mkdirSync(path.join(base, 'later'));
  try {
    const mounts = (['private', 'rslave', 'rshared'] as const).map((propagation) => bind(base, `/${propagation}`, { propagation }));
    const started = await rig.start(
      sh(
        'read line; for d in private rslave rshared; do grep -c " /$d/later " /proc/mounts; done; grep /rshared /proc/self/mountinfo | grep -c shared:; true',
        { mounts, keepsStdin: true },
      ),
      pause,
    );
    syscall('mount', 'none', path.join(base, 'later'), 'tmpfs', 0, 'size=64k');
    fs.writeFileSync(path.join(started.dir, 'stdin'), 'go\n');
    assert.equal((await finish(started)).stdout, '0\n1\n1\n2\n');
  } finally {
    for (const target of [path.join(base, 'later'), base]) syscall('umount2', target, 2);
  }
});

test('the working directory is made for the user when the image lacks it', { skip }, async () => {
  const user = { uid: 1000, gid: 1000, additionalGids: [] };
  assert.equal(
    await output(sh('readlink /proc/self/cwd; stat -c "%u:%g" .; stat -c "%u" ..', { in: { user, cwd: '/var/app/data' } })),
    '/var/app/data\n1000:1000\n0\n',
  );
});

test('resource limits are set, and one that the daemon may not give is told as a warning', { skip }, async () => {
  const rlimits = [
    { type: 'RLIMIT_NOFILE', soft: 111n, hard: 222n },
    { type: 'RLIMIT_CORE', soft: 0n, hard: 0n },
    { type: 'RLIMIT_MEMLOCK', soft: 1n << 40n, hard: 1n << 40n },
  ];
  const started = await rig.start(sh('ulimit -n; ulimit -H -n; ulimit -c', { in: { rlimits } }), pause);
  const { warnings } = started.container;
  assert.equal((await finish(started)).stdout, '111\n222\n0\n');
  for (const warning of warnings) assert.match(warning, /prlimit64\(0, RLIMIT_MEMLOCK, soft 1099511627776 .*EPERM/);
});

test('oom_score_adj is raised; lowering it without the right is a warning', { skip }, async () => {
  assert.equal(await output(sh('cat /proc/self/oom_score_adj', { in: { oomScoreAdj: 777 } })), '777\n');
  const started = await rig.start(sh('cat /proc/self/oom_score_adj', { in: { oomScoreAdj: -500 } }), pause);
  const { stdout } = await finish(started);
  if (stdout === '-500\n') assert.deepEqual(started.container.warnings, []);
  else assert.match(started.container.warnings.join(), /"-500".*EACCES/);
});

test('the PID namespace may be the host’s, the sandbox’s or a target container’s', { skip }, async () => {
  const namespaces = (pid: 'host' | 'join') => ({ net: 'join', ipc: 'join', uts: 'join', pid, cgroup: 'new', user: 'host' }) as const;
  const inode = 'readlink /proc/self/ns/pid';
  assert.equal((await output(sh(inode, { namespaces: namespaces('host') }))).trim(), fs.readlinkSync('/proc/self/ns/pid'));
  const target = await rig.start(rig.spec(['sleep', '100']), pause);
  const joined = await rig.run(sh(`${inode}; readlink /proc/1/exe`, { namespaces: namespaces('join') }), pause, {
    targetPidfd: target.container.initPidfd,
  });
  assert.equal(joined.stdout.split('\n')[0], fs.readlinkSync(`/proc/${target.container.initPid}/ns/pid`));
  target.container.kill(9);
  await finish(target);
});

for (const [what, args, code, exitCode, message] of [
  ['a command that PATH does not have', ['nosuchcommand'], 'ENOENT', 127, 'exec "nosuchcommand": executable file not found in $PATH'],
  ['a path that does not exist', ['/no/such'], 'ENOENT', 127, 'exec "/no/such": no such file or directory in the container'],
  [
    'a file that is not executable',
    ['/etc/passwd'],
    'EACCES',
    126,
    'exec "/etc/passwd": permission denied (not an executable file, or closed to the user)',
  ],
  ['a directory', ['/etc'], 'EACCES', 126, 'exec "/etc": permission denied (not an executable file, or closed to the user)'],
  [
    'a missing interpreter',
    ['/var/script'],
    'ENOENT',
    127,
    'exec "/var/script": the file is there, its interpreter is not (#! line or ELF loader)',
  ],
  [
    'a file that is no program',
    ['/var/garbage'],
    'ENOEXEC',
    126,
    'exec "/var/garbage": exec format error (no #! line, or built for another architecture)',
  ],
] as const)
  test(`start fails for ${what} with its sentence, and leaves nothing`, { skip }, async () => {
    fs.writeFileSync(path.join(rig.image, 'var/script'), '#!/no/interpreter\n', { mode: 0o755 });
    fs.writeFileSync(path.join(rig.image, 'var/garbage'), 'garbage\n', { mode: 0o755 });
    const recordId = rig.nextId();
    await assert.rejects(rig.start(rig.spec([...args]), pause, { recordId }), (error) => {
      assert.ok(error instanceof ProgramError, String(error));
      assert.deepEqual([error.message, error.code, error.exitCode], [message, code, exitCode]);
      return true;
    });
    assert.ok(!fs.existsSync(path.join(rig.dir, `run-${recordId}`, 'exit')));
  });

for (const [what, changes, message] of [
  [
    'a volume whose source is gone',
    {
      mounts: [
        {
          kind: 'bind',
          source: '/no/volume',
          target: '/v',
          sourceIsDirectory: true,
          readonly: false,
          recursiveReadonly: false,
          propagation: 'private',
        },
      ],
    },
    /open_tree\(AT_FDCWD, "\/no\/volume", .*\): ENOENT .*: the source of this mount does not exist on the host/,
  ],
  [
    'a working directory that is a file',
    { in: { cwd: '/etc/passwd' } },
    /chdir\("\/etc\/passwd"\): ENOTDIR .*: the working directory is a file/,
  ],
  [
    'a cgroup that is gone',
    { cgroup: { v1Procs: ['/sys/fs/cgroup/no/such/cgroup.procs'] } },
    /openat\(AT_FDCWD, "\/sys\/fs\/cgroup\/no\/such\/cgroup.procs", O_WRONLY\|O_CLOEXEC, 0\): ENOENT/,
  ],
] as const)
  test(`start fails for ${what} naming the step`, { skip }, async () => {
    await assert.rejects(rig.start(rig.spec(['true'], changes), pause), (error) => {
      assert.ok(error instanceof ProgramError, String(error));
      assert.match(error.message, message);
      assert.equal(error.exitCode, 128);
      return true;
    });
  });

test('a start can be aborted, and a missing layer is named with the whole mount', { skip }, async () => {
  const spec = rig.spec(['sleep', '100']);
  await assert.rejects(rig.start(spec, pause, { signal: AbortSignal.abort() }), { name: 'AbortError' });
  const broken = rig.spec(['true']);
  await assert.rejects(
    rig.start({ ...broken, rootfs: { ...broken.rootfs, lowerDirs: ['/no/layer'] } }, pause),
    /mount\("overlay", ".*rootfs", "overlay", 0, "lowerdir=\/no\/layer,upperdir=.*"\): ENOENT/,
  );
});

test('many layers with long names are mounted by one name each', { skip }, async () => {
  const base = path.join(rig.dir, 'layers');
  const lowerDirs = Array.from({ length: 140 }, (_, i) => path.join(base, `${'x'.repeat(90)}${i}`));
  for (const directory of lowerDirs) fs.mkdirSync(directory, { recursive: true });
  fs.writeFileSync(path.join(lowerDirs[0] ?? '', 'top'), 'top\n');
  const spec = rig.spec(['cat', '/top']);
  const rootfs = { ...spec.rootfs, lowerDirs: [...lowerDirs, rig.image], isVolatile: true };
  assert.equal(await output({ ...spec, rootfs }), 'top\n');
  // The kernel's note of the option, by which it refuses the next mount.
  assert.ok(fs.existsSync(path.join(rootfs.workDir, 'work/incompat/volatile')));
});

test('the container gets its terminal: stdio, controlling terminal and console', { skip }, async () => {
  const { copyDescriptor } = await import('../linux/pidfd.ts');
  const { FD } = await import('../program/records.ts');
  const started = await rig.start(
    sh('tty; echo hi > /dev/tty; read line; echo got $line; stty size; stat -c %F /dev/console; stat -c %u /dev/pts/0', {
      in: { terminal: true, user: { uid: 1000, gid: 1000, additionalGids: [] } },
    }),
    pause,
  );
  const master = copyDescriptor(started.container.shimPidfd, FD.terminal);
  fs.writeSync(master, 'line\n');
  const exit = await started.container.exited;
  const text = readToHangUp(master);
  fs.closeSync(master);
  await finish(started);
  assert.equal(exit?.code, 0, text);
  for (const line of ['/dev/pts/0', 'hi', 'got line', '24 80', 'character special file', '1000'])
    assert.ok(text.includes(`${line}\r\n`), text);
});

/** Everything up to EIO, which a pty's master gives once the other end is closed everywhere. */
function readToHangUp(master: number): string {
  const chunk = Buffer.alloc(4096);
  for (let text = ''; ; ) {
    try {
      text += chunk.toString('latin1', 0, fs.readSync(master, chunk));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EIO') return text;
      throw error;
    }
  }
}
