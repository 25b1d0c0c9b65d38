// The security context and the limits of CRI, as the kernel shows them afterwards. Runs on this host and in guests.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import {
  type ContainerConfig,
  type DeepPartial,
  type LinuxContainerSecurityContext,
  type PodSandboxConfig,
  SecurityProfile_ProfileType as ProfileType,
} from '../cri-proto/gen/api.ts';
import { execIn, pidOf, runContainer, sandboxConfig } from './testing/cri.ts';
import { TestNode } from './testing/test-node.ts';

let node: TestNode;
before(async () => {
  node = await TestNode.create();
  await node.start('runtime');
});
after(() => node?.destroy());

const sleep = ['sleep', '1000'];
let count = 0;

interface Running {
  readonly containerId: string;
  readonly pid: number;
  /** A field of /proc/PID/status. */
  status(field: string): string;
  proc(file: string): string;
  exec(script: string): Promise<{ code: number; stdout: string; stderr: string }>;
}

/** One container in a sandbox of its own, removed after `check`. */
async function withContainer(
  config: DeepPartial<ContainerConfig>,
  check: (running: Running) => Promise<void> | void,
  sandbox: DeepPartial<PodSandboxConfig> = {},
): Promise<void> {
  const name = `security-${count++}`;
  const whole = sandboxConfig(name, path.join(node.logDir, name), sandbox);
  let sandboxId = '';
  try {
    const started = await runContainer(node.cri, whole, { metadata: { name: 'main' }, command: sleep, ...config });
    sandboxId = started.sandboxId;
    const { containerId } = started;
    const pid = await pidOf(node.cri, containerId);
    const proc = (file: string) => fs.readFileSync(`/proc/${pid}/${file}`, 'utf8');
    await check({
      containerId,
      pid,
      proc,
      status: (field) => new RegExp(`^${field}:\\s*(.*)$`, 'm').exec(proc('status'))?.[1]?.trim() ?? '',
      exec: (script) => execIn(node.cri, containerId, ['sh', '-c', script]),
    });
  } finally {
    const { items } = await node.cri.runtime.listPodSandbox({});
    for (const { id, metadata } of items)
      if (id === sandboxId || metadata?.name === name) await node.cri.runtime.removePodSandbox({ podSandboxId: id });
  }
}

const secured = (securityContext: DeepPartial<LinuxContainerSecurityContext>, more: DeepPartial<ContainerConfig> = {}) => ({
  ...more,
  linux: { ...more.linux, securityContext },
});

const refused = (
  config: DeepPartial<ContainerConfig>,
  expected: { code: string; message: RegExp },
  sandbox: DeepPartial<PodSandboxConfig> = {},
) =>
  assert.rejects(
    withContainer(config, () => assert.fail('it runs'), sandbox),
    expected,
  );

/** The first cgroup of the container that has the file. */
function cgroupFile(containerId: string, ...names: string[]): string | undefined {
  for (const name of names)
    for (const directory of node.cgroups().filter((entry) => path.basename(entry) === containerId)) {
      const file = path.join(directory, name);
      if (fs.existsSync(file)) return fs.readFileSync(file, 'utf8').trim();
    }
  return undefined;
}

function writeProfile(name: string, profile: unknown): string {
  const file = path.join(node.dir, name);
  fs.writeFileSync(file, typeof profile === 'string' ? profile : JSON.stringify(profile));
  return file;
}

const noMkdir = (errnoRet: number) => ({
  defaultAction: 'SCMP_ACT_ALLOW',
  syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet }],
});

test('seccomp Localhost: the file’s rules hold, in every spelling, and go on when the file is gone', async () => {
  const file = writeProfile('no-mkdir.json', noMkdir(5));
  for (const securityContext of [
    { seccomp: { profileType: ProfileType.Localhost, localhostRef: file } },
    { seccomp: { profileType: ProfileType.Localhost, localhostRef: `localhost/${file}` } },
    { seccompProfilePath: `localhost/${file}` },
  ])
    await withContainer(secured(securityContext), async ({ status, exec }) => {
      assert.deepEqual([status('Seccomp'), status('Seccomp_filters')], ['2', '1']);
      if ('seccompProfilePath' in securityContext) fs.rmSync(file);
      const { code, stderr } = await exec('mkdir /tmp/x; ! [ -e /tmp/x ]');
      assert.match(stderr, /mkdir.*(I\/O|Input\/output) error/);
      assert.equal(code, 0);
    });
});

