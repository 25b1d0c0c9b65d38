// The command line as its user meets it: sentences, exit codes, and what is left behind.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { run } from './testing/command.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

const launcher = path.resolve(import.meta.dirname, '../bin/tskubelet');
const skip = process.getuid?.() === 0 ? false : 'needs root';

let node: TestNode;
before(async () => {
  if (skip === false) node = await TestNode.create();
});
after(async () => {
  await node?.destroy();
});

interface PodOptions {
  readonly restartPolicy?: string;
  readonly image?: string;
  readonly graceSeconds?: number;
  /** So that a container is not PID 1, which the kernel spares its own signals. */
  readonly hostPID?: boolean;
}

/** A manifest of a pod whose containers run a line of JavaScript, or a command. */
function pod(name: string, containers: Readonly<Record<string, string | readonly string[]>>, options: PodOptions = {}): string {
  const { restartPolicy = 'Never', image = 'localhost/node:host', graceSeconds = 2, hostPID = false } = options;
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      ...{ restartPolicy, hostPID },
      terminationGracePeriodSeconds: graceSeconds,
      containers: Object.entries(containers).map(([container, script]) => ({
        name: container,
        image,
        command: typeof script === 'string' ? ['node', '-e', script] : script,
      })),
    },
  });
}

function manifest(name: string, text: string): string {
  const file = path.join(node.dir, `${name}.json`);
  fs.writeFileSync(file, text);
  return file;
}

const WAIT = "process.on('SIGTERM', () => { console.log('bye'); process.exit(0); }); console.log('up'); setInterval(() => {}, 1000);";
const runFlags = () => ['--cgroup-root', node.cgroupRoot];

