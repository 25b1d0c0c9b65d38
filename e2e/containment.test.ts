// What a root process in a default container cannot reach. docs/security.md lists these tests.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { NamespaceMode, SecurityProfile_ProfileType } from '../cri-proto/gen/api.ts';
import { execIn, pausePidOf, runContainer, sandboxConfig, startIn, statusOf, untilExited } from './testing/cri.ts';
import { buildPerlImage, noPerl, PERL, perlIn, shellIn } from './testing/perl.ts';
import { TestNode } from './testing/test-node.ts';

const skip = noPerl;
const image = { image: PERL };
const forever = ['perl', '-e', 'sleep 1 while 1'];
const linux = { securityContext: { seccomp: { profileType: SecurityProfile_ProfileType.RuntimeDefault } } };

let node: TestNode;
let sandboxId: string;
let containerId: string;
const logs = (name: string) => path.join(node.logDir, name);
const sandbox = () => sandboxConfig('attacker', logs('attacker'));
let config: ReturnType<typeof sandbox>;

before(async () => {
  if (skip !== false) return;
  node = await TestNode.create();
  await node.start('runtime');
  await buildPerlImage(node);
  config = sandbox();
  ({ sandboxId, containerId } = await runContainer(node.cri, config, { image, command: forever, linux }));
});
after(() => node?.destroy());

test('descriptors 0, 1 and 2 are all that is open, in a container and in an exec session', { skip }, async () => {
  assert.equal(await shellIn(node, containerId, 'ls /proc/1/fd | tr "\\n" " "'), '0 1 2 ');
  const own =
    'opendir(my $d, "/proc/self/fd"); print grep { /^[0-9]+$/ && $_ > 2 && readlink("/proc/self/fd/$_") !~ m{^/proc/[0-9]+/fd$} } readdir $d';
  assert.equal(await perlIn(node, containerId, own), '');
});

test('mode and owner of the host’s /dev/null are not to be changed through stdin', { skip }, async () => {
  const text = await shellIn(
    node,
    containerId,
    'chmod 0666 /dev/stdin; chown 0 /proc/1/fd/0; echo x >/proc/1/fd/0 && readlink /proc/1/fd/0',
  );
  assert.match(text, /chmod: \/dev\/stdin: Read-only file system\nchown: \/proc\/1\/fd\/0: Read-only file system\n\/dev\/null\n$/);
});

for (const file of [
  '/proc/sysrq-trigger',
  '/proc/sys/kernel/core_pattern',
  '/proc/sys/kernel/hostname',
  '/proc/sys/vm/drop_caches',
  '/proc/sys/net/ipv4/ip_forward',
  '/proc/irq/default_smp_affinity',
  '/sys/kernel/mm/transparent_hugepage/enabled',
  '/sys/fs/cgroup/unified/cgroup.procs',
])
  test(`${file} cannot be written`, { skip }, async (t) => {
    if (!fs.existsSync(file) && !file.startsWith('/sys/fs/cgroup')) return t.skip('this kernel does not have it');
    const text = await shellIn(node, containerId, `echo 0 >${file} && echo written`);
    assert.match(text, /Read-only file system|nonexistent directory/);
    assert.doesNotMatch(text, /written/);
  });

test('what the kernel tells of the host is hidden', { skip }, async () => {
  for (const file of ['/proc/keys', '/proc/timer_list', '/proc/interrupts', '/proc/kcore', '/proc/sched_debug'])
    assert.match(await shellIn(node, containerId, `test -e ${file} && wc -c <${file} || echo 0`), /^0\n$/, file);
  for (const directory of ['/proc/acpi', '/proc/scsi', '/proc/asound', '/sys/firmware', '/sys/devices/virtual/powercap'])
    assert.equal(await shellIn(node, containerId, `ls ${directory} 2>/dev/null`), '', directory);
  assert.match(
    await shellIn(node, containerId, 'head -c 1 /proc/kmsg; dmesg'),
    /kmsg: Operation not permitted\n.*klogctl: Operation not permitted/,
  );
});

test('of the nodes that it can make, a container opens the default devices only', { skip }, async (t) => {
  if (node.log.includes('not restricted to their devices')) return t.skip('this kernel has no device programs for cgroups');
  const nodes = {
    mem: 'c 1 1',
    kmsg: 'c 1 11',
    disk: 'b 254 0',
    sda: 'b 8 0',
    loop: 'c 10 237',
    fuse: 'c 10 229',
    tun: 'c 10 200',
    vc: 'c 4 1',
  };
  for (const [name, numbers] of Object.entries(nodes)) {
    const text = await shellIn(node, containerId, `mknod /tmp/${name} ${numbers} && head -c 1 </tmp/${name}`);
    assert.match(text, /Operation not permitted/, `${name}: ${text}`);
  }
  assert.equal(await shellIn(node, containerId, 'mknod /tmp/zero c 1 5 && head -c 3 /tmp/zero | wc -c'), '3\n');
});

