// The real crictl against `tskubelet runtime`: what a person at a shell types, sees, and what the kernel then says.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { BUSYBOX, namespaceOf } from './testing/cri.ts';
import { type Crictl, crictlTests, shell } from './testing/crictl.ts';
import { poll } from './testing/poll.ts';
import type { TestNode } from './testing/test-node.ts';

const NODE = 'localhost/node:host';

let node: TestNode;
let crictl: Crictl;
const { options } = await crictlTests((startedCrictl, startedNode) => {
  crictl = startedCrictl;
  node = startedNode;
});

interface ContainerInspection {
  readonly status: {
    readonly state: string;
    readonly exitCode: number;
    readonly reason: string;
    readonly logPath: string;
    readonly resources: { readonly linux: { readonly memoryLimitInBytes: string } };
  };
  readonly info: { readonly pid: number; readonly config: object; readonly runtimeType: string };
  readonly program: { readonly steps: readonly { readonly call: string }[] };
}

interface SandboxInspection {
  readonly status: { readonly state: string; readonly metadata: object; readonly network: { readonly ip: string } };
  readonly info: { readonly pid: number; readonly runtimeType: string };
}

test('version, info and runtime-config name the runtime and find it ready', options, async () => {
  assert.match(
    await crictl.call('version'),
    /^Version: .*\nRuntimeName: +tskubelet\nRuntimeVersion: +\d+\.\d+\.\d+\nRuntimeApiVersion: +v1$/,
  );
  assert.equal((await crictl.try(['info'])).stderr, '', 'no warning, no remark');
  const { status, config } = await crictl.json<{
    status: { conditions: { type: string; status: boolean }[] };
    config: { rootDir: string; runDir: string };
  }>('info');
  assert.deepEqual(
    status.conditions.map(({ type, status }) => [type, status]),
    [
      ['RuntimeReady', true],
      ['NetworkReady', true],
    ],
  );
  assert.deepEqual([config.rootDir, config.runDir], [node.rootDir, node.runDir]);
  assert.match(await crictl.call('runtime-config'), /CGROUPFS/);
});

