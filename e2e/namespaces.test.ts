// Namespaces and mounts of sandboxes and containers over the CRI socket: which are shared, and what difference they make.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { type DeepPartial, MountPropagation, NamespaceMode, type PodSandboxConfig } from '../cri-proto/gen/api.ts';
import { run } from './testing/command.ts';
import {
  BUSYBOX,
  execIn,
  namespaceOf,
  outputOf,
  pausePidOf,
  pidOf,
  runContainer,
  sandboxConfig,
  startIn,
  statusOf,
} from './testing/cri.ts';
import { poll } from './testing/poll.ts';
import { startRuntimeNode } from './testing/runtime-node.ts';

const { node, logs } = await startRuntimeNode();
const sleep = ['sleep', '1000'];
const HOST_ID = 200_000;
const ranges = [{ containerId: 0, hostId: HOST_ID, length: 65_536 }];
const POD_USERS = { mode: NamespaceMode.POD, uids: ranges, gids: ranges };

function withOptions(
  name: string,
  options: DeepPartial<NonNullable<NonNullable<PodSandboxConfig['linux']>['securityContext']>>['namespaceOptions'],
) {
  return sandboxConfig(name, logs(name), { linux: { securityContext: { namespaceOptions: options ?? {} } } });
}

const inside = async (containerId: string, script: string) => {
  const { code, stdout, stderr } = await execIn(node.cri, containerId, ['sh', '-c', script]);
  assert.equal(code, 0, `${script}: ${stderr}`);
  return stdout.trim();
};

const remove = (podSandboxId: string) => node.cri.runtime.removePodSandbox({ podSandboxId });

test('NET, IPC, UTS are the sandbox’s; MNT, CGROUP and PID the container’s', async () => {
  const { sandboxId, containerId } = await runContainer(node.cri, withOptions('kinds', { pid: NamespaceMode.CONTAINER }), {
    command: sleep,
  });
  const [pause, init] = [await pausePidOf(node.cri, sandboxId), await pidOf(node.cri, containerId)];
  for (const kind of ['net', 'ipc', 'uts']) {
    assert.equal(namespaceOf(init, kind), namespaceOf(pause, kind), kind);
    assert.notEqual(namespaceOf(init, kind), namespaceOf(process.pid, kind), kind);
  }
  for (const kind of ['mnt', 'pid', 'cgroup']) {
    assert.notEqual(namespaceOf(init, kind), namespaceOf(pause, kind), kind);
    assert.notEqual(namespaceOf(init, kind), namespaceOf(process.pid, kind), kind);
  }
  for (const kind of ['user', 'time']) assert.equal(namespaceOf(init, kind), namespaceOf(process.pid, kind), kind);
  assert.equal(await inside(containerId, 'hostname'), 'kinds', 'UTS');
  assert.equal(await inside(containerId, 'ls /sys/class/net | tr "\\n" " "'), 'eth0 lo', 'NET');
  assert.equal(await inside(containerId, 'cat /proc/1/comm'), 'sleep', 'PID');
  assert.equal(await inside(containerId, 'cat /proc/sysvipc/shm | wc -l'), '1', 'IPC');
  assert.doesNotMatch(await inside(containerId, 'cat /proc/self/cgroup'), new RegExp(containerId), 'CGROUP');
  assert.equal(await inside(containerId, 'mount | grep -c " on / "'), '1', 'MNT');
  await remove(sandboxId);
});