test('system calls that reach out of a container are refused', { skip }, async () => {
  const EPERM = 1;
  const ENOSYS = 38;
  const calls: Readonly<Record<string, readonly [string, number]>> = {
    keyctl: ['250, 0, -3, 0', EPERM],
    add_key: ['248, 0, 0, 0, 0', EPERM],
    request_key: ['249, 0, 0, 0, 0', EPERM],
    bpf: ['321, 0, 0, 0', EPERM],
    perf_event_open: ['298, 0, 0, -1, -1, 0', EPERM],
    kexec_load: ['246, 0, 0, 0, 0', EPERM],
    init_module: ['175, 0, 0, 0', EPERM],
    unshare_user: ['272, 0x10000000', EPERM],
    unshare_mnt: ['272, 0x20000', EPERM],
    clone_user: ['56, 0x10000011, 0, 0, 0, 0', EPERM],
    clone3: ['435, 0, 0', ENOSYS],
    setns: ['308, 0, 0', EPERM],
    mount: ['165, 0, 0, 0, 0, 0', EPERM],
    umount2: ['166, 0, 0', EPERM],
    pivot_root: ['155, 0, 0', EPERM],
    fsopen: ['430, 0, 0', EPERM],
    open_tree: ['428, -100, 0, 0', EPERM],
    move_mount: ['429, 0, 0, 0, 0, 0', EPERM],
    open_by_handle_at: ['304, 0, 0, 0', EPERM],
    io_uring_setup: ['425, 1, 0', EPERM],
    userfaultfd: ['323, 0', EPERM],
    pidfd_getfd: ['438, 0, 0, 0', EPERM],
    syslog: ['103, 3, 0, 0', EPERM],
    vsock: ['41, 40, 1, 0', EPERM],
    reboot: ['169, 0, 0, 0', EPERM],
    personality: ['135, 0x40000', EPERM],
    iopl: ['172, 3', EPERM],
    acct: ['163, 0', EPERM],
    quotactl: ['179, 0, 0, 0, 0', EPERM],
    x32_getpid: ['0x40000027', ENOSYS],
  };
  const program = Object.entries(calls).map(([name, [args]]) => `print "${name} ", (syscall(${args}) < 0 ? $!+0 : "allowed"), "\\n";`);
  const expected = Object.entries(calls).map(([name, [, errno]]) => `${name} ${errno}\n`);
  assert.equal(await perlIn(node, containerId, program.join('\n')), expected.join(''));
});

test('a container cannot look into an exec session before its program runs', { skip }, async () => {
  const watch = `
    my %seen; my $end = time + 4;
    while (time < $end) {
      opendir(my $proc, '/proc') or die;
      for my $pid (grep { /^\\d+$/ && $_ != 1 && $_ != $$ } readdir $proc) {
        my $name = sub { open(my $f, '<', "/proc/$pid/cmdline") or return ''; local $/; <$f> // '' };
        next unless $name->() =~ /^tskubelet/;
        $seen{met}++;
        my $try = sub { my ($what, $ok) = @_; $seen{$what}++ if $ok && $name->() =~ /^tskubelet/ };
        for my $link (qw(exe cwd root fd/4 fd/8)) { my $to = readlink "/proc/$pid/$link"; $try->($link, defined $to) }
        for my $file (qw(mem environ maps auxv)) { my $ok = open(my $f, '<', "/proc/$pid/$file") && sysread($f, my $b, 1); $try->($file, $ok) }
        # PTRACE_SEIZE: an attach would leave whoever has become the command by then stopped.
        $try->('ptrace', 1) if syscall(101, 0x4206, $pid + 0, 0, 0) >= 0;
      }
    }
    print join(' ', sort keys %seen);`;
  const watching = perlIn(node, containerId, watch);
  let stop = false;
  const sessions = (async () => {
    while (!stop) await execIn(node.cri, containerId, ['busybox', 'true']);
  })();
  try {
    assert.equal(await watching, 'met', 'it was met, and nothing of it was seen');
  } finally {
    stop = true;
    await sessions;
  }
});

