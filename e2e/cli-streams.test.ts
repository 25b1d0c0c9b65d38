// exec, attach and port-forward of the command line, over the real agent and runtime; on a real terminal where they want one.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { WebSocket } from 'ws';
import { collect } from './testing/command.ts';
import { BUSYBOX } from './testing/cri.ts';
import { isRunning, podManifest, sh, untilPod } from './testing/pods.ts';
import { poll } from './testing/poll.ts';
import { type OnTerminal, onTerminal as startOnTerminal } from './testing/terminal.ts';
import { TestNode } from './testing/test-node.ts';

const options = { timeout: 90_000, skip: process.getuid?.() === 0 ? false : 'needs root' };
const launcher = path.resolve(import.meta.dirname, '../bin/tskubelet');
let node: TestNode;

before(async () => {
  if (options.skip !== false) return;
  node = await TestNode.create();
  await node.start('node');
  await node.cri.image.pullImage({ image: { image: BUSYBOX } });
});
const clients: ChildProcess[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.kill('SIGKILL');
});
after(() => node?.destroy());

const commandLine = (args: readonly string[]) => node.inside([launcher, ...node.flags, ...args]);

function onTerminal(args: readonly string[], options?: { readonly before?: string; readonly after?: string }): OnTerminal {
  const terminal = startOnTerminal(commandLine(args), options);
  clients.push(terminal.child);
  return terminal;
}

function start(args: readonly string[]) {
  const [command, all] = commandLine(args);
  const client = spawn(command, all, { stdio: ['pipe', 'pipe', 'pipe'] });
  clients.push(client);
  return client;
}

async function startPod(name: string, ...[container, spec]: [Parameters<typeof podManifest>[1], Parameters<typeof podManifest>[2]?]) {
  node.addManifest(`${name}.yaml`, podManifest(name, container, spec));
  await untilPod(node, name, isRunning);
}

async function isRunningIn(pod: string, words: string): Promise<boolean> {
  return (await node.tskubelet(['exec', pod, '--', 'ps', '-o', 'args'])).stdout.split('\n').some((line) => line.includes(words));
}

const SLEEP = sh('trap "exit 0" TERM; sleep 100000 & wait');

test('exec keeps streams apart, passes stdin and exit code on, and every byte', options, async () => {
  await startPod('plain', SLEEP);
  const exec = (...args: string[]) => node.tskubelet(['exec', 'plain', '--', ...args]);
  assert.deepEqual(await exec('sh', '-c', 'echo out; echo err >&2; exit 7'), { code: 7, stdout: 'out\n', stderr: 'err\n' });
  assert.equal((await exec('sh', '-c', 'kill -9 $$')).code, 137);
  const big = randomBytes(3 << 20).toString('base64');
  const echoed = await node.tskubelet(['exec', '-i', 'plain', '--', 'cat'], { input: big });
  assert.ok(echoed.stdout === big, `${echoed.stdout.length} of ${big.length} characters came back: ${echoed.stderr}`);
  // Without -i the command has no input, whatever ours has.
  assert.equal((await node.tskubelet(['exec', 'plain', '--', 'wc', '-c'], { input: 'x' })).stdout.trim(), '0');
  const words = ['printf', '%s|', 'a b', 'c&d=e', 'ü', '', '%'];
  assert.equal((await exec(...words)).stdout, 'a b|c&d=e|ü||%|');
  const piped = await node.tskubelet(['exec', '-it', 'plain', '--', 'sh', '-c', 'test -t 0 || cat'], { input: 'no terminal' });
  assert.deepEqual([piped.code, piped.stdout], [0, 'no terminal']);
  assert.match(piped.stderr, /standard input is no terminal/);
});

test('exec -it is a shell with keys, size and exit code, and leaves the terminal as it was', options, async () => {
  await startPod('shell', SLEEP);
  const terminal = onTerminal(['exec', '-it', 'shell', '--', 'sh'], { after: 'echo restored; stty -a' });
  terminal.type('stty size; tty; echo "is$((1+1))" >/dev/tty\n');
  await poll('the answers', () => /31 101\r\n[\s\S]*\/dev\/pts\/0\r\n[\s\S]*is2/.test(terminal.seen()));
  terminal.type('sleep 321\n');
  await poll('the sleep', () => isRunningIn('shell', 'sleep 321'));
  terminal.type('\u0003');
  await poll('its interruption', async () => !(await isRunningIn('shell', 'sleep 321')));
  terminal.type('exit 5\n');
  assert.equal(await terminal.ended, 5);
  assert.match(terminal.seen(), /restored[\s\S]* icanon[\s\S]* echo /);
});

