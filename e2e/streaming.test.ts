// Exec, attach and port-forward through the real crictl, over SPDY and over WebSocket.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { collect } from './testing/command.ts';
import { outputOf } from './testing/cri.ts';
import { type Crictl, crictlTests, shell } from './testing/crictl.ts';
import { poll } from './testing/poll.ts';
import { onTerminal as startOnTerminal } from './testing/terminal.ts';
import type { TestNode } from './testing/test-node.ts';

let node: TestNode;
let crictl: Crictl;
const { options } = await crictlTests((startedCrictl, startedNode) => {
  crictl = startedCrictl;
  node = startedNode;
});

const onTerminal = (args: readonly string[]) => startOnTerminal(crictl.inside(args));

for (const transport of ['spdy', 'websocket'] as const) {
  const exec = (...args: string[]) => ['exec', '--transport', transport, ...args];

  test(`exec over ${transport}: streams apart, exit codes, stdin to its end, every byte`, options, async () => {
    const { container } = await crictl.startPod(`exec-${transport}`, shell('exec sleep 1000'));
    const plain = await crictl.tryInside(exec(container, 'sh', '-c', 'echo out; echo err >&2'));
    assert.deepEqual([plain.code, plain.stdout, plain.stderr], [0, 'out\n', 'err\n']);
    const failed = await crictl.tryInside(exec(container, 'sh', '-c', 'echo last words; exit 7'));
    assert.equal(failed.stdout, 'last words\n');
    assert.match(failed.stderr, /exit (code|status) 7|terminated with.* 7/);
    const missing = await crictl.tryInside(exec(container, 'nosuch'));
    assert.match(missing.stderr, /executable file not found in \$PATH/);

    const big = randomBytes(3 << 20).toString('base64');
    const echoed = await crictl.tryInside(exec('-i', container, 'cat'), { input: big });
    assert.ok(echoed.stdout === big, `${echoed.stdout.length} of ${big.length} characters came back: ${echoed.stderr}`);
    const counted = await crictl.tryInside(exec('-i', container, 'sh', '-c', 'wc -c; echo after the end'), { input: 'twelve bytes' });
    assert.equal(counted.stdout.replace(/^ */, ''), '12\nafter the end\n');
    const lot = await crictl.tryInside(exec(container, 'sh', '-c', 'head -c 5000000 /dev/zero; echo done >&2'));
    assert.deepEqual([lot.stdout.length, lot.stderr], [5_000_000, 'done\n']);
  });

  test(`exec -it over ${transport} is a terminal: controlling, sized, resized, interrupted`, options, async () => {
    const { container } = await crictl.startPod(`tty-${transport}`, shell('exec sleep 1000'));
    const terminal = onTerminal(exec('-it', container, 'sh'));
    terminal.type('stty size; tty; echo "is$((1+1))" >/dev/tty\n');
    await poll('the answers', () => /31 101\r\n[\s\S]*\/dev\/pts\/0\r\n[\s\S]*is2/.test(terminal.seen()) || undefined);
    terminal.type('sleep 321\n');
    await poll('the sleep', () => crictl.isRunning(container, 'sleep 321'));
    terminal.type('\u0003');
    await poll('its interruption', async () => !(await crictl.isRunning(container, 'sleep 321')));
    terminal.type('exit 5\n');
    assert.notEqual(await terminal.ended, 0);
  });

  test(`exec over ${transport} whose client is killed ends with everything that it started`, options, async () => {
    const { container } = await crictl.startPod(`gone-${transport}`, shell('exec sleep 1000'));
    const [command, args] = crictl.inside(exec('-i', container, 'sh', '-c', 'setsid sleep 654 & sleep 655'));
    const client = spawn(command, args, { stdio: ['pipe', 'ignore', 'ignore'] });
    await poll('both', async () => (await crictl.isRunning(container, 'sleep 654')) && (await crictl.isRunning(container, 'sleep 655')));
    client.kill('SIGKILL');
    await poll('their end', async () => !(await crictl.isRunning(container, 'sleep 65')));
  });

  test(`attach over ${transport} sees what comes, types, and leaves the container alone`, options, async () => {
    const { container } = await crictl.startPod(`attach-${transport}`, {
      ...shell('while read line; do echo "got $line"; echo "error $line" >&2; done; echo bye'),
      stdin: true,
      stdin_once: true,
    });
    const mixed = /code = InvalidArgument desc = container .* was created without a terminal: attach without tty/;
    assert.match(await crictl.refusal('attach', '--transport', transport, '-t', container), mixed);
    const [command, args] = crictl.inside(['attach', '--transport', transport, '-i', container]);
    const client = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    const { out, err, ended } = collect(client);
    client.stdin.write('one\n');
    await poll('the answers', () => out().includes('got one\n') && err().includes('error one\n'));
    client.stdin.end('two\n');
    await ended;
    assert.equal(out(), 'got one\ngot two\nbye\n');
    const log = path.join(node.logDir, `attach-${transport}/main/2.log`);
    await poll('the log', () => outputOf(log).includes('bye'));
    assert.equal(outputOf(log).replaceAll(/error .*\n/g, ''), 'got one\ngot two\nbye\n');
  });

  test(`attach -it over ${transport} to a terminal: keyboard, size, and its output in the log`, options, async () => {
    const { container } = await crictl.startPod(`console-${transport}`, { ...shell('exec sh'), stdin: true, tty: true });
    const mixed = /code = InvalidArgument desc = container .* was created with a terminal: attach with tty/;
    assert.match(await crictl.refusal('attach', '--transport', transport, '-i', container), mixed);
    const first = onTerminal(['attach', '--transport', transport, '-it', container]);
    first.type('stty size\n');
    await poll('the size', () => /31 101\r\n/.test(first.seen()) || undefined);
    first.child.kill('SIGKILL');
    await first.ended;
    const second = onTerminal(['attach', '--transport', transport, '-it', container]);
    // Nothing says when an attached client is there: the first echo is the sign.
    await poll('an echo', () => {
      second.type('echo mar"k"er\n');
      return second.seen().includes('\r\nmarker\r\n');
    });
    second.type('exit\n');
    await second.ended;
    const log = path.join(node.logDir, `console-${transport}/main/2.log`);
    await poll('the log', () => outputOf(log).includes('marker\r\n'));
    assert.match(outputOf(log), /31 101\r\n/);
  });

  test(`port-forward over ${transport} reaches IPv4 and IPv6 listeners on localhost, many at once`, options, async () => {
    const { sandbox } = await crictl.startPod(`ports-${transport}`, {
      ...shell(
        'mkdir /www; head -c 300000 /dev/zero >/www/big; echo hello >/www/small; httpd -p 127.0.0.1:81 -h /www; exec httpd -f -p [::1]:82 -h /www',
      ),
    });
    const fetch = (port: string, file: string) => node.inNetwork(['busybox', 'wget', '-q', '-O', '-', `http://127.0.0.1:${port}/${file}`]);
    for (const remote of [81, 82])
      await crictl.withForward(['--transport', transport, sandbox, `0:${remote}`], async (port) => {
        await poll('the server', async () => (await fetch(port, 'small')).stdout === 'hello\n');
        const many = await Promise.all(Array.from({ length: 8 }, () => fetch(port, 'big')));
        assert.deepEqual(
          many.map(({ stdout }) => stdout.length),
          many.map(() => 300_000),
        );
      });
    await crictl.withForward(['--transport', transport, sandbox, '0:83'], async (port, output) => {
      await fetch(port, 'small');
      await poll('the refusal', () => /ECONNREFUSED|connection refused/i.test(output()));
    });
  });
}