/** Runs a command of the node until it has written `text`, and sends it what Ctrl-C sends. */
async function interrupt(args: readonly string[], text: string): Promise<{ code: number | null; stdout: string }> {
  const child = spawn('nsenter', [`--net=/run/netns/${node.netns}`, launcher, ...node.flags, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  let stdout = '';
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  try {
    await poll(`"${text}"`, () => stdout.includes(text), 60_000);
    child.kill('SIGINT');
    const [code] = (await ended) as [number | null];
    return { code, stdout };
  } finally {
    child.kill('SIGKILL');
  }
}

/** Nothing of a pod, and nothing that a node makes for its pods. */
async function assertClean(): Promise<void> {
  assert.deepEqual(node.mounts(), []);
  assert.ok(!fs.existsSync(node.runDir), 'run-dir is still there');
  assert.deepEqual(fs.existsSync(node.logDir) ? fs.readdirSync(node.logDir) : [], []);
  assert.deepEqual(fs.readdirSync(path.join(node.rootDir, 'pods')), []);
  // Only the cgroup that --cgroup-root names is not ours to remove.
  assert.deepEqual(
    node.cgroups().filter((directory) => path.basename(directory) !== path.basename(node.cgroupRoot)),
    [],
  );
  assert.equal((await node.inNetwork(['ip', '-br', 'link'])).stdout.trim().split('\n').length, 1, 'only lo is left');
  assert.equal((await node.inNetwork(['nft', 'list', 'tables'])).stdout, '');
}

for (const [title, args, code, sentence] of [
  ['no word at all', [], 2, /nothing to do: give --manifests PATH or a command/],
  ['an unknown command', ['walk'], 2, /unknown command "walk"/],
  ['a command with a letter wrong', ['gte', 'pods'], 2, /unknown command "gte" \(did you mean get\?\)/],
  ["another tool's word", ['ps'], 2, /there is no command "ps": it is 'tskubelet get pods' here/],
  ["kubectl's apply", ['apply'], 2, /add, change or remove a file in the folder of --manifests/],
  ['an image verb with a letter wrong', ['image', 'pul', 'x'], 2, /image pul\? \(did you mean pull\?\) usage: tskubelet image ls\|pull/],
  ['help for no verb', ['image', 'walk', '--help'], 2, /image walk\? usage: tskubelet image ls\|pull/],
  ['a flag with a letter wrong', ['--manifest', 'x'], 2, /unknown flag --manifest \(did you mean --manifests\?\)/],
  ['an unknown flag', ['get', 'pods', '--wide'], 2, /unknown flag --wide/],
  ['a flag of a later version', ['--kubeconfig', 'x'], 2, /--kubeconfig is not served by this version/],
  ['a flag of another command', ['get', 'pods', '-f'], 2, /get has no --follow/],
  ['a flag without its value', ['logs', 'x', '--tail'], 2, /--tail needs a value/],
  ['a value that is no number', ['logs', 'x', '--tail', 'all'], 2, /--tail all: expected a whole number/],
  ['exec without --', ['exec', 'web', 'ls'], 2, /put "--" before the command: tskubelet exec web -- ls/],
  ['port-forward without a port', ['port-forward', 'web'], 2, /which port\?/],
  ['an address that is none', ['port-forward', 'web', '80', '--address', 'here'], 2, /--address here: expected IP addresses or localhost/],
  ['a view of explain that there is not', ['explain', 'web', 'stop'], 2, /has the views "start" and "net"/],
  ['a port that is none', ['runtime', '--read-only-port', '70000'], 2, /whole number from 0 to 65535/],
  ['a log format that is none', ['runtime', '--log-format', 'xml'], 2, /expected text or json/],
  ['a CRI socket that is no unix socket', ['get', 'pods', '--container-runtime-endpoint', 'tcp://x'], 2, /only unix sockets are served/],
  [
    'no daemon',
    ['get', 'pods', '--run-dir', '/nowhere/run'],
    1,
    /no tskubelet runs here \(nothing listens on \/nowhere\/run\/agent.sock\): start one with/,
  ],
  ['exec without a daemon', ['exec', 'web', '--run-dir', '/nowhere/run', '--', 'ls'], 125, /no tskubelet runs here/],
  [
    'logs without a daemon and without files',
    ['logs', 'web', '--run-dir', '/nowhere/run', '--log-dir', '/nowhere/log'],
    1,
    /nor is there a log of pod "default\/web" in \/nowhere\/log/,
  ],
  ['a manifest that is not there', ['run', '/nowhere.yaml'], 125, /\/nowhere.yaml does not exist/],
  ['a configuration that is not there', ['runtime', '--config', '/nowhere.yaml'], 1, /read the configuration \/nowhere.yaml/],
] as const)
  test(`${title} is one sentence and exit code ${code}`, async () => {
    const outcome = await run(launcher, args);
    assert.match(outcome.stderr, sentence);
    assert.equal(outcome.code, code);
    assert.equal(outcome.stdout, '');
    assert.equal(outcome.stderr.trim().split('\n').length, 1, outcome.stderr);
  });

test('each command has help of its own', async () => {
  for (const command of [
    'runtime',
    'run',
    'get',
    'describe',
    'logs',
    'exec',
    'attach',
    'port-forward',
    'explain',
    'image',
    'doctor',
    'version',
  ]) {
    const { code, stdout } = await run(launcher, [command, '--help']);
    assert.equal(code, 0);
    assert.match(stdout, new RegExp(`^usage: tskubelet ${command}`));
  }
});

test('each verb of image has help of its own, with its flags alone', async () => {
  const whole = (await run(launcher, ['image', '--help'])).stdout;
  const verbs = [...whole.matchAll(/^image ([a-z-]+)/gm)].map(([, verb = '']) => verb);
  assert.ok(verbs.length > 10, whole);
  for (const verb of verbs) {
    const { code, stdout } = await run(launcher, ['image', verb, '--help']);
    assert.equal(code, 0);
    assert.match(stdout, new RegExp(`^usage: tskubelet image ${verb}\\b`));
    assert.equal(stdout.includes('--creds'), ['pull', 'push'].includes(verb), verb);
    assert.equal(stdout.includes('--bin'), verb === 'build-host', verb);
  }
  assert.match((await run(launcher, ['help', 'image', 'list'])).stdout, /^usage: tskubelet image ls$/m);
});

test('without root a daemon says so, and help and version work', { skip }, async () => {
  const asUser = (args: readonly string[]) => run('setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', launcher, ...args]);
  const refused = await asUser(['runtime']);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /which only root may: run it with sudo; 'tskubelet doctor' shows all/);
  assert.equal((await asUser(['version'])).code, 0);
});