test('PID: shared with the sandbox, with the host, or with a target container', async () => {
  const shared = withOptions('pids', { pid: NamespaceMode.POD });
  const { sandboxId, containerId } = await runContainer(node.cri, shared, { command: sleep });
  const joins = (pid: NamespaceMode, targetId = '') => ({ linux: { securityContext: { namespaceOptions: { pid, targetId } } } });
  const sandboxed = await startIn(node.cri, sandboxId, shared, { command: sleep, ...joins(NamespaceMode.POD) });
  const alone = await startIn(node.cri, sandboxId, shared, { command: sleep, ...joins(NamespaceMode.CONTAINER) });
  const target = await startIn(node.cri, sandboxId, shared, { command: sleep, ...joins(NamespaceMode.TARGET, alone) });
  const host = await startIn(node.cri, sandboxId, shared, { command: sleep, ...joins(NamespaceMode.NODE) });
  const pidNamespace = async (id: string) => namespaceOf(await pidOf(node.cri, id), 'pid');
  assert.equal(await pidNamespace(sandboxed), namespaceOf(await pausePidOf(node.cri, sandboxId), 'pid_for_children'));
  assert.equal(await pidNamespace(containerId), await pidNamespace(sandboxed));
  assert.equal(await pidNamespace(target), await pidNamespace(alone));
  assert.notEqual(await pidNamespace(alone), await pidNamespace(sandboxed));
  assert.equal(await pidNamespace(host), namespaceOf(process.pid, 'pid'));
  assert.equal(await inside(target, 'cat /proc/1/comm'), 'sleep', "the target's first process is 1 here too");
  assert.match(await inside(sandboxed, 'tr "\\0" " " < /proc/1/cmdline'), /^tskubelet-pause/);
  assert.ok(Number(await inside(host, 'ls -d /proc/[0-9]* | wc -l')) > 20);
  await assert.rejects(startIn(node.cri, sandboxId, shared, { command: sleep, ...joins(NamespaceMode.TARGET, 'ffff') }), {
    code: 'INVALID_ARGUMENT',
    message: /target container "ffff"/,
  });
  await remove(sandboxId);
});

test('NET and IPC of the host, when they are asked for', async () => {
  const sandbox = withOptions('hosts', { network: NamespaceMode.NODE, ipc: NamespaceMode.NODE });
  const { sandboxId, containerId } = await runContainer(node.cri, sandbox, { command: sleep });
  const init = await pidOf(node.cri, containerId);
  assert.equal(namespaceOf(init, 'ipc'), namespaceOf(process.pid, 'ipc'));
  assert.equal(namespaceOf(init, 'net'), namespaceOf(node.daemon?.pid ?? 0, 'net'));
  await remove(sandboxId);
});

test('USER: root of the sandbox is nobody on the host, and its files have the right owners on both sides', async () => {
  // A root-dir that only root may walk into is nothing special.
  fs.chmodSync(node.dir, 0o700);
  const volume = path.join(node.dir, 'mapped');
  const plain = path.join(node.dir, 'plain');
  for (const dir of [volume, plain]) fs.mkdirSync(dir);
  fs.writeFileSync(path.join(volume, 'of-1000'), 'old');
  fs.chownSync(path.join(volume, 'of-1000'), 1000, 1000);
  for (const pid of [NamespaceMode.POD, NamespaceMode.CONTAINER]) {
    const sandbox = withOptions('users', { pid, usernsOptions: POD_USERS });
    const { sandboxId, containerId } = await runContainer(node.cri, sandbox, {
      command: ['sh', '-c', 'echo to-log; echo again > /dev/stdout; exec sleep 1000'],
      mounts: [
        { containerPath: '/mapped', hostPath: volume, uidMappings: ranges, gidMappings: ranges },
        { containerPath: '/plain', hostPath: plain },
      ],
      linux: { securityContext: { namespaceOptions: { pid, usernsOptions: POD_USERS } } },
    });
    const [pause, init] = [await pausePidOf(node.cri, sandboxId), await pidOf(node.cri, containerId)];
    assert.equal(namespaceOf(init, 'user'), namespaceOf(pause, 'user'));
    assert.notEqual(namespaceOf(init, 'user'), namespaceOf(process.pid, 'user'));
    assert.equal(fs.statSync(`/proc/${init}`).uid, HOST_ID);
    assert.match(await inside(containerId, 'cat /proc/self/uid_map'), new RegExp(`^0 +${HOST_ID} +65536$`));
    assert.equal(
      await inside(containerId, 'id -u; stat -c %u / /bin/busybox /etc/hosts /etc/resolv.conf /dev/shm | tr "\\n" " "'),
      '0\n0 0 0 0 0',
    );
    assert.equal(await inside(containerId, 'stat -c %u /mapped /mapped/of-1000 | tr "\\n" " "'), '0 1000');
    assert.equal(
      await inside(
        containerId,
        'rm -f /mapped/new; touch /mapped/new /root-file /dev/shm/x && chown 7 /mapped/new; ls /sys/class/net; echo > /dev/null',
      ),
      'eth0\nlo',
    );
    assert.equal(fs.statSync(path.join(volume, 'new')).uid, 7, 'the host sees the ids of the container');
    assert.equal((await execIn(node.cri, containerId, ['touch', '/plain/x'])).code, 1, "the host's root owns it");
    await assert.rejects(
      startIn(node.cri, sandboxId, sandbox, { command: sleep, linux: { securityContext: { runAsUser: { value: 70_000n } } } }),
      {
        code: 'INVALID_ARGUMENT',
        message: /uid 70000 is not mapped/,
      },
    );
    await startIn(node.cri, sandboxId, sandbox, {
      metadata: { name: 'terminal' },
      command: ['sh', '-c', 'tty && stat -c %u /dev/pts/0; exec sleep 1000'],
      tty: true,
    });
    await poll('the terminal to be told', () =>
      /\/dev\/(pts\/0|console)\r?\n0\r?\n/.test(outputOf(path.join(logs('users'), 'terminal/0.log'))),
    );
    const user = await startIn(node.cri, sandboxId, sandbox, {
      command: ['sh', '-c', 'echo as-user > /dev/stdout; exec sleep 1000'],
      linux: { securityContext: { runAsUser: { value: 1000n } } },
    });
    assert.equal(fs.statSync(`/proc/${await pidOf(node.cri, user)}`).uid, HOST_ID + 1000);
    await remove(sandboxId);
  }
});