test('a pod from runp to rmp: ps, pods, inspect and inspectp agree with the kernel at every step', options, async () => {
  const [podFile, containerFile] = crictl.configs('life', {
    command: ['sleep', '1000'],
    linux: { resources: { memory_limit_in_bytes: 64 << 20 } },
  });
  const sandbox = await crictl.call('runp', podFile);
  assert.match(await crictl.call('pods'), new RegExp(`${sandbox.slice(0, 13)} .* Ready +life +shop +1 `));
  const { status, info } = await crictl.json<SandboxInspection>('inspectp', sandbox);
  assert.equal(status.state, 'SANDBOX_READY');
  assert.match(status.network.ip, /^10\.244\./);
  assert.equal(info.runtimeType, 'tskubelet');

  const container = await crictl.call('create', sandbox, containerFile, podFile);
  assert.equal(await crictl.call('ps', '-q'), '', 'ps shows what runs');
  assert.match(
    await crictl.call('ps', '-a'),
    new RegExp(`${container.slice(0, 13)} .* Created +main +2 +${sandbox.slice(0, 13)} +life +shop`),
  );
  await crictl.call('start', container);
  assert.match(
    await crictl.call('ps'),
    new RegExp(`${container.slice(0, 13)} +${BUSYBOX} .* Running +main +2 +${sandbox.slice(0, 13)} +life +shop`),
  );

  const running = await crictl.json<ContainerInspection>('inspect', container.slice(0, 13));
  assert.deepEqual([running.status.state, running.status.logPath], ['CONTAINER_RUNNING', path.join(node.logDir, 'life/main/2.log')]);
  assert.equal(running.status.resources.linux.memoryLimitInBytes, `${64 << 20}`);
  assert.equal(fs.readFileSync(`/proc/${running.info.pid}/cmdline`, 'utf8'), 'sleep\x001000\0');
  assert.equal(namespaceOf(running.info.pid, 'net'), namespaceOf(info.pid, 'net'), 'inspect and inspectp name the processes themselves');
  assert.match(fs.readFileSync(`/proc/${running.info.pid}/cgroup`, 'utf8'), new RegExp(`${node.cgroupRoot}/.*${container}`));
  const limits = node
    .cgroups()
    .filter((directory) => directory.endsWith(container))
    .flatMap((directory) => ['memory.max', 'memory.limit_in_bytes'].map((file) => path.join(directory, file)))
    .filter((file) => fs.existsSync(file));
  assert.deepEqual(
    limits.map((file) => fs.readFileSync(file, 'utf8').trim()),
    [`${64 << 20}`],
  );
  assert.ok(
    running.program.steps.some(({ call }) => call.startsWith('execve(')),
    'inspect shows the syscall program',
  );
  assert.doesNotMatch(JSON.stringify(running.info.config), /_unknownFields/);

  assert.match(await crictl.refusal('rm', container), /is running, please stop it first$/);
  await crictl.call('stop', '--timeout', '1', container);
  assert.equal(await crictl.call('stop', container), container, 'a second stop succeeds');
  assert.equal(fs.existsSync(`/proc/${running.info.pid}`), false);
  const template = '{{.status.state}} {{.status.exitCode}} {{.status.reason}}';
  assert.equal(await crictl.call('inspect', '-o', 'go-template', '--template', template, container), 'CONTAINER_EXITED 137 Error');
  assert.match(await crictl.call('ps', '-a'), / Exited +main /);
  await crictl.call('rm', container);
  assert.match(await crictl.refusal('inspect', container), new RegExp(`code = NotFound desc = no container with id "${container}"$`));

  assert.equal(await crictl.call('stopp', sandbox), `Stopped sandbox ${sandbox}`);
  assert.equal(await crictl.call('stopp', sandbox), `Stopped sandbox ${sandbox}`);
  assert.match(await crictl.call('pods'), / NotReady +life /);
  assert.equal(fs.existsSync(`/proc/${info.pid}`), false);
  assert.equal(await crictl.call('rmp', sandbox), `Removed sandbox ${sandbox}`);
  assert.match(await crictl.refusal('inspectp', sandbox), new RegExp(`code = NotFound desc = no sandbox with id "${sandbox}"$`));
  assert.match(await crictl.refusal('create', sandbox, containerFile, podFile), /code = NotFound desc = no sandbox with id/);
  assert.deepEqual(
    node.cgroups().filter((directory) => directory.includes(container)),
    [],
  );
});