test('seccomp: default, unconfined, and arguments by masks', async () => {
  await withContainer({}, ({ status }) => assert.equal(status('Seccomp'), '0'));
  for (const securityContext of [{ seccomp: { profileType: ProfileType.RuntimeDefault } }, { seccompProfilePath: 'runtime/default' }])
    await withContainer(secured(securityContext), ({ status }) => assert.equal(status('Seccomp'), '2'));
  await withContainer(secured({ seccomp: { profileType: ProfileType.Unconfined } }), ({ status }) => assert.equal(status('Seccomp'), '0'));
  // umask(2) with any of the group's bits is refused, others pass.
  const rule = { names: ['umask'], action: 'SCMP_ACT_ERRNO', args: [{ index: 0, op: 'SCMP_CMP_MASKED_EQ', value: 0o70, valueTwo: 0o70 }] };
  const localhostRef = writeProfile('masked.json', { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [rule] });
  await withContainer(
    secured({ seccomp: { profileType: ProfileType.Localhost, localhostRef }, noNewPrivs: true }),
    async ({ exec, status }) => {
      assert.equal(status('NoNewPrivs'), '1');
      assert.equal((await exec('umask 077; umask')).stdout, '0022\n');
      assert.equal((await exec('umask 007; umask')).stdout, '0007\n');
    },
  );
});

test('a seccomp profile longer than the kernel takes at once is loaded in parts', async () => {
  const args = (i: number) => Array.from({ length: 5 }, (_, index) => ({ index, op: 'SCMP_CMP_EQ', value: 2 ** 40 + i + index }));
  const names = ['mkdir', 'mkdirat', 'rmdir', 'chmod', 'chown', 'link', 'symlink', 'unlink', 'rename', 'mknod'];
  const rules = names.flatMap((name) => Array.from({ length: 30 }, (_, i) => ({ names: [name], action: 'SCMP_ACT_KILL', args: args(i) })));
  const syscalls = [...rules, { names: ['sync'], action: 'SCMP_ACT_KILL_PROCESS' }];
  const localhostRef = writeProfile('long.json', { defaultAction: 'SCMP_ACT_ALLOW', syscalls });
  await withContainer(secured({ seccomp: { profileType: ProfileType.Localhost, localhostRef } }), async ({ status, exec }) => {
    assert.ok(Number(status('Seccomp_filters')) > 1, status('Seccomp_filters'));
    assert.equal((await exec('mkdir /tmp/x && rmdir /tmp/x')).code, 0);
    assert.notEqual((await exec('sync')).code, 0);
  });
});

test('seccomp profiles that cannot be meant are refused by create', async () => {
  const localhost = (localhostRef: string) => secured({ seccomp: { profileType: ProfileType.Localhost, localhostRef } });
  const code = 'INVALID_ARGUMENT';
  await refused(localhost('/no/such.json'), { code, message: /seccomp profile \/no\/such\.json.*no such file/ });
  await refused(localhost('relative.json'), { code, message: /"relative\.json" is not an absolute path/ });
  await refused(localhost(writeProfile('broken.json', '{"defaultAction": 1}')), {
    code,
    message: /defaultAction\.action: must be a string/,
  });
  await refused(secured({ seccompProfilePath: 'default' }), { code, message: /use runtime\/default/ });
});