test('USER: a privileged container of the sandbox owns its cgroup2 and makes others in it', async (t) => {
  const sandbox = withOptions('delegated', { usernsOptions: POD_USERS });
  const { sandboxId, containerId } = await runContainer(
    node.cri,
    { ...sandbox },
    { command: sleep, linux: { securityContext: { privileged: true } } },
  );
  const unified = node.cgroups().find((directory) => directory.endsWith(containerId) && fs.existsSync(path.join(directory, 'cgroup.kill')));
  if (unified === undefined) t.diagnostic('no cgroup2 hierarchy on this host');
  else
    assert.deepEqual(
      [unified, path.join(unified, 'cgroup.procs')].map((file) => fs.statSync(file).uid),
      [HOST_ID, HOST_ID],
    );
  const capabilities = /^CapEff:\s+(\w+)$/m.exec(await inside(containerId, 'cat /proc/self/status'))?.[1];
  assert.equal(BigInt(`0x${capabilities}`) & (1n << 21n), 1n << 21n, 'all capabilities, in its own namespace');
  assert.notEqual(
    (await execIn(node.cri, containerId, ['sh', '-c', 'echo 1 > /proc/sys/kernel/panic'])).code,
    0,
    "the host's sysctls are not its",
  );
  await remove(sandboxId);
});