test('ps and pods filter by name, state, label, pod, image and id', options, async () => {
  const web = await crictl.startPod('web', shell('exec sleep 1000'));
  const job = await crictl.startPod('job', shell('exit 4'));
  await poll('the job to end', async () => (await crictl.call('ps', '-q', '--state', 'exited')) === job.container);
  const containers: readonly [filters: string[], expected: string[]][] = [
    [[], [web.container]],
    [['-a'], [job.container, web.container]],
    [['-a', '--latest'], [job.container]],
    [['-a', '--pod', web.sandbox.slice(0, 10)], [web.container]],
    [['-a', '--id', job.container.slice(0, 10)], [job.container]],
    [['-a', '--label', 'io.kubernetes.pod.name=job'], [job.container]],
    [['-a', '--label', 'io.kubernetes.pod.name=none'], []],
    [
      ['-a', '--name', '^ma'],
      [job.container, web.container],
    ],
    [['-a', '--name', 'other'], []],
    [
      ['-a', '--image', BUSYBOX],
      [job.container, web.container],
    ],
    [['--state', 'Running'], [web.container]],
  ];
  for (const [filters, expected] of containers)
    assert.deepEqual((await crictl.call('ps', '-q', ...filters)).split('\n').filter(Boolean), expected, filters.join(' '));
  const sandboxes: readonly [filters: string[], expected: string[]][] = [
    [[], [job.sandbox, web.sandbox]],
    [['--name', 'web'], [web.sandbox]],
    [['--label', 'app=job'], [job.sandbox]],
    [['--state', 'notready'], []],
    [['--id', web.sandbox.slice(0, 10)], [web.sandbox]],
    [['--namespace', 'elsewhere'], []],
  ];
  for (const [filters, expected] of sandboxes)
    assert.deepEqual((await crictl.call('pods', '-q', ...filters)).split('\n').filter(Boolean), expected, filters.join(' '));
  const { containers: listed } = await crictl.json<{ containers: { id: string; state: string; metadata: object; podSandboxId: string }[] }>(
    'ps',
    '-a',
    '-o',
    'json',
  );
  assert.deepEqual(
    listed.map(({ id, state, metadata, podSandboxId }) => ({ id, state, metadata, podSandboxId })),
    [
      { id: job.container, state: 'CONTAINER_EXITED', metadata: { name: 'main', attempt: 2 }, podSandboxId: job.sandbox },
      { id: web.container, state: 'CONTAINER_RUNNING', metadata: { name: 'main', attempt: 2 }, podSandboxId: web.sandbox },
    ],
  );
});

test('a container that cannot start is shown with its sentence', options, async () => {
  const [podFile, containerFile] = crictl.configs('broken', { command: ['/no/such/program'] });
  const sandbox = await crictl.call('runp', podFile);
  const container = await crictl.call('create', sandbox, containerFile, podFile);
  assert.match(await crictl.refusal('start', container), /\/no\/such\/program.*no such file/);
  const template = '{{.status.state}} {{.status.exitCode}} {{.status.reason}} {{.status.message}}';
  assert.match(
    await crictl.call('inspect', '-o', 'go-template', '--template', template, container),
    /^CONTAINER_EXITED 128 StartError .*\/no\/such\/program.*no such file/,
  );
});

test('images, inspecti, imagefsinfo, pull and rmi', options, async () => {
  const pulled = await crictl.call('pull', NODE);
  const id = /sha256:[0-9a-f]{64}$/.exec(pulled)?.[0] ?? '';
  assert.match(await crictl.call('images'), new RegExp(`localhost/node +host +${id.slice(7, 20)} +[\\d.]+MB`));
  assert.equal(await crictl.call('images', '-q', NODE), id);
  const { status, info } = await crictl.json<{ status: { id: string; repoTags: string[]; size: string }; info: object }>('inspecti', NODE);
  assert.deepEqual([status.id, status.repoTags], [id, [NODE]]);
  assert.ok(Number(status.size) > 10e6 && info !== undefined);
  assert.equal((await crictl.json<{ status: { id: string } }>('inspecti', id.slice(7, 20))).status.id, id, 'by a prefix of its id');
  const usage = await crictl.json<{ status: { imageFilesystems: { fsId: { mountpoint: string }; usedBytes: { value: string } }[] } }>(
    'imagefsinfo',
  );
  assert.equal(usage.status.imageFilesystems[0]?.fsId.mountpoint, path.join(node.rootDir, 'images'));
  assert.ok(Number(usage.status.imageFilesystems[0]?.usedBytes.value) >= Number(status.size));

  const pod = await crictl.startPod('node', { image: { image: NODE }, command: ['node', '-p', '6 * 7'] });
  await poll('the answer', async () => (await crictl.call('logs', pod.container)) === '42');
  await crictl.call('rmp', '--force', pod.sandbox);

  assert.equal(await crictl.call('rmi', NODE), `Deleted: ${NODE}`);
  assert.match(await crictl.refusal('inspecti', NODE), /^no such image "localhost\/node:host" present$/);
  assert.match(await crictl.refusal('rmi', NODE), /^no such image localhost\/node:host$/);
  assert.match(await crictl.refusal('pull', 'localhost/nosuch:host'), /nosuch/);
  const [podFile, containerFile] = crictl.configs('noimage', { image: { image: NODE } });
  const sandbox = await crictl.call('runp', podFile);
  assert.match(await crictl.refusal('create', sandbox, containerFile, podFile), /code = NotFound desc = .*localhost\/node:host/);
});