test('AppArmor and SELinux', async () => {
  const enabled =
    fs.existsSync('/sys/module/apparmor/parameters/enabled') &&
    fs.readFileSync('/sys/module/apparmor/parameters/enabled', 'utf8').startsWith('Y');
  const asked = secured({ apparmor: { profileType: ProfileType.RuntimeDefault } });
  if (enabled)
    await withContainer(asked, async ({ proc, exec }) => {
      assert.equal(proc('attr/apparmor/current'), 'tskubelet-default (enforce)\n');
      assert.equal((await exec('cat /proc/self/attr/apparmor/current')).stdout, 'tskubelet-default (enforce)\n');
    });
  else await refused(asked, { code: 'FAILED_PRECONDITION', message: /this host has no AppArmor/ });
  await withContainer(secured({ apparmor: { profileType: ProfileType.Unconfined } }), ({ proc }) => {
    if (enabled) assert.equal(proc('attr/apparmor/current'), 'unconfined\n');
  });
  const missing = secured({ apparmorProfile: 'localhost/no-such-profile' });
  await refused(missing, {
    code: enabled ? 'INVALID_ARGUMENT' : 'FAILED_PRECONDITION',
    message: enabled ? /"no-such-profile" is not loaded/ : /no AppArmor/,
  });
  if (!fs.existsSync('/sys/fs/selinux/enforce'))
    await withContainer(secured({ selinuxOptions: { type: 'container_t', level: 's0:c1,c2' } }), ({ status }) =>
      assert.notEqual(status('Pid'), ''),
    );
});

test('user, group and supplemental groups; a group without a user and an unknown name are refused', async () => {
  const ids = { runAsUser: { value: 1000n }, runAsGroup: { value: 2000n }, supplementalGroups: [3000n, 4000n] };
  await withContainer(secured(ids), async ({ status, exec }) => {
    assert.equal(status('Uid'), '1000\t1000\t1000\t1000');
    assert.equal(status('Gid'), '2000\t2000\t2000\t2000');
    assert.deepEqual(status('Groups').split(' '), ['2000', '3000', '4000']);
    assert.match((await exec('id')).stdout, /^uid=1000\S* gid=2000 groups=2000,3000,4000$/m);
  });
  await withContainer(secured({ runAsUsername: '1234' }), ({ status }) => assert.equal(status('Uid'), '1234\t1234\t1234\t1234'));
  const code = 'INVALID_ARGUMENT';
  await refused(secured({ runAsGroup: { value: 1n } }), { code, message: /run_as_group is set without run_as_user/ });
  await refused(secured({ runAsUsername: 'nobody-like-this' }), {
    code,
    message: /"nobody-like-this" is not in the image's \/etc\/passwd/,
  });
});

const capabilities = (status: Running['status']) =>
  Object.fromEntries(['Inh', 'Prm', 'Eff', 'Bnd', 'Amb'].map((set) => [set, BigInt(`0x${status(`Cap${set}`)}`)]));
const own = () => BigInt(`0x${/^CapBnd:\s*(\S+)$/m.exec(fs.readFileSync('/proc/self/status', 'utf8'))?.[1]}`);
const NET_ADMIN = 1n << 12n;
const CHOWN = 1n;
const NET_BIND_SERVICE = 1n << 10n;

test('capabilities: default, added, dropped, all, ambient', async () => {
  await withContainer({}, ({ status }) => assert.equal(capabilities(status).Eff, 0xa80425fbn));
  const change = (more: object) => secured({ capabilities: more });
  await withContainer(change({ addCapabilities: ['NET_ADMIN'], dropCapabilities: ['CAP_CHOWN'] }), ({ status }) => {
    assert.equal(capabilities(status).Bnd, (0xa80425fbn | NET_ADMIN) & ~CHOWN);
    assert.equal(capabilities(status).Eff, capabilities(status).Bnd);
  });
  await withContainer(change({ dropCapabilities: ['ALL'], addCapabilities: ['NET_BIND_SERVICE'] }), ({ status }) => {
    assert.equal(capabilities(status).Bnd, NET_BIND_SERVICE);
  });
  await withContainer(change({ addCapabilities: ['ALL'], dropCapabilities: ['CHOWN'] }), ({ status }) => {
    assert.equal(capabilities(status).Eff, own() & ~CHOWN);
  });
  const ambient = { capabilities: { addAmbientCapabilities: ['NET_BIND_SERVICE'] }, runAsUser: { value: 1000n } };
  await withContainer(secured(ambient), async ({ status, exec }) => {
    const { Inh, Eff, Amb, Prm } = capabilities(status);
    assert.deepEqual([Inh, Prm, Eff, Amb], Array(4).fill(NET_BIND_SERVICE));
    assert.match((await exec('grep CapEff /proc/self/status')).stdout, /0000000000000400$/m);
  });
  await refused(change({ addCapabilities: ['NO_SUCH'] }), { code: 'INVALID_ARGUMENT', message: /unknown capability "NO_SUCH"/ });
});

