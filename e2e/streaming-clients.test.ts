// Clients of the streaming server as they are in life: slow, killed, many at once; and the server as its flags ask for it, over TLS too.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { check } from './testing/command.ts';
import { type Crictl, crictlTests, shell } from './testing/crictl.ts';
import { poll } from './testing/poll.ts';
import type { TestNode } from './testing/test-node.ts';

const PORT = 24_831;
let node: TestNode;
let crictl: Crictl;
const { options } = await crictlTests((startedCrictl, startedNode) => {
  crictl = startedCrictl;
  node = startedNode;
});

/** What busybox's httpd of the pods here serves, through a forwarded port. */
async function reachesPage(port: string): Promise<void> {
  await poll('the page', async () => {
    const { stdout } = await node.inNetwork(['busybox', 'wget', '-q', '-O', '-', `http://127.0.0.1:${port}/x`]);
    return stdout === 'hello\n';
  });
}

/** The daemon runs behind nsenter, which execs it: one pid. */
function daemonFds(): string[] {
  const directory = `/proc/${node.daemon?.pid}/fd`;
  return fs.readdirSync(directory).flatMap((fd) => {
    try {
      return [fs.readlinkSync(path.join(directory, fd))];
    } catch {
      return [];
    }
  });
}

for (const transport of ['spdy', 'websocket'] as const) {
  test(`the end of an output waits for a pager, over ${transport}`, options, async () => {
    const { container } = await crictl.startPod(`pager-${transport}`, shell('exec sleep 1000'));
    const [command, args] = crictl.inside([
      'exec',
      '--transport',
      transport,
      container,
      'sh',
      '-c',
      'head -c 20000000 /dev/zero; echo; echo end',
    ]);
    const client = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    let bytes = 0;
    let tail = '';
    const ended = new Promise((resolve) => client.once('close', resolve));
    // Longer than any grace that a server may give to the last bytes; the command itself ends meanwhile, or waits.
    await new Promise((resolve) => setTimeout(resolve, 7000));
    client.stdout.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      tail = (tail + chunk.toString('latin1')).slice(-4);
    });
    await ended;
    assert.deepEqual([bytes, tail], [20_000_005, 'end\n']);
  });

  test(`an exec that does not read its input ends with its client, over ${transport}`, options, async () => {
    const { container } = await crictl.startPod(`deaf-${transport}`, shell('exec sleep 1000'));
    const [command, args] = crictl.inside(['exec', '--transport', transport, '-i', container, 'sleep', '432']);
    const client = spawn(command, args, { stdio: ['pipe', 'ignore', 'ignore'] });
    client.stdin.on('error', () => undefined);
    client.stdin.write(Buffer.alloc(32 << 20));
    await poll('the command', () => crictl.isRunning(container, 'sleep 432'));
    await poll('its input to be full', async () => {
      const before = client.stdin.writableLength;
      await new Promise((resolve) => setTimeout(resolve, 300));
      return before === client.stdin.writableLength;
    });
    client.kill('SIGKILL');
    await poll('its end', async () => !(await crictl.isRunning(container, 'sleep 432')));
  });

  test(`port-forward over ${transport} reaches a pod in the host's network`, options, async () => {
    const name = `host-${transport}`;
    const [podFile, containerFile] = crictl.configs(name, shell('mkdir /www; echo hello >/www/x; exec httpd -f -p 127.0.0.1:8099 -h /www'));
    const pod = JSON.parse(fs.readFileSync(podFile, 'utf8')) as object;
    fs.writeFileSync(podFile, JSON.stringify({ ...pod, linux: { security_context: { namespace_options: { network: 2 } } } }));
    const sandbox = await crictl.call('runp', podFile);
    await crictl.call('start', await crictl.call('create', sandbox, containerFile, podFile));
    await crictl.withForward(['--transport', transport, sandbox, '0:8099'], reachesPage);
  });
}

test('sessions that are killed at random leave no descriptor, no process', options, async () => {
  const { container } = await crictl.startPod('many', shell('exec sleep 1000'));
  await crictl.tryInside(['exec', container, 'true']);
  const before = daemonFds().length;
  const kinds = [
    ['exec', 'sleep', '876'],
    ['exec', 'yes', '876'],
    ['exec -i', 'cat', '-', '/dev/zero'],
    ['exec -i', 'sh', '-c', 'sleep 876 & sleep 876'],
  ] as const;
  await Promise.all(
    Array.from({ length: 24 }, async (_, index) => {
      const [flags, ...words] = kinds[index % kinds.length] ?? kinds[0];
      const transport = index % 8 < 4 ? 'spdy' : 'websocket';
      const [command, args] = crictl.inside([...flags.split(' '), '--transport', transport, container, ...words]);
      const client = spawn(command, args, { stdio: ['pipe', 'pipe', 'ignore'] });
      client.stdin.on('error', () => undefined);
      const ended = new Promise((resolve) => client.once('exit', resolve));
      await new Promise((resolve) => setTimeout(resolve, 300 + Math.random() * 2500));
      client.kill('SIGKILL');
      await ended;
    }),
  );
  await poll(
    'the commands to end',
    async () => (await crictl.call('exec', '-s', container, 'ps', '-o', 'args')).match(/876|zero/) === null,
  );
  // Longer than a thread of the image store waits for more work.
  await poll(`${before} descriptors`, () => daemonFds().length <= before || undefined, 90_000).catch((error: unknown) => {
    throw new Error(`descriptors are left: ${daemonFds().join(' ')}`, { cause: error });
  });
});

test('flags say where streams are served, and that over TLS', options, async () => {
  const [cert, key] = [path.join(node.dir, 'tls.crt'), path.join(node.dir, 'tls.key')];
  await check('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1', '-subj', '/CN=localhost'],
    ...['-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', cert],
  ]);
  const certificate = ['--tls-ca', cert, '--tls-cert', cert, '--tls-key', key];
  const tls = ['--streaming-tls-cert-file', cert, '--streaming-tls-private-key-file', key];
  await node.stop();
  await node.start('runtime', { flags: ['--streaming-address', '0.0.0.0', '--streaming-port', String(PORT), ...tls] });
  try {
    const { sandbox, container } = await crictl.startPod(
      'tls',
      shell('mkdir /www; echo hello >/www/x; exec httpd -f -p 127.0.0.1:81 -h /www'),
    );
    const { url } = await node.cri.runtime.exec({ containerId: container, cmd: ['true'], stdout: true });
    assert.ok(url.startsWith(`https://127.0.0.1:${PORT}/exec/`), url);
    for (const transport of ['spdy', 'websocket']) {
      const trusted = await crictl.tryInside(['exec', '--transport', transport, ...certificate, container, 'echo', 'over TLS']);
      assert.deepEqual([trusted.stdout, trusted.code], ['over TLS\n', 0], trusted.stderr);
      const stranger = await crictl.tryInside(['exec', '--transport', transport, ...certificate, '--tls-sni', 'other', container, 'true']);
      assert.match(stranger.stderr, /certificate is valid for localhost, not other/);
      await crictl.withForward(['--transport', transport, ...certificate, sandbox, '0:81'], reachesPage);
    }
  } finally {
    await node.stop();
    await node.start('runtime');
  }
});