test('USER: options that make no sense are refused with a sentence', async () => {
  const refused: [Parameters<typeof withOptions>[1], RegExp][] = [
    [{ usernsOptions: { mode: NamespaceMode.POD, uids: [...ranges, ...ranges], gids: ranges } }, /uids has 2 mappings/],
    [{ usernsOptions: { mode: NamespaceMode.POD, uids: ranges } }, /gids has 0 mappings/],
    [
      { usernsOptions: { mode: NamespaceMode.POD, uids: [{ containerId: 1, hostId: 1000, length: 10 }], gids: ranges } },
      /begin with container_id 0/,
    ],
    [{ usernsOptions: { mode: NamespaceMode.CONTAINER } }, /mode POD or NODE/],
    [{ usernsOptions: { mode: NamespaceMode.TARGET } }, /mode POD or NODE/],
    [{ usernsOptions: { mode: NamespaceMode.NODE, uids: ranges } }, /mode NODE and mappings/],
    [{ network: NamespaceMode.NODE, usernsOptions: POD_USERS }, /host's network namespace/],
  ];
  for (const [options, message] of refused)
    await assert.rejects(node.cri.runtime.runPodSandbox({ config: withOptions('wrong', options) }), { code: 'INVALID_ARGUMENT', message });
  const { runtimeHandlers } = await node.cri.runtime.status({});
  assert.ok(runtimeHandlers.every(({ features }) => features?.userNamespaces));
});

test('USER: a volume whose file system cannot be mapped is refused by create', async () => {
  const sandbox = withOptions('unmappable', { usernsOptions: POD_USERS });
  await node.cri.image.pullImage({ image: { image: BUSYBOX } });
  const { podSandboxId } = await node.cri.runtime.runPodSandbox({ config: sandbox });
  const mounts = [{ containerPath: '/x', hostPath: '/proc/sys', uidMappings: ranges, gidMappings: ranges }];
  await assert.rejects(startIn(node.cri, podSandboxId, sandbox, { command: sleep, mounts }), {
    code: 'FAILED_PRECONDITION',
    message: /mount of \/x: this kernel cannot map the owners of the file system of \/proc\/sys/,
  });
  await remove(podSandboxId);
});

test('TIME: clocks of the sandbox are ahead by what the annotation says', async (t) => {
  if (!fs.existsSync('/proc/self/ns/time')) {
    t.skip('this kernel has no time namespaces');
    return;
  }
  const uptime = () => Number(fs.readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
  for (const options of [{}, { usernsOptions: POD_USERS }]) {
    const sandbox = { ...withOptions('clocks', options), annotations: { 'tskubelet.dev/time-offset': 'monotonic=+1h,boottime=+7200s' } };
    const { sandboxId, containerId } = await runContainer(node.cri, sandbox, { command: sleep });
    const [pause, init] = [await pausePidOf(node.cri, sandboxId), await pidOf(node.cri, containerId)];
    assert.equal(namespaceOf(init, 'time'), namespaceOf(pause, 'time'));
    assert.notEqual(namespaceOf(init, 'time'), namespaceOf(process.pid, 'time'));
    const ahead = Number((await inside(containerId, 'cat /proc/uptime')).split(' ')[0]) - uptime();
    assert.ok(Math.abs(ahead - 7200) < 5, `uptime is ahead by ${ahead} s`);
    assert.match(fs.readFileSync(`/proc/${init}/timens_offsets`, 'utf8'), /monotonic +3600 +0\nboottime +7200 +0/);
    await remove(sandboxId);
  }
  const wrong = { ...withOptions('clock', {}), annotations: { 'tskubelet.dev/time-offset': 'realtime=+1s' } };
  await assert.rejects(node.cri.runtime.runPodSandbox({ config: wrong }), { code: 'INVALID_ARGUMENT', message: /form monotonic=\+3600s/ });
});

test('an image volume shows another image, read-only and without programs, and keeps its layers', async () => {
  const built = await node.tskubelet(['image', 'build-host', 'volume', '--bin', '/bin/true']);
  assert.equal(built.code, 0, built.stderr);
  const image = 'localhost/volume:host';
  for (const options of [{}, { usernsOptions: POD_USERS }]) {
    const sandbox = withOptions('image-volume', options);
    const program = fs.realpathSync('/bin/true');
    const { sandboxId, containerId } = await runContainer(node.cri, sandbox, {
      command: sleep,
      mounts: [
        { containerPath: '/image', image: { image }, readonly: true },
        { containerPath: '/part', image: { image }, imageSubPath: path.dirname(program).slice(1), readonly: true },
        { containerPath: '/file', image: { image }, imageSubPath: program.slice(1), readonly: true },
      ],
    });
    const mountLine = await inside(containerId, 'grep " /image " /proc/self/mountinfo');
    assert.match(mountLine, /ro,nosuid,nodev,noexec/);
    assert.equal(await inside(containerId, `stat -c "%s %u" /image${program} /part/${path.basename(program)} /file | uniq | wc -l`), '1');
    assert.match(await inside(containerId, `stat -c "%s %u" /file`), new RegExp(`^${fs.statSync(program).size} 0$`));
    assert.notEqual((await execIn(node.cri, containerId, ['touch', '/image/x'])).code, 0);
    await assert.rejects(execIn(node.cri, containerId, [`/image${program}`]), { code: 'PERMISSION_DENIED' });
    const create = (imageSubPath: string, reference = image) =>
      startIn(node.cri, sandboxId, sandbox, {
        command: sleep,
        mounts: [{ containerPath: '/v', image: { image: reference }, imageSubPath }],
      });
    await assert.rejects(create('../etc'), { code: 'INVALID_ARGUMENT', message: /without "\.\."/ });
    await assert.rejects(create('nowhere'), { code: 'NOT_FOUND', message: /has no "nowhere"/ });
    await assert.rejects(create('', 'localhost/absent:x'), { code: 'NOT_FOUND', message: /image volume is not on this machine/ });
    if (options.usernsOptions !== undefined) {
      await node.cri.image.removeImage({ image: { image } });
      assert.match(await inside(containerId, `stat -c %s /file`), /^\d+$/, 'the layers stay while a container has them');
    }
    await remove(sandboxId);
  }
});

test('mounts propagate as asked, and recursive read-only reaches what is below', async () => {
  const source = path.join(node.dir, 'shared');
  fs.mkdirSync(path.join(source, 'sub'), { recursive: true });
  const host = async (...args: string[]) => assert.equal((await run(args[0] ?? '', args.slice(1))).code, 0, args.join(' '));
  await host('mount', '--bind', source, source);
  await host('mount', '--make-shared', source);
  await host('mount', '-t', 'tmpfs', 'below', path.join(source, 'sub'));
  try {
    const sandbox = withOptions('propagation', {});
    const mount = (containerPath: string, propagation: MountPropagation, more = {}) => ({
      containerPath,
      hostPath: source,
      propagation,
      ...more,
    });
    const { sandboxId, containerId } = await runContainer(node.cri, sandbox, {
      command: sleep,
      mounts: [
        mount('/private', MountPropagation.PROPAGATION_PRIVATE),
        mount('/slave', MountPropagation.PROPAGATION_HOST_TO_CONTAINER),
        mount('/both', MountPropagation.PROPAGATION_BIDIRECTIONAL),
        mount('/ro', MountPropagation.PROPAGATION_PRIVATE, { readonly: true }),
        mount('/rro', MountPropagation.PROPAGATION_PRIVATE, { readonly: true, recursiveReadOnly: true }),
        mount('/options', MountPropagation.PROPAGATION_PRIVATE, { mountOptions: ['noexec', 'nosuid', 'nodev'] }),
      ],
      linux: { securityContext: { privileged: true } },
    });
    fs.mkdirSync(path.join(source, 'later'));
    await host('mount', '-t', 'tmpfs', 'later', path.join(source, 'later'));
    const has = (target: string) => inside(containerId, `grep -c " ${target} " /proc/self/mountinfo || true`);
    assert.deepEqual([await has('/private/later'), await has('/slave/later'), await has('/both/later')], ['0', '1', '1']);
    await inside(containerId, 'mkdir /both/inner && mount -t tmpfs inner /both/inner');
    assert.match(fs.readFileSync('/proc/self/mountinfo', 'utf8'), new RegExp(` ${source}/inner `));
    await inside(containerId, 'umount /both/inner; touch /ro/sub/writable');
    assert.notEqual((await execIn(node.cri, containerId, ['touch', '/ro/x'])).code, 0);
    assert.notEqual((await execIn(node.cri, containerId, ['touch', '/rro/sub/x'])).code, 0);
    assert.match(await inside(containerId, 'grep " /options/sub " /proc/self/mountinfo'), /nosuid,nodev,noexec/);
    const create = (more: object) =>
      startIn(node.cri, sandboxId, sandbox, { command: sleep, mounts: [{ containerPath: '/x', hostPath: source, ...more }] });
    for (const wrong of [
      { recursiveReadOnly: true },
      { readonly: true, recursiveReadOnly: true, propagation: MountPropagation.PROPAGATION_HOST_TO_CONTAINER },
      { readonly: true, recursiveReadOnly: true, propagation: MountPropagation.PROPAGATION_BIDIRECTIONAL },
    ])
      await assert.rejects(create(wrong), { code: 'INVALID_ARGUMENT', message: /recursive_read_only needs readonly/ });
    assert.ok((await statusOf(node.cri, containerId)).mounts.some(({ recursiveReadOnly }) => recursiveReadOnly));
    await remove(sandboxId);
  } finally {
    for (const target of ['later', 'sub', '']) await run('umount', ['-l', path.join(source, target)]);
  }
});
