// The real crictl against `tskubelet runtime`: what a person at a shell types, sees, and what the kernel then says.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { ensurePeer } from './peers/build.ts';
import { BUSYBOX, namespaceOf } from './testing/cri.ts';
import { Crictl } from './testing/crictl.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

const NODE = 'localhost/node:host';

const peer = await ensurePeer('crictl');
const options = { timeout: 90_000, skip: 'missing' in peer && peer.missing };
let node: TestNode;
let crictl: Crictl;

before(async () => {
  if ('missing' in peer) return;
  node = await TestNode.create();
  await node.start('runtime');
  crictl = new Crictl(peer.path, node);
  await crictl.call('pull', BUSYBOX);
});
afterEach(async () => {
  if (options.skip === false) await crictl.call('rmp', '--all', '--force');
});
after(() => node?.destroy());

interface Running {
  readonly sandbox: string;
  readonly container: string;
}

/** Config files as a user writes them, with the labels by which crictl names the pod of a container. */
function configs(name: string, container: object): [sandbox: string, container: string] {
  const labels = { 'io.kubernetes.pod.name': name, 'io.kubernetes.pod.namespace': 'shop', 'io.kubernetes.pod.uid': name };
  const metadata = { name, namespace: 'shop', uid: name, attempt: 1 };
  const pod = { metadata, hostname: name, log_directory: path.join(node.logDir, name), labels: { ...labels, app: name } };
  const main = { metadata: { name: 'main', attempt: 2 }, image: { image: BUSYBOX }, log_path: 'main/2.log', labels, ...container };
  return [crictl.config(`${name}-pod`, pod), crictl.config(`${name}-main`, main)];
}

async function startPod(name: string, container: object): Promise<Running> {
  const [podFile, containerFile] = configs(name, container);
  const sandbox = await crictl.call('runp', podFile);
  const id = await crictl.call('create', sandbox, containerFile, podFile);
  assert.equal(await crictl.call('start', id), id);
  return { sandbox, container: id };
}

const shell = (script: string) => ({ command: ['sh', '-c', script] });
/** The last sentence of a refusal: crictl prints Go's fatal log line. */
const sentence = (text: string) => (/level=fatal msg="(.*)"\n$/.exec(text)?.[1] ?? text).replaceAll('\\"', '"');

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
  const [podFile, containerFile] = configs('life', {
    ...shell('exec sleep 1000'),
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

  assert.match(sentence(await crictl.refusal('rm', container)), /is running, please stop it first$/);
  await crictl.call('stop', '--timeout', '1', container);
  assert.equal(await crictl.call('stop', container), container, 'a second stop succeeds');
  assert.equal(fs.existsSync(`/proc/${running.info.pid}`), false);
  const template = '{{.status.state}} {{.status.exitCode}} {{.status.reason}}';
  assert.equal(await crictl.call('inspect', '-o', 'go-template', '--template', template, container), 'CONTAINER_EXITED 137 Error');
  assert.match(await crictl.call('ps', '-a'), / Exited +main /);
  await crictl.call('rm', container);
  assert.match(
    sentence(await crictl.refusal('inspect', container)),
    new RegExp(`code = NotFound desc = no container with id "${container}"$`),
  );

  assert.equal(await crictl.call('stopp', sandbox), `Stopped sandbox ${sandbox}`);
  assert.equal(await crictl.call('stopp', sandbox), `Stopped sandbox ${sandbox}`);
  assert.match(await crictl.call('pods'), / NotReady +life /);
  assert.equal(fs.existsSync(`/proc/${info.pid}`), false);
  assert.equal(await crictl.call('rmp', sandbox), `Removed sandbox ${sandbox}`);
  assert.match(sentence(await crictl.refusal('inspectp', sandbox)), new RegExp(`code = NotFound desc = no sandbox with id "${sandbox}"$`));
  assert.match(sentence(await crictl.refusal('create', sandbox, containerFile, podFile)), /code = NotFound desc = no sandbox with id/);
  assert.deepEqual(
    node.cgroups().filter((directory) => directory.includes(container)),
    [],
  );
});