test('the image that starts a container cannot be replaced from inside, even as the container’s own program', { skip }, async () => {
  const id = await startIn(node.cri, sandboxId, config, { image, command: ['/proc/self/exe'] });
  assert.equal((await untilExited(node.cri, id)).exitCode, 125);
  assert.equal((await execIn(node.cri, containerId, ['busybox', 'true'])).code, 0);
});

test('a working directory in /proc/self/fd leads nowhere', { skip }, async () => {
  for (const fd of [3, 4, 8, 9, 12, 20]) {
    const command = ['busybox', 'ls'];
    await assert.rejects(startIn(node.cri, sandboxId, config, { image, command, workingDir: `/proc/self/fd/${fd}` }), /chdir/, `${fd}`);
  }
});

test('without a seccomp profile too, each container has a session keyring of its own', { skip }, async () => {
  const unconfined = { securityContext: { seccomp: { profileType: SecurityProfile_ProfileType.Unconfined } } };
  const keyring = 'printf "%d\\n", syscall(250, 0, -3, 0)';
  const ids = await Promise.all(
    [1, 2].map(async () => {
      const id = await startIn(node.cri, sandboxId, config, {
        image,
        command: ['perl', '-e', `$| = 1; ${keyring}; sleep 1 while 1`],
        linux: unconfined,
      });
      return Number(await perlIn(node, id, keyring));
    }),
  );
  assert.equal(new Set(ids).size, 2);
  const daemons = Number((await node.inNetwork(['perl', '-e', keyring])).stdout);
  for (const id of ids) assert.ok(id > 0 && id !== daemons, `${ids} and ${daemons}`);
});

test('in a shared PID namespace the pause process is neither ended nor looked into', { skip }, async () => {
  const pids = { securityContext: { ...linux.securityContext, namespaceOptions: { pid: NamespaceMode.POD } } };
  const pod = sandboxConfig('shared', logs('shared'), { linux: pids });
  const shared = await runContainer(node.cri, pod, { image, command: forever, linux: pids });
  const pause = await pausePidOf(node.cri, shared.sandboxId);
  const text = await shellIn(
    node,
    shared.containerId,
    'cat /proc/1/comm; kill -KILL 1; kill -STOP 1; readlink /proc/1/exe; ls /proc/1/root; echo x >/proc/1/fd/4; head -c 1 /proc/1/environ',
  );
  assert.match(text, /^tskubelet-pause\n/);
  assert.equal(text.match(/Permission denied/g)?.length, 3, text);
  assert.match(fs.readFileSync(`/proc/${pause}/status`, 'utf8'), /^State:\tS/m);
  await node.cri.runtime.removePodSandbox({ podSandboxId: shared.sandboxId });
});

test('a container that blocks, resizes and drains its own output holds up no other', { skip }, async () => {
  const greedy = `
    open(my $own, '+<', '/proc/self/fd/1') or die; fcntl($own, 1031, 4096); fcntl($own, 4, 2048);
    my $end = time + 3; while (time < $end) { syswrite($own, "x" x 4096); sysread($own, my $b, 4096) }`;
  const greedyId = await startIn(node.cri, sandboxId, config, { image, command: ['perl', '-e', greedy] });
  const neighbour = await startIn(node.cri, sandboxId, config, {
    image,
    metadata: { name: 'neighbour' },
    command: ['busybox', 'echo', 'heard'],
  });
  await untilExited(node.cri, neighbour);
  assert.match(fs.readFileSync(path.join(logs('attacker'), 'neighbour/0.log'), 'utf8'), /stdout F heard\n$/);
  assert.equal((await untilExited(node.cri, greedyId)).exitCode, 0);
  assert.equal((await statusOf(node.cri, containerId)).exitCode, 0);
});

test('files and sockets of the runtime are closed to every user but root, so are setuid programs that a container makes', {
  skip,
}, async () => {
  await shellIn(node, containerId, 'cp /usr/bin/perl /setuid && chmod 4755 /setuid');
  const places = [
    path.join(node.rootDir, 'images/snapshots', containerId, 'fs/setuid'),
    path.join(node.runDir, 'containers', containerId, 'stdout'),
    path.join(node.runDir, 'cri.sock'),
    path.join(node.runDir, 'events'),
  ];
  for (const place of places) assert.ok(fs.existsSync(place), place);
  const open = `$) = "65534 65534"; $> = 65534; for (@ARGV) { print "$_\\n" if -r $_ || -w $_ || -x $_ }`;
  assert.equal((await node.inNetwork(['perl', '-e', open, ...places])).stdout, '');
});