test('explain --dry-run tells the system calls of a manifest, and which field is responsible', { skip }, async () => {
  const file = manifest('plan', pod('plan', { app: 'process.exit(0)' }));
  const text = await node.tskubelet(['explain', '--dry-run', file, 'start']);
  assert.equal(text.code, 0, text.stderr);
  for (const part of [
    /^sandbox of pod default\/plan/m,
    /^container app$/m,
    /clone3\(/,
    /pivot_root\("\.", "\."\)/,
    /capset.*\[securityContext\.capabilities\]/,
  ])
    assert.match(text.stdout, part);
  const json = await node.tskubelet(['explain', '--dry-run', file, '-o', 'json']);
  const { containers } = JSON.parse(json.stdout) as { containers: { steps: { call: string; field?: string }[] }[] };
  assert.equal(containers[0]?.steps.at(-1)?.field, 'command');
  assert.ok(!fs.existsSync(node.rootDir), 'nothing was made');
});

test('run passes on output and the first exit code in the order of the manifest, and leaves nothing', { skip }, async () => {
  const file = manifest(
    'job',
    pod('job', {
      one: "console.log('out'); console.error('err'); process.exit(3)",
      two: "process.stdout.write('no newline'); process.exit(4)",
    }),
  );
  const { code, stdout, stderr } = await node.tskubelet([...runFlags(), 'run', file]);
  assert.equal(code, 3, stderr);
  assert.deepEqual(stdout.trimEnd().split('\n').sort(), ['[one] err', '[one] out', '[two] no newline']);
  // Whether a new network namespace forwards already is the host's doing.
  assert.equal(stderr.replace(/^\S+ warning: net\..+ so that pods reach other networks\n/, ''), '');
  await assertClean();
});

for (const [title, containers, options, code, sentence] of [
  ['success', { app: '' }, {}, 0, /^$/],
  ['a signal', { app: "process.kill(process.pid, 'SIGKILL')" }, { hostPID: true }, 137, /^$/],
  ['a command that is not there', { app: ['nope'] }, {}, 127, /exec "nope": executable file not found in \$PATH/],
  ['a command that is no program', { app: ['/etc/hosts'] }, {}, 126, /permission denied/],
  [
    'an image that is not there',
    { app: '' },
    { image: 'localhost/nope:none' },
    125,
    /ErrImagePull.*usable without a registry: localhost\/node:host/,
  ],
] as const)
  test(`run ends with ${code} after ${title}`, { skip }, async () => {
    const outcome = await node.tskubelet([...runFlags(), 'run', manifest('run', pod('run', containers, options))]);
    assert.equal(outcome.code, code, outcome.stderr);
    assert.match(outcome.stderr, sentence);
    await assertClean();
  });

test('a node: pods come, are shown, entered, explained; a second daemon is refused; Ctrl-C leaves nothing', { skip }, async () => {
  node.addManifest('web.json', pod('web', { app: WAIT, side: WAIT }, { restartPolicy: 'Always' }));
  node.addManifest('bad.yaml', 'kind: Deployment\n');
  await node.start('node', { flags: ['--stop-pods-on-exit'] });
  const get = (...args: string[]) => node.tskubelet(['get', 'pods', ...args]);
  await poll('the pod to run', async () => /^web +2\/2 +Running +0 /m.test((await get()).stdout), 60_000);

  await poll('the next steps', () => /Try next, in another terminal:\n/.test(node.log));
  assert.match(node.log, new RegExp(`tskubelet --run-dir ${node.runDir} logs -f web`));
  assert.match(node.log, /bad\.yaml.*kind Deployment is not run from manifests/);

  assert.equal((await get('-o', 'name')).stdout, 'pod/web\n');
  assert.match(
    (await get('-o', 'wide')).stdout,
    /^NAME +READY +STATUS +RESTARTS +AGE +IP +NODE +MESSAGE\nweb +2\/2 +Running +0 +\S+ +10\.244\.0\.\d+ +node\n$/,
  );
  assert.equal(JSON.parse((await get('web', '-o', 'json')).stdout).status.phase, 'Running');
  assert.match((await get('-o', 'yaml')).stdout, /^apiVersion: v1\nkind: List\n/);
  assert.match((await get('-n', 'other')).stderr, /no pods in namespace other/);
  assert.equal((await get('nobody')).code, 1);
  assert.match((await get()).stderr, /bad\.yaml, document 1, line 1: kind: kind Deployment is not run/);

  assert.equal((await node.tskubelet(['logs', 'web', '-c', 'side'])).stdout, 'up\n');
  assert.match((await node.tskubelet(['logs', 'web/app', '--timestamps'])).stdout, /^\d{4}-\d\d-\d\dT\S+Z up\n$/);
  assert.match((await node.tskubelet(['logs', 'web', '-c', 'none'])).stderr, /container "none" is not in pod web: it has app, side/);
  assert.match((await node.tskubelet(['logs', 'web', '-p'])).stderr, /no earlier run/);
  assert.match((await node.tskubelet(['logs', 'wbe'])).stderr, /pod "default\/wbe" is not on this node/);

  const exec = (...command: string[]) => node.tskubelet(['exec', 'web', '-c', 'app', '--', ...command]);
  assert.deepEqual(await exec('node', '-e', "console.log('o'); console.error('e'); process.exit(7)"), {
    code: 7,
    stdout: 'o\n',
    stderr: 'e\n',
  });
  assert.equal((await exec('nope')).code, 127);
  assert.equal((await exec('/etc/hosts')).code, 126);
  assert.equal((await node.tskubelet(['exec', 'nobody', '--', 'x'])).code, 125);

  const explained = await node.tskubelet(['explain', 'web/app', 'start']);
  assert.match(explained.stdout, /^container app, running, made in [\d.]+ ms \(/m);
  assert.match(explained.stdout, /execve\(/);
  assert.doesNotMatch(explained.stdout, /container side/);

  const second = await node.tskubelet(['runtime', ...runFlags()]);
  assert.equal(second.code, 1);
  assert.match(second.stderr, /is in use by the tskubelet with pid \d+; stop it or choose another --root-dir/);

  // With a daemon there, images go through its socket and `run` through the agent.
  assert.match(
    (await node.tskubelet(['image', 'ls'])).stdout,
    /^IMAGE +TAG +IMAGE ID +SIZE\nlocalhost\/node +host +[0-9a-f]{12} +\d+MB\n$/,
  );
  const built = await node.tskubelet(['image', 'build-host', 'tools', '--bin', '/bin/ls']);
  assert.match(built.stdout, /^sha256:[0-9a-f]{64}\n$/, built.stderr);
  assert.equal((await node.tskubelet(['image', 'rm', 'localhost/tools:host'])).code, 0);
  assert.match((await node.tskubelet(['image', 'rm', 'localhost/tools:host'])).stderr, /there is no image "localhost\/tools:host" here/);
  const job = await node.tskubelet(['run', manifest('guest', pod('guest', { app: "console.log('hi'); process.exit(5)" }))]);
  assert.deepEqual([job.code, job.stdout, job.stderr], [5, 'hi\n', '']);
  assert.equal((await get('-o', 'name')).stdout, 'pod/web\n', 'the pod of run is gone');

  assert.equal(await node.stop('SIGINT'), 0);
  assert.match(node.log, /ending 1 pod gracefully/);
  assert.match(node.log.trimEnd().split('\n').at(-1) ?? '', /ended; no pod is left and .* is clean; images stay in /);
  await assertClean();

  const refused = await node.tskubelet(['--manifests', node.pods, ...runFlags(), '--read-only-port', '0', '--resolv-conf', '/absent']);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /--resolv-conf \/absent cannot be read \(ENOENT\): give another file, or "" for no name servers\n$/);
  await assertClean();
});

test('without --stop-pods-on-exit pods run on, their logs can be read, and the next start finds them', { skip }, async () => {
  node.addManifest('web.json', pod('web', { app: WAIT }, { restartPolicy: 'Always' }));
  node.removeManifest('bad.yaml');
  await node.start('node', { flags: ['--log-format', 'json'] });
  const running = async () => JSON.parse((await node.tskubelet(['get', 'pods', 'web', '-o', 'json'])).stdout).status.containerStatuses[0];
  const before = await poll('the pod to run', async () => ((await running()).state.running ? running() : undefined), 60_000);
  await poll('its first word', async () => (await node.tskubelet(['logs', 'web'])).stdout === 'up\n');
  node.log = '';
  assert.equal(await node.stop('SIGTERM'), 0);
  const last = JSON.parse(node.log.trimEnd().split('\n').at(-1) ?? '') as { msg: string; time: string; level: string };
  assert.equal(last.msg, 'ended; 1 pod runs on, and the next start finds it');
  assert.match(last.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.equal(last.level, 'info');
  assert.equal((await node.tskubelet(['logs', 'web'])).stdout, 'up\n', 'from the files');
  assert.match((await node.tskubelet(['image', 'ls'])).stdout, /localhost\/node/, 'from the store');

  // A job in the foreground leaves the pods of the node alone.
  assert.equal((await node.tskubelet([...runFlags(), 'run', manifest('job2', pod('job2', { app: '' }))])).code, 0);

  await node.start('node', { flags: ['--stop-pods-on-exit'] });
  const after = await poll('the pod to be found', running);
  assert.equal(after.containerID, before.containerID);
  assert.equal(after.restartCount, 0);
  assert.equal(await node.stop('SIGTERM'), 0);
  await assertClean();
});

test('Ctrl-C ends a pod that runs for ever, gracefully and with 130', { skip }, async () => {
  const file = manifest('forever', pod('forever', { app: WAIT }, { restartPolicy: 'Always', graceSeconds: 20 }));
  const { code, stdout } = await interrupt([...runFlags(), 'run', file], 'up\n');
  assert.equal(code, 130);
  assert.equal(stdout, 'up\nbye\n');
  await assertClean();
});
