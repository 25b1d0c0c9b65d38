// Pods of a runtime handler that names an external OCI runtime: the same container, made by runc and by crun.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ContainerState, NamespaceMode, SecurityProfile_ProfileType } from '../cri-proto/gen/api.ts';
import { ensurePeer } from './peers/build.ts';
import { run } from './testing/command.ts';
import { BUSYBOX, execIn, namespaceOf, outputOf, pausePidOf, pidOf, sandboxConfig, startIn, statusOf, untilExited } from './testing/cri.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

const FIRST_UID = 1_000_000;
const range = [{ containerId: 0, hostId: FIRST_UID, length: 65_536 }];
const POD_USERS = { mode: NamespaceMode.POD, uids: range, gids: range };

const hybrid = fs.existsSync('/sys/fs/cgroup/unified/cgroup.procs');

const runtimes = [
  { name: 'runc', file: '/usr/sbin/runc', legacyCgroups: false, recursiveReadOnlyMounts: true },
  { name: 'crun', file: '/usr/bin/crun', legacyCgroups: hybrid, recursiveReadOnlyMounts: false },
] as const;

for (const { name, file, legacyCgroups, recursiveReadOnlyMounts } of runtimes)
  describe(`runtime handler ${name}`, { skip: fs.existsSync(file) ? false : `needs ${file} (apt-get install ${name})` }, () => {
    let node: TestNode;
    let state: string;
    before(async () => {
      node = await TestNode.create({ flags: ['--runtime-handler', `${name}=${file}`], legacyCgroups });
      state = path.join(node.runDir, 'oci', name);
      await node.start('runtime');
      await node.cri.image.pullImage({ image: { image: BUSYBOX } });
    });
    after(() => node?.destroy());

    async function sandbox(pod: string) {
      const config = sandboxConfig(pod, path.join(node.logDir, pod));
      const { podSandboxId } = await node.cri.runtime.runPodSandbox({ config, runtimeHandler: name });
      return { id: podSandboxId, config, log: (container: string) => path.join(node.logDir, pod, container, '0.log') };
    }

    async function removed(id: string) {
      await node.cri.runtime.stopPodSandbox({ podSandboxId: id });
      await node.cri.runtime.removePodSandbox({ podSandboxId: id });
      assert.deepEqual(fs.readdirSync(state), [], 'the runtime knows no container');
      assert.deepEqual(
        node.mounts().filter((target) => target.includes('/containers/')),
        [],
      );
    }

    test('Status tells it with its features, and an unknown handler is refused', async () => {
      const { runtimeHandlers } = await node.cri.runtime.status({});
      assert.deepEqual(
        runtimeHandlers.map((handler) => handler.name),
        ['', name, 'tskubelet'],
      );
      const told = runtimeHandlers.find((handler) => handler.name === name);
      assert.equal(told?.features?.recursiveReadOnlyMounts, recursiveReadOnlyMounts);
      assert.equal(told?.features?.userNamespaces, false);
      const users = { linux: { securityContext: { namespaceOptions: { usernsOptions: POD_USERS } } } };
      await assert.rejects(node.cri.runtime.runPodSandbox({ config: sandboxConfig('users', node.logDir, users), runtimeHandler: name }), {
        code: 'UNIMPLEMENTED',
        message: /does not say that it maps the owners of mounts/,
      });
      await assert.rejects(node.cri.runtime.runPodSandbox({ config: sandboxConfig('x', node.logDir), runtimeHandler: 'kata' }), {
        code: 'INVALID_ARGUMENT',
        message: /no runtime for "kata" is configured/,
      });
    });

    test('output of both streams is logged and the exit code is known', async () => {
      const pod = await sandbox('exits');
      const command = ['sh', '-c', 'echo pid $$ on $(hostname); echo oops >&2; id -u; exit 7'];
      const id = await startIn(node.cri, pod.id, pod.config, { metadata: { name: 'main' }, command });
      const status = await untilExited(node.cri, id);
      assert.deepEqual([status.exitCode, status.reason], [7, 'Error']);
      assert.equal(outputOf(pod.log('main')).split('\n').sort().join('|'), '|0|oops|pid 1 on exits');
      await removed(pod.id);
    });

    test('a container runs in the sandbox and its limits, also after kill -9 of the daemon; exec and stop work', async () => {
      const pod = await sandbox('long');
      const id = await startIn(node.cri, pod.id, pod.config, {
        metadata: { name: 'main' },
        command: ['sh', '-c', 'trap "exit 9" TERM; echo up; while :; do sleep 0.1; done'],
        linux: {
          resources: { memoryLimitInBytes: 64n << 20n },
          securityContext: { seccomp: { profileType: SecurityProfile_ProfileType.RuntimeDefault } },
        },
      });
      await poll('its output', () => outputOf(pod.log('main')) === 'up\n');
      const told = await run(file, ['--root', state, 'state', id]);
      assert.equal((JSON.parse(told.stdout) as { status: string }).status, 'running', told.stderr);
      const pid = await pidOf(node.cri, id);
      assert.equal(namespaceOf(pid, 'net'), namespaceOf(await pausePidOf(node.cri, pod.id), 'net'));
      const memory = node.cgroups().find((directory) => directory.includes('/memory/') && directory.endsWith(id));
      if (memory !== undefined) assert.equal(fs.readFileSync(path.join(memory, 'memory.limit_in_bytes'), 'utf8').trim(), String(64 << 20));
      await node.stop('SIGKILL');
      await node.start('runtime');
      assert.equal((await statusOf(node.cri, id)).state, ContainerState.CONTAINER_RUNNING);
      const result = await execIn(node.cri, id, ['sh', '-c', 'hostname; grep ^Seccomp: /proc/self/status; exit 3']);
      assert.deepEqual([result.code, result.stdout], [3, 'long\nSeccomp:\t2\n']);
      assert.match(fs.readFileSync(`/proc/${pid}/status`, 'latin1'), /^Seccomp:\t2$/m, 'the default profile');
      await node.cri.runtime.stopContainer({ containerId: id, timeout: 10n });
      assert.equal((await statusOf(node.cri, id)).exitCode, 9);
      await removed(pod.id);
    });

    // Without cgroup2 orphans that left their session were found nowhere.
    test('an exec that times out ends with its orphans too', async () => {
      const pod = await sandbox('orphans');
      const id = await startIn(node.cri, pod.id, pod.config, { metadata: { name: 'main' }, command: ['sleep', '1000'] });
      const cmd = ['sh', '-c', '(setsid sh -c "sleep 777 & sleep 778" &); exec sleep 779'];
      await assert.rejects(node.cri.runtime.execSync({ containerId: id, cmd, timeout: 1n }), { code: 'DEADLINE_EXCEEDED' });
      // What is killed is gone a moment later.
      await poll('the orphans to go', async () => {
        const { stdout } = await execIn(node.cri, id, ['ps', '-o', 'args']);
        const left = stdout.split('\n').filter((line) => line.startsWith('sleep'));
        assert.deepEqual(left, ['sleep 1000']);
        return true;
      });
      await removed(pod.id);
    });

    test('a seccomp profile of a file holds, with conditions on arguments', async () => {
      const pod = await sandbox('localhost');
      const profile = path.join(node.dir, 'no-chmod.json');
      const rule = { names: ['chmod', 'fchmodat', 'fchmodat2'], action: 'SCMP_ACT_ERRNO', errnoRet: 28 };
      const masked = (index: number) => [{ index, value: 0o7777, valueTwo: 0o700, op: 'SCMP_CMP_MASKED_EQ' }];
      const syscalls = [
        { ...rule, names: ['chmod'], args: masked(1) },
        { ...rule, names: ['fchmodat', 'fchmodat2'], args: masked(2) },
        { names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 28, excludes: { caps: ['CAP_CHOWN'] } },
      ];
      fs.writeFileSync(profile, JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', syscalls }));
      const id = await startIn(node.cri, pod.id, pod.config, {
        metadata: { name: 'main' },
        command: ['sh', '-c', 'mkdir /x; chmod 755 /x; chmod 700 /x; true'],
        linux: { securityContext: { seccomp: { profileType: SecurityProfile_ProfileType.Localhost, localhostRef: profile } } },
      });
      assert.equal((await untilExited(node.cri, id)).exitCode, 0);
      assert.equal(outputOf(pod.log('main')), 'chmod: /x: No space left on device\n');
      await removed(pod.id);
    });

    test('explain shows what the shim does and what the runtime is given', async () => {
      const pod = await sandbox('explained');
      const id = await startIn(node.cri, pod.id, pod.config, { metadata: { name: 'main' }, command: ['sleep', '1000'] });
      const { info } = await node.cri.runtime.containerStatus({ containerId: id, verbose: true });
      const { steps, oci } = JSON.parse(info.program ?? '{}') as {
        steps: { call: string }[];
        oci: { runtime: string; bundle: string; config: { process: { args: string[] } } };
      };
      assert.equal(oci.runtime, file);
      assert.deepEqual(oci.config, JSON.parse(fs.readFileSync(path.join(oci.bundle, 'config.json'), 'utf8')));
      assert.ok(steps.some(({ call }) => call.startsWith(`execve("${file}", ["${file}","--root"`)));
      assert.ok(!steps.some(({ call }) => call.includes('pivot_root')), 'that is the runtime’s doing');
      await removed(pod.id);
    });

    test('a terminal is the controlling one, and what is written to it is logged', async () => {
      const pod = await sandbox('tty');
      const command = ['sh', '-c', 'test -t 0 && echo a terminal > /dev/tty'];
      const id = await startIn(node.cri, pod.id, pod.config, { metadata: { name: 'main' }, command, tty: true });
      assert.equal((await untilExited(node.cri, id)).exitCode, 0);
      assert.match(outputOf(pod.log('main')), /^a terminal\r?\n$/);
      await removed(pod.id);
    });

    test('a program that is not there is an error of the start, told in the words of the runtime, and leaves nothing', async () => {
      const pod = await sandbox('missing');
      const start = startIn(node.cri, pod.id, pod.config, { metadata: { name: 'main' }, command: ['/not/there'] });
      await assert.rejects(start, new RegExp(`${name} (create|start): .*/not/there.*`));
      await removed(pod.id);
    });

    test('a start that a dying daemon cut short is undone and can be repeated', async () => {
      const pod = await sandbox('cut');
      const config = { metadata: { name: 'main', attempt: 0 }, image: { image: BUSYBOX }, command: ['true'], logPath: 'main/0.log' };
      const { containerId } = await node.cri.runtime.createContainer({ podSandboxId: pod.id, config, sandboxConfig: pod.config });
      await node.stop();
      await node.start('runtime', { env: { TSKUBELET_FAULT_POINT: 'container created by its runtime' } });
      await assert.rejects(node.cri.runtime.startContainer({ containerId }));
      await node.ended();
      assert.deepEqual(fs.readdirSync(state), [containerId], 'the runtime has made it');
      await node.start('runtime');
      assert.equal((await statusOf(node.cri, containerId)).state, ContainerState.CONTAINER_CREATED);
      await node.cri.runtime.startContainer({ containerId });
      assert.equal((await untilExited(node.cri, containerId)).exitCode, 0);
      await removed(pod.id);
    });
  });

const peer = await ensurePeer('runc');
const newRunc = 'path' in peer ? { file: peer.path, skip: false } : { file: '', skip: peer.missing };

test('a pod in a user namespace: its root is nobody on the host, and owners are mapped', { skip: newRunc.skip }, async () => {
  const node = await TestNode.create({ flags: ['--runtime-handler', `runc=${newRunc.file}`] });
  try {
    await node.start('runtime');
    const { runtimeHandlers } = await node.cri.runtime.status({});
    const own = runtimeHandlers.find(({ name }) => name === '')?.features?.userNamespaces;
    assert.equal(runtimeHandlers.find(({ name }) => name === 'runc')?.features?.userNamespaces, own);
    assert.equal(own, true);
    await node.cri.image.pullImage({ image: { image: BUSYBOX } });
    const security = { securityContext: { namespaceOptions: { usernsOptions: POD_USERS } } };
    const config = sandboxConfig('users', path.join(node.logDir, 'users'), { linux: security });
    const { podSandboxId } = await node.cri.runtime.runPodSandbox({ config, runtimeHandler: 'runc' });
    const volume = path.join(node.dir, 'volume');
    fs.mkdirSync(volume);
    const id = await startIn(node.cri, podSandboxId, config, {
      metadata: { name: 'main' },
      command: ['sh', '-c', 'touch /volume/of-root /here && chown 1000 /here && stat -c "%u %n" /bin/busybox /here; exec sleep 1000'],
      mounts: [{ hostPath: volume, containerPath: '/volume', uidMappings: POD_USERS.uids, gidMappings: POD_USERS.gids }],
      linux: security,
    });
    const log = path.join(node.logDir, 'users/main/0.log');
    await poll('its output', () => fs.existsSync(log) && outputOf(log) === '0 /bin/busybox\n1000 /here\n', 10_000);
    const pid = await pidOf(node.cri, id);
    assert.equal(fs.statSync(`/proc/${pid}`).uid, FIRST_UID);
    assert.equal(namespaceOf(pid, 'user'), namespaceOf(await pausePidOf(node.cri, podSandboxId), 'user'));
    assert.equal(fs.statSync(path.join(volume, 'of-root')).uid, 0, 'through the mapped mount');
    const inside = await execIn(node.cri, id, ['sh', '-c', 'id -u; cat /proc/self/uid_map']);
    assert.match(inside.stdout, new RegExp(`^0\n +0 +${FIRST_UID} +65536`));
    await node.cri.runtime.stopPodSandbox({ podSandboxId });
    await node.cri.runtime.removePodSandbox({ podSandboxId });
    assert.deepEqual(
      node.mounts().filter((target) => target.includes('/containers/')),
      [],
    );
  } finally {
    await node.destroy();
  }
});

test('a manifest names the handler as its runtimeClassName', { skip: fs.existsSync('/usr/sbin/runc') ? false : 'needs runc' }, async () => {
  const node = await TestNode.create({ flags: ['--runtime-handler', 'plain=/usr/sbin/runc'] });
  try {
    await node.start('node');
    const spec = {
      runtimeClassName: 'plain',
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 1,
      containers: [{ name: 'main', image: BUSYBOX, command: ['sleep', '1000'] }],
    };
    node.addManifest('classy.json', JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'classy' }, spec }));
    await poll('the container to run', () => fs.readdirSync(path.join(node.runDir, 'oci/runc')).length === 1);
    const [sandbox] = (await node.cri.runtime.listPodSandbox({})).items;
    assert.equal(sandbox?.runtimeHandler, 'plain');
    node.removeManifest('classy.json');
    await poll('the container to go', () => fs.readdirSync(path.join(node.runDir, 'oci/runc')).length === 0);
  } finally {
    await node.destroy();
  }
});