test('a terminal that is resized tells the program', options, async () => {
  await startPod('resized', SLEEP);
  const script = 'trap "stty size" WINCH; echo ready; while :; do read -t 1 line; done';
  const terminal = onTerminal(['exec', '-it', 'resized', '--', 'sh', '-c', script], {
    before: 'stty rows 31 cols 101; tty',
  });
  await poll('the program', () => terminal.seen().includes('ready'));
  const device = /\/dev\/pts\/\d+/.exec(terminal.seen())?.[0] ?? '';
  await node.inNetwork(['stty', '-F', device, 'rows', '20', 'cols', '60']);
  await poll('the size', () => terminal.seen().includes('20 60'));
  terminal.child.kill('SIGKILL');
});

for (const signal of ['SIGTERM', 'SIGHUP'] as const)
  test(`a client that gets ${signal} restores its terminal and ends what it started`, options, async () => {
    const pod = `ended-${signal.toLowerCase()}`;
    await startPod(pod, SLEEP);
    const terminal = onTerminal(['exec', '-it', pod, '--', 'sh', '-c', 'setsid sleep 654 & echo pid; sleep 655'], {
      after: 'echo restored; stty -a',
    });
    await poll('both', async () => (await isRunningIn(pod, 'sleep 654')) && (await isRunningIn(pod, 'sleep 655')));
    const client = clientsOf(pod);
    assert.equal(client.length, 1);
    process.kill(client[0]!, signal);
    assert.equal(await terminal.ended, signal === 'SIGTERM' ? 143 : 129);
    assert.match(terminal.seen(), /restored[\s\S]* icanon[\s\S]* echo /);
    await poll('their end', async () => !(await isRunningIn(pod, 'sleep 65')));
  });

/** Processes of this machine that run `exec` on that pod. */
function clientsOf(pod: string): number[] {
  return fs
    .readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .filter((entry) => {
      try {
        const words = fs.readFileSync(`/proc/${entry}/cmdline`, 'utf8').split('\0');
        return words[0]?.endsWith('node') && words.includes('exec') && words.includes(pod) && words.includes(node.runDir);
      } catch {
        return false;
      }
    })
    .map(Number);
}

test('attach -it to a container with a terminal: what is typed, what is seen, and going without ending it', options, async () => {
  await startPod('console', { command: ['sh'], stdin: true, tty: true });
  const first = onTerminal(['attach', '-it', 'console']);
  await poll('the greeting', () => first.seen().includes('Attached'));
  first.type('stty size; echo "to$((1+1))"\n');
  await poll('the echo', () => /31 101\r\n[\s\S]*to2/.test(first.seen()));
  first.child.kill('SIGKILL');
  await first.ended;
  const second = onTerminal(['attach', '-it', 'console/main']);
  await poll('the greeting', () => second.seen().includes('Attached'));
  second.type('echo "aga$((1+1))"; exit\n');
  assert.equal(await second.ended, 0);
  assert.match(second.seen(), /aga2/);
});

test('a program that reads no keys holds up its own client, not the daemon', options, async () => {
  await startPod('deaf', { ...sh('stty raw -echo; echo deaf; sleep 100000'), stdin: true, tty: true });
  const query = new URLSearchParams([
    ...['sh', '-c', 'stty raw -echo; echo ready; sleep 1; head -c 300000 | wc -c'].map((word) => ['command', word]),
    ['tty', '1'],
  ] as [string, string][]);
  for (const target of [`/exec/default/deaf/main?${query}&input=1&output=1`, '/attach/default/deaf/main?input=1&output=1&tty=1']) {
    const socket = new WebSocket(`ws://node${target}`, ['v5.channel.k8s.io'], {
      createConnection: (() => net.connect(path.join(node.runDir, 'agent.sock'))) as never,
    });
    let output = '';
    socket.on('message', (message: Buffer) => {
      output += message.subarray(1);
    });
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
    // Until the terminal is raw it drops what is longer than a line may be.
    if (target.startsWith('/exec')) await poll('a raw terminal', () => output.includes('ready'));
    for (let i = 0; i < 300; i++) socket.send(Buffer.concat([Buffer.from([0]), Buffer.alloc(1000, 97)]));
    // libuv would wait in write(2) on the terminal's master.
    for (let i = 0; i < 5; i++) await node.cri.runtime.version({}, { timeoutMs: 3000 });
    if (target.startsWith('/exec')) await poll('every key to be read', () => output.includes('300000'));
    socket.terminate();
    await closed;
  }
});