test('a terminal outlives the daemon: same process, same keyboard, no output lost', options, async () => {
  const { container } = await crictl.startPod('restart', {
    ...shell('echo before; until [ -e /go ]; do sleep 0.05; done; echo while away; exec sh'),
    stdin: true,
    tty: true,
  });
  const log = path.join(node.logDir, 'restart/main/2.log');
  await poll('the first line', () => fs.readFileSync(log, 'utf8').includes('before'));
  const { pid } = (await crictl.json<{ info: { pid: number } }>('inspect', container)).info;
  await node.stop('SIGKILL');
  fs.writeFileSync(`/proc/${pid}/root/go`, '');
  await node.start('runtime');
  const terminal = onTerminal(['attach', '-it', container]);
  await poll('an echo', () => {
    terminal.type('echo back $$\n');
    return terminal.seen().includes('back 1\r\n');
  });
  terminal.type('exit\n');
  await terminal.ended;
  await poll('the log', () => /before\r\nwhile away\r\n[\s\S]*back 1/.test(outputOf(log)));
});

test('a streaming URL works once, and says what it wants', options, async () => {
  const { container } = await crictl.startPod('token', shell('exec sleep 1000'));
  const { cri } = node;
  const { url } = await cri.runtime.exec({ containerId: container, cmd: ['true'], stdout: true });
  assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/exec\/[\w-]{32}$/);
  const get = async (address: string) => (await node.inNetwork(['busybox', 'wget', '-S', '-O', '-', address])).stderr;
  assert.match(await get(url), /400 Bad Request/);
  assert.match(await get(url.replace(/exec\/.*/, 'other')), /404 Not Found/);
  const refused = async (request: Parameters<typeof cri.runtime.exec>[0]) =>
    cri.runtime.exec(request).then(
      () => assert.fail('it was accepted'),
      (error: { code: unknown; message: string }) => error,
    );
  assert.match((await refused({ containerId: container, cmd: ['true'], tty: true, stderr: true, stdout: true })).message, /tty and stderr/);
  assert.match((await refused({ containerId: container, cmd: ['true'] })).message, /one of stdin, stdout and stderr/);
  assert.match((await refused({ containerId: 'nosuch', cmd: ['true'], stdout: true })).message, /no container with id "nosuch"/);
});