test('privileged: every capability and device, nothing filtered, hidden or read-only', async () => {
  const sandbox = { linux: { securityContext: { privileged: true } } };
  await withContainer(
    secured({ privileged: true }),
    async ({ status, exec }) => {
      assert.equal(capabilities(status).Eff, own());
      assert.equal(status('Seccomp'), '0');
      const { stdout } = await exec('grep " /sys sysfs" /proc/mounts; grep -c -E " /proc/(kcore|sys) " /proc/mounts; ls /dev');
      assert.match(stdout, /^\S+ \/sys sysfs rw,/);
      assert.match(stdout, /^0$/m);
      for (const device of fs.readdirSync('/dev').filter((name) => /^(loop-control|kmsg|mem)$/.test(name)))
        assert.match(stdout, new RegExp(`^${device}$`, 'm'));
    },
    sandbox,
  );
});

test('read-only root, masked and read-only paths', async () => {
  await withContainer(secured({ readonlyRootfs: true }), async ({ exec }) => {
    assert.match((await exec('touch /x')).stderr, /Read-only file system/);
    assert.equal((await exec('touch /dev/shm/x')).code, 0);
  });
  await withContainer(secured({ maskedPaths: ['/proc/cpuinfo', '/tmp'], readonlyPaths: ['/etc'] }), async ({ exec }) => {
    assert.equal((await exec('cat /proc/cpuinfo')).stdout, '');
    assert.match((await exec('touch /tmp/x')).stderr, /Read-only file system/);
    assert.match((await exec('touch /etc/x')).stderr, /Read-only file system/);
    assert.equal((await exec('touch /x')).code, 0);
  });
});