test('ps and pods filter by name, state, label, pod, image and id', options, async () => {
  const web = await startPod('web', shell('exec sleep 1000'));
  const job = await startPod('job', shell('exit 4'));
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

test('logs prints streams, tails, time stamps, and follows to the end of the container', options, async () => {
  const script = 'echo one; echo two >&2; until [ -e /go ]; do sleep 0.1; done; echo three';
  const pod = await startPod('logs', shell(script));
  const log = path.join(node.logDir, 'logs/main/2.log');
  // The streams are two pipes: which line comes first is the reader's luck.
  const written = await poll('both lines', () => {
    const lines = fs.readFileSync(log, 'utf8').split('\n').filter(Boolean);
    return lines.length === 2 && lines;
  });
  const both = await crictl.try(['logs', pod.container]);
  assert.deepEqual([both.stdout, both.stderr], ['one\n', 'two\n']);
  const tail = await crictl.try(['logs', '--tail', '1', pod.container]);
  assert.equal(tail.stdout + tail.stderr, `${written[1]?.split(' ')[3]}\n`);
  const stamped = await crictl.call('logs', '--stream', 'stdout', '--timestamps', pod.container);
  assert.match(stamped, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z one$/);
  assert.ok(written.includes(stamped.replace(' ', ' stdout F ')), 'the stamp is that of the file');

  const [command, ...args] = crictl.commandLine(['logs', '-f', pod.container]);
  const follower = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  let followed = '';
  follower.stdout.on('data', (chunk: Buffer) => {
    followed += chunk;
  });
  const ended = new Promise<number | null>((resolve) => follower.once('exit', resolve));
  try {
    await poll('the follower to catch up', () => followed === 'one\n');
    await crictl.call('exec', '-s', pod.container, 'touch', '/go');
    await poll('the new line', () => followed === 'one\nthree\n');
    assert.equal(await ended, 0, 'the follower ends with the container');
  } finally {
    follower.kill();
  }
});

test('logs --reopen lets go of a rotated file', options, async () => {
  const pod = await startPod('rotate', shell('echo before; until [ -e /go ]; do sleep 0.1; done; echo after; exec sleep 1000'));
  const log = path.join(node.logDir, 'rotate/main/2.log');
  await poll('the first line', () => fs.readFileSync(log, 'utf8').endsWith(' before\n'));
  fs.renameSync(log, `${log}.1`);
  await crictl.try(['logs', '--reopen', pod.container]);
  await crictl.call('exec', '-s', pod.container, 'touch', '/go');
  await poll('the line in the new file', () => /^\S+ stdout F after\n$/.test(fs.readFileSync(log, 'utf8')));
  assert.match(fs.readFileSync(`${log}.1`, 'utf8'), /^\S+ stdout F before\n$/);
});

test('exec -s prints the output, and says exit codes, timeouts and missing commands', options, async () => {
  const pod = await startPod('exec', shell('exec sleep 1000'));
  const exec = (...args: string[]) => ['exec', '-s', ...args];
  const { code, stdout, stderr } = await crictl.try(
    exec(pod.container, 'sh', '-c', 'echo out; echo err >&2; tr "\\0" " " </proc/1/cmdline'),
  );
  assert.deepEqual([code, stdout, stderr], [0, 'out\nsleep 1000 \nerr\n\n', '']);
  assert.match(sentence(await crictl.refusal(...exec(pod.container, 'sh', '-c', 'echo no >&2; exit 7'))), /exited with 7: no/);
  assert.match(sentence(await crictl.refusal(...exec('--timeout', '1', pod.container, 'sleep', '333'))), /timed out after 1s$/);
  assert.doesNotMatch(await crictl.call(...exec(pod.container, 'ps')), /sleep 333/);
  assert.match(sentence(await crictl.refusal(...exec(pod.container, 'nosuch'))), /exec "nosuch": executable file not found in \$PATH$/);
  await crictl.call('stop', '--timeout', '0', pod.container);
  assert.match(sentence(await crictl.refusal(...exec(pod.container, 'ls'))), /is not running but exited$/);
});

test('a container that cannot start is shown with its sentence', options, async () => {
  const [podFile, containerFile] = configs('broken', { command: ['/no/such/program'] });
  const sandbox = await crictl.call('runp', podFile);
  const container = await crictl.call('create', sandbox, containerFile, podFile);
  assert.match(sentence(await crictl.refusal('start', container)), /\/no\/such\/program.*no such file/);
  const template = '{{.status.state}} {{.status.exitCode}} {{.status.reason}} {{.status.message}}';
  assert.match(
    await crictl.call('inspect', '-o', 'go-template', '--template', template, container),
    /^CONTAINER_EXITED 128 StartError .*\/no\/such\/program.*no such file/,
  );
});

test('events streams creations, starts, ends and removals as they happen', options, async () => {
  const [command, ...args] = crictl.commandLine(['events', '-o', 'go-template', '--template', '{{.containerEventType}} {{.containerId}}']);
  const watcher = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  let seen = '';
  watcher.stdout.on('data', (chunk: Buffer) => {
    seen += chunk;
  });
  const ended = new Promise((resolve) => watcher.once('exit', resolve));
  try {
    // A subscription has no sign of its own: the first event seen is the sign.
    let probes = 0;
    await poll('the watcher to be subscribed', async () => {
      await crictl.call('runp', configs(`probe${probes++}`, {})[0]);
      return seen !== '';
    });
    const pod = await startPod('events', shell('exit 0'));
    const typesOf = (id: string) =>
      seen
        .split('\n')
        .filter((line) => line.endsWith(` ${id}`))
        .map((line) => line.split(' ')[0]);
    const life = ['CONTAINER_CREATED_EVENT', 'CONTAINER_STARTED_EVENT', 'CONTAINER_STOPPED_EVENT'];
    await poll('the end of the container', () => typesOf(pod.container).length === 3);
    assert.deepEqual(typesOf(pod.container), life);
    await crictl.call('stopp', pod.sandbox);
    await crictl.call('rmp', pod.sandbox);
    const whole = [...life, 'CONTAINER_DELETED_EVENT'];
    await poll('the removals', () => typesOf(pod.container).length === 4 && typesOf(pod.sandbox).length === 4);
    assert.deepEqual(typesOf(pod.container), whole);
    assert.deepEqual(typesOf(pod.sandbox), whole);
  } finally {
    watcher.kill();
    await ended;
  }
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

  const pod = await startPod('node', { image: { image: NODE }, command: ['node', '-p', '6 * 7'] });
  await poll('the answer', async () => (await crictl.call('logs', pod.container)) === '42');
  await crictl.call('rmp', '--force', pod.sandbox);

  assert.equal(await crictl.call('rmi', NODE), `Deleted: ${NODE}`);
  assert.match(sentence(await crictl.refusal('inspecti', NODE)), /^no such image "localhost\/node:host" present$/);
  assert.match(sentence(await crictl.refusal('rmi', NODE)), /^no such image localhost\/node:host$/);
  assert.match(sentence(await crictl.refusal('pull', 'localhost/nosuch:host')), /nosuch/);
  const [podFile, containerFile] = configs('noimage', { image: { image: NODE } });
  const sandbox = await crictl.call('runp', podFile);
  assert.match(sentence(await crictl.refusal('create', sandbox, containerFile, podFile)), /code = NotFound desc = .*localhost\/node:host/);
});

test('run starts a pod with a container at once, and rm --force and rmp --force end them', options, async () => {
  const [podFile, containerFile] = configs('atonce', shell('exec sleep 1000'));
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
  const [podFile, containerFile] = configs('refused', shell('exit 0'));
  const sandbox = await crictl.call('runp', podFile);
  const changed = (name: string, change: object) => configs(name, change)[1];
  const table: readonly [args: string[], expected: RegExp][] = [
    [['runp', podFile], /code = AlreadyExists desc = sandbox name "refused_shop_refused_1" is reserved for "[0-9a-f]{64}"$/],
    [['runp', '--runtime', 'nosuch', configs('handler', {})[0]], /code = InvalidArgument desc = no runtime for "nosuch" is configured/],
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
  for (const [args, expected] of table) assert.match(sentence(await crictl.refusal(...args)), expected);
  const container = await crictl.call('create', sandbox, containerFile, podFile);
  assert.match(sentence(await crictl.refusal('create', sandbox, containerFile, podFile)), /code = AlreadyExists desc = /);
  assert.deepEqual((await crictl.call('ps', '-a', '-q')).split('\n'), [container], 'what was refused left no container');
});

test('update-runtime-config gives the pods that come addresses of the new range', options, async () => {
  for (const range of ['10.90.0.0/24', '10.91.0.0/24']) {
    await crictl.call('update-runtime-config', '--pod-cidr', range);
    const sandbox = await crictl.call('runp', configs(`range${range.slice(3, 5)}`, {})[0]);
    const { status } = await crictl.json<SandboxInspection>('inspectp', sandbox);
    assert.ok(status.network.ip.startsWith(range.slice(0, 8)), `${status.network.ip} is not of ${range}`);
  }
});

test('calls that come with a later version say so', options, async () => {
  const pod = await startPod('later', shell('exec sleep 1000'));
  const later: readonly string[][] = [
    ['exec', pod.container, 'ls'],
    ['update', '--memory', `${32 << 20}`, pod.container],
    ['stats'],
    ['statsp'],
    ['checkpoint', `--export=${node.dir}/checkpoint.tar`, pod.container],
  ];
  for (const args of later)
    assert.match(
      sentence(await crictl.refusal(...args)),
      /code = Unimplemented desc = \w+ is not implemented by this version of tskubelet$/,
    );
});
