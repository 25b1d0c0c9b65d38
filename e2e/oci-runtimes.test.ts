// Pods of a runtime handler that names an external OCI runtime: the same container, made by runc and by crun.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ContainerState, SecurityProfile_ProfileType } from '../cri-proto/gen/api.ts';
import { run } from './testing/command.ts';
import { BUSYBOX, execIn, namespaceOf, outputOf, pausePidOf, pidOf, sandboxConfig, startIn, statusOf, untilExited } from './testing/cri.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

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
      assert.equal(runtimeHandlers.find((handler) => handler.name === name)?.features?.recursiveReadOnlyMounts, recursiveReadOnlyMounts);
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