test('attach without a terminal ends with the container, after its last word', options, async () => {
  const script = 'while read line; do echo "got $line"; echo "error $line" >&2; done; echo bye';
  await startPod('reader', { ...sh(script), stdin: true, stdinOnce: true }, { restartPolicy: 'Never' });
  const refused = await node.tskubelet(['attach', '-i', 'plain']);
  assert.match(refused.stderr, /has no standard input: its manifest needs "stdin: true"/);
  const client = start(['attach', '-i', 'reader']);
  const { out, err, ended } = collect(client);
  client.stdin.write('one\n');
  await poll('the answers', () => out().includes('got one\n') && err().includes('error one\n'));
  client.stdin.end('two\n');
  assert.equal(await ended, 0);
  assert.deepEqual([out(), err()], ['got one\ngot two\nbye\n', 'error one\nerror two\n']);
});

test('port-forward listens here, carries many connections, names what is refused, and ends with Ctrl-C', options, async () => {
  const serve = 'mkdir /www; head -c 300000 /dev/zero >/www/big; echo hello >/www/small; exec httpd -f -p 127.0.0.1:81 -h /www';
  await startPod('web', { ...sh(serve), ports: [{ name: 'http', containerPort: 81 }] });
  const client = start(['port-forward', 'web', ':http', '18083:83']);
  let output = '';
  for (const stream of [client.stdout, client.stderr])
    stream.on('data', (chunk: Buffer) => {
      output += chunk;
    });
  const ended = new Promise<number | null>((resolve) => client.once('close', resolve));
  const port = await poll('the local port', () => /Forwarding from 127\.0\.0\.1:(\d+) -> 81\n/.exec(output)?.[1]);
  await poll('the other', () => /Forwarding from 127\.0\.0\.1:18083 -> 83\n/.test(output));
  assert.match(output, new RegExp(`Forwarding from \\[::1\\]:${port} -> 81\n`));
  const fetch = (local: string, file: string) => node.inNetwork(['busybox', 'wget', '-q', '-O', '-', `http://127.0.0.1:${local}/${file}`]);
  await poll('the server', async () => (await fetch(port, 'small')).stdout === 'hello\n');
  const many = await Promise.all(Array.from({ length: 8 }, () => fetch(port, 'big')));
  assert.deepEqual(
    many.map(({ stdout }) => stdout.length),
    many.map(() => 300_000),
  );
  assert.notEqual((await fetch('18083', 'small')).code, 0);
  await poll('the refusal', () => /port 83 of pod web: .*(ECONNREFUSED|connection refused)/i.test(output));
  assert.match(output, new RegExp(`Handling connection for ${port}\n`));
  client.kill('SIGINT');
  assert.equal(await ended, 0);
});

test('the same paths of agent.sock serve SPDY as a kubelet does, and refuse with a sentence', options, async () => {
  await startPod('spdy', SLEEP);
  const upgrade = (target: string) =>
    new Promise<{ status: number; protocol: unknown; text: string }>((resolve, reject) => {
      const request = http.request({
        socketPath: path.join(node.runDir, 'agent.sock'),
        path: target,
        method: 'POST',
        headers: { connection: 'Upgrade', upgrade: 'SPDY/3.1', 'x-stream-protocol-version': 'v4.channel.k8s.io' },
      });
      request.on('upgrade', ({ statusCode, headers }, socket) => {
        socket.destroy();
        resolve({ status: statusCode ?? 0, protocol: headers['x-stream-protocol-version'], text: '' });
      });
      request.on('response', async (response) => {
        let text = '';
        for await (const chunk of response) text += chunk;
        resolve({ status: response.statusCode ?? 0, protocol: undefined, text });
      });
      request.on('error', reject);
      request.end();
    });
  assert.deepEqual(await upgrade('/exec/default/spdy/main?command=true&output=1'), {
    status: 101,
    protocol: 'v4.channel.k8s.io',
    text: '',
  });
  for (const [target, status, sentence] of [
    ['/exec/default/spdy/main?output=1', 400, /no "command"/],
    ['/exec/default/spdy/main?command=true', 400, /one of input, output and error/],
    ['/exec/default/spdy/none?command=true&output=1', 404, /container "none" is not in pod spdy/],
    ['/attach/default/nobody/main?output=1', 404, /pod "default\/nobody" is not on this node/],
    ['/portForward/default/spdy?port=70000', 400, /ports are 1 to 65535/],
    ['/elsewhere', 404, /no such path for an upgrade/],
  ] as const) {
    const refused = await upgrade(target);
    assert.equal(refused.status, status, target);
    assert.match(refused.text, sentence);
  }
});