test('run starts a pod with a container at once, and rm --force and rmp --force end them', options, async () => {
  const [podFile, containerFile] = crictl.configs('atonce', { command: ['sleep', '1000'] });
  const container = await crictl.call('run', containerFile, podFile);
  const { info } = await crictl.json<ContainerInspection>('inspect', container);
  assert.equal(fs.readFileSync(`/proc/${info.pid}/comm`, 'utf8'), 'sleep\n');
  await crictl.call('rm', '--force', container);
  assert.equal(fs.existsSync(`/proc/${info.pid}`), false);
  await crictl.call('rmp', '--force', '--all');
  assert.equal(await crictl.call('pods', '-q'), '');
  await poll('the cgroups of the pod to go', () => node.cgroups().every((directory) => !directory.includes(container)));
});

test('configs that cannot be acted on are refused with one sentence', options, async () => {
  const [podFile, containerFile] = crictl.configs('refused', shell('exit 0'));
  const sandbox = await crictl.call('runp', podFile);
  const changed = (name: string, change: object) => crictl.configs(name, change)[1];
  const table: readonly [args: string[], expected: RegExp][] = [
    [['runp', podFile], /code = AlreadyExists desc = sandbox name "refused_shop_refused_1" is reserved for "[0-9a-f]{64}"$/],
    [
      ['runp', '--runtime', 'nosuch', crictl.configs('handler', {})[0]],
      /code = InvalidArgument desc = no runtime for "nosuch" is configured/,
    ],
    [
      ['create', sandbox, changed('escape', { log_path: '../../escape.log' }), podFile],
      /code = InvalidArgument desc = .*\.\.\/\.\.\/escape\.log/,
    ],
    [
      ['create', sandbox, changed('missing', { image: { image: 'nothere' } }), podFile],
      /code = NotFound desc = image "nothere" is not on this machine: pull it first$/,
    ],
    [
      ['create', sandbox, changed('mount', { mounts: [{ host_path: '/no/such/directory', container_path: '/data' }] }), podFile],
      /desc = .*\/no\/such\/directory/,
    ],
    [
      ['create', sandbox, changed('user', { linux: { security_context: { run_as_username: 'nosuchuser' } } }), podFile],
      /desc = .*nosuchuser/,
    ],
    [['start', 'nosuchid'], /code = NotFound desc = no container with id "nosuchid"$/],
    [['logs', 'nosuchid'], /code = NotFound desc = no container with id "nosuchid"$/],
  ];
  for (const [args, expected] of table) assert.match(await crictl.refusal(...args), expected);
  const container = await crictl.call('create', sandbox, containerFile, podFile);
  assert.match(await crictl.refusal('create', sandbox, containerFile, podFile), /code = AlreadyExists desc = /);
  assert.deepEqual((await crictl.call('ps', '-a', '-q')).split('\n'), [container], 'what was refused left no container');
});

test('update-runtime-config gives the pods that come addresses of the new range', options, async () => {
  for (const range of ['10.90.0.0/24', '10.91.0.0/24']) {
    await crictl.call('update-runtime-config', '--pod-cidr', range);
    const sandbox = await crictl.call('runp', crictl.configs(`range${range.slice(3, 5)}`, {})[0]);
    const { status } = await crictl.json<SandboxInspection>('inspectp', sandbox);
    assert.ok(status.network.ip.startsWith(range.slice(0, 8)), `${status.network.ip} is not of ${range}`);
  }
});