test('sysctls of the sandbox hold in its namespaces alone; those of the host are refused', async () => {
  const sysctls = (values: Record<string, string>) => ({ linux: { sysctls: values } });
  const before = fs.readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8');
  await withContainer(
    {},
    async ({ exec }) => {
      const { stdout } = await exec('cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/shm_rmid_forced');
      assert.equal(stdout, '20000\t30000\n1\n');
    },
    sysctls({ 'net.ipv4.ip_local_port_range': '20000 30000', 'kernel.shm_rmid_forced': '1' }),
  );
  assert.equal(fs.readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8'), before);
  await refused(
    {},
    { code: 'INVALID_ARGUMENT', message: /sysctl vm\.swappiness has no namespace of its own/ },
    sysctls({ 'vm.swappiness': '1' }),
  );
});

test('devices: under another name, through links, whole directories, with the permissions that were given', async () => {
  const link = path.join(node.dir, 'link-to-zero');
  fs.symlinkSync('/dev/zero', link);
  const devices = [
    { hostPath: link, containerPath: '/dev/mine', permissions: 'r' },
    { hostPath: '/dev/net', containerPath: '/dev/network', permissions: 'rwm' },
  ].filter(({ hostPath }) => fs.existsSync(hostPath));
  await withContainer({ devices }, async ({ exec }) => {
    const { stdout } = await exec('ls -l /dev/mine; head -c 3 /dev/mine | wc -c; ls /dev/network 2>/dev/null');
    assert.match(stdout, /^c.* 1, +5 .*\/dev\/mine$/m);
    assert.match(stdout, /^3$/m);
    if (devices.length === 2) assert.match(stdout, /^tun$/m);
  });
  await refused(
    { devices: [{ hostPath: '/dev/none', containerPath: '/dev/none', permissions: 'rwm' }] },
    { code: 'INVALID_ARGUMENT', message: /\/dev\/none/ },
  );
  await refused(
    { devices: [{ hostPath: '/dev/null', containerPath: '/dev/x', permissions: 'rwx' }] },
    { code: 'INVALID_ARGUMENT', message: /permissions "rwx"/ },
  );
});

test('what no rule of the device cgroup allows cannot be opened, though the node can be made', async (t) => {
  // Two that root may open on any machine, without another capability.
  const [granted, other] = ['/dev/fuse', '/dev/loop-control', '/dev/tty0', '/dev/tty1'].filter((file) => fs.existsSync(file));
  assert.ok(granted !== undefined && other !== undefined);
  await withContainer({ devices: [{ hostPath: granted, containerPath: '/dev/granted', permissions: 'r' }] }, async ({ exec }) => {
    if (node.log.includes('not restricted to their devices')) return t.skip('this kernel has no cgroup device programs');
    assert.deepEqual(await exec(`mknod /tmp/granted c ${numbers(granted)} && : </tmp/granted`), { code: 0, stdout: '', stderr: '' });
    assert.match((await exec(': >/tmp/granted')).stderr, /Operation not permitted/);
    assert.match((await exec(`mknod /tmp/other c ${numbers(other)} && : </tmp/other`)).stderr, /Operation not permitted/);
    assert.equal((await exec('mknod /tmp/null c 1 3 && : >/tmp/null')).code, 0);
  });
});

/** "10 229": all of these are below 256. */
function numbers(file: string): string {
  const { rdev } = fs.statSync(file);
  return `${rdev >> 8} ${rdev & 255}`;
}

test('resource limits of processes by annotation', async () => {
  const annotations = { 'tskubelet.dev/rlimits.main': 'nofile=512:1024 core=0' };
  await withContainer(
    {},
    async ({ proc, exec }) => {
      assert.match(proc('limits'), /^Max open files +512 +1024 /m);
      assert.match(proc('limits'), /^Max core file size +0 +0 /m);
      assert.equal((await exec('ulimit -n')).stdout, '512\n');
    },
    { annotations },
  );
  const wrong = { annotations: { 'tskubelet.dev/rlimits.main': 'files=1' } };
  await refused({}, { code: 'INVALID_ARGUMENT', message: /tskubelet\.dev\/rlimits\.main: "files=1"/ }, wrong);
});

test('oom_score_adj, cpuset, huge pages and files of cgroup2', async () => {
  const resources = {
    oomScoreAdj: 700n,
    cpusetCpus: '0',
    hugepageLimits: [{ pageSize: '2MB', limit: 4n << 20n }],
    unified: { 'pids.max': '77' },
  };
  // That kernel has every controller; others are asked for those that they have.
  const every = process.env.TSK_GUEST === 'tcg';
  await withContainer({ linux: { resources } }, async ({ containerId, status, proc }) => {
    assert.equal(proc('oom_score_adj'), '700\n');
    const cpuset = cgroupFile(containerId, 'cpuset.cpus');
    if (every || cpuset !== undefined) assert.deepEqual([cpuset, status('Cpus_allowed_list')], ['0', '0']);
    const hugetlb = cgroupFile(containerId, 'hugetlb.2MB.max', 'hugetlb.2MB.limit_in_bytes');
    if (every || hugetlb !== undefined) assert.equal(hugetlb, '4194304');
    assert.equal(cgroupFile(containerId, 'pids.max'), '77');
  });
  const unified = (entries: Record<string, string>) => ({ linux: { resources: { unified: entries } } });
  const code = 'INVALID_ARGUMENT';
  await refused(unified({ '../x': '1' }), { code, message: /"\.\.\/x" is not the name of a cgroup2 file/ });
  await refused(unified({ 'cgroup.procs': '1' }), { code, message: /"cgroup\.procs" is not a cgroup2 resource file/ });
  await refused(unified({ 'pids.max': 'many' }), { code, message: /pids\.max.*"many"/ });
  if (fs.existsSync('/sys/fs/cgroup/cgroup.controllers') || cgroupControllers().includes('hugetlb'))
    await refused(unified({ 'hugetlb.2MB.max': 'a lot' }), { code, message: /write "a lot" to hugetlb\.2MB\.max/ });
});

function cgroupControllers(): string[] {
  const directory = node.cgroups().find((entry) => fs.existsSync(path.join(entry, 'cgroup.controllers')));
  return directory === undefined ? [] : fs.readFileSync(path.join(directory, 'cgroup.controllers'), 'utf8').trim().split(' ');
}
