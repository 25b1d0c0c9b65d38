import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { after, before, beforeEach, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import WebSocket from 'ws';
import { AttachRequest, ExecRequest, PortForwardRequest } from '../../cri-proto/gen/api.ts';
import { openStreamingServer, type StreamingServer } from './server.ts';
import type { StreamHandlers, StreamSession } from './session.ts';
import { connectSpdy, SpdyClient } from './testing/spdy-client.ts';

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined, debug: () => undefined };

let server: StreamingServer;
/** Does not wait for streams. */
let hasty: StreamingServer;
/** What the next session does. */
let run: (session: StreamSession) => Promise<number>;
let dial: StreamHandlers['portForward'];

before(async () => {
  const handlers: StreamHandlers = {
    exec: (_request, session) => run(session),
    attach: async (_request, session) => void (await run(session)),
    portForward: (id, port, signal) => dial(id, port, signal),
  };
  server = await openStreamingServer({ handlers, logger: silent as never, times: { probeMs: 20 } });
  hasty = await openStreamingServer({ handlers, logger: silent as never, times: { creationMs: 50 } });
});
beforeEach(() => {
  run = async () => 0;
  dial = async (_id, port) => net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
});
after(() => Promise.all([server.close(), hasty.close()]));

async function until(what: string, look: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 20_000; !look(); await delay(5)) assert.ok(Date.now() < deadline, `waited for ${what}`);
}

const execUrl = (streams: Partial<ExecRequest>, { url } = server) =>
  url({ kind: 'exec', request: ExecRequest.create({ containerId: 'c', ...streams }) });
const forwardUrl = (port: number[] = [], { url } = server) => url({ kind: 'portforward', request: PortForwardRequest.create({ port }) });

async function spdy(url: string, protocol: string): Promise<SpdyClient> {
  const client = await connectSpdy(url, [protocol]);
  assert.ok(client instanceof SpdyClient, JSON.stringify(client));
  return client;
}

async function websocket(url: string, protocol?: string): Promise<{ socket: WebSocket; messages: Buffer[] }> {
  const socket = protocol === undefined ? new WebSocket(url) : new WebSocket(url, protocol);
  const messages: Buffer[] = [];
  socket.on('message', (data: Buffer) => messages.push(data)).on('error', () => undefined);
  await once(socket, 'open');
  return { socket, messages };
}

const onChannel = (messages: readonly Buffer[], channel: number) =>
  Buffer.concat(messages.filter((message) => message[0] === channel).map((message) => message.subarray(1)));

test('the first protocol that both know is taken, others are refused by name', async () => {
  const choose = async (...offered: string[]) => connectSpdy(execUrl({ stdout: true }), offered);
  for (const [offered, chosen] of [
    [['v4.channel.k8s.io', 'v3.channel.k8s.io'], 'v4.channel.k8s.io'],
    [['channel.k8s.io', 'v2.channel.k8s.io'], 'v2.channel.k8s.io'],
    [['v9.channel.k8s.io', 'v3.channel.k8s.io'], 'v3.channel.k8s.io'],
  ] as const) {
    const client = await choose(...offered);
    assert.ok(client instanceof SpdyClient);
    assert.equal(client.protocol, chosen);
    client.socket.destroy();
  }
  const refused = await choose('v9.channel.k8s.io');
  assert.ok(!(refused instanceof SpdyClient));
  assert.equal(refused.status, 403);
  assert.match(refused.text, /unsupported protocols \[v9\.channel\.k8s\.io\]/);
});

test('a token is good for one upgrade of its own kind', async () => {
  const url = execUrl({ stdout: true });
  const status = async (address: string, upgrade?: string) => {
    const answer = await connectSpdy(address, ['v4.channel.k8s.io'], upgrade);
    if (!(answer instanceof SpdyClient)) return answer.status;
    answer.socket.destroy();
    return 101;
  };
  assert.equal(await status(url.replace('/exec/', '/attach/')), 404);
  assert.equal(await status(url), 404);
  const good = execUrl({ stdout: true });
  assert.deepEqual([await status(good), await status(good)], [101, 404]);
  assert.equal(await status(execUrl({ stdout: true }), 'h2c'), 400);
  const plain = await fetch(execUrl({ stdout: true }));
  assert.deepEqual([plain.status, await plain.text()], [400, 'this address wants an upgrade to SPDY/3.1 or websocket\n']);
});

test('SPDY: streams apart, stdin to its end, the exit code as a Status', async () => {
  run = async ({ stdin, stdout, stderr }) => {
    stdout?.write(`read ${await text(stdin as never)}`);
    stderr?.write('complaint');
    return 3;
  };
  const client = await spdy(execUrl({ stdin: true, stdout: true, stderr: true }), 'v4.channel.k8s.io');
  const [error, stdin, stdout, stderr] = ['error', 'stdin', 'stdout', 'stderr'].map((streamType) => client.open({ streamType }));
  client.data(stdin as number, 'some ');
  client.data(stdin as number, 'thing', true);
  await until('the status', () => client.ended(error as number));
  assert.equal(client.received(stdout as number).toString(), 'read some thing');
  assert.equal(client.received(stderr as number).toString(), 'complaint');
  assert.ok(client.ended(stdout as number) && client.ended(stderr as number));
  assert.deepEqual(JSON.parse(client.received(error as number).toString()), {
    metadata: {},
    status: 'Failure',
    message: 'command terminated with non-zero exit code: exit status 3',
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: '3' }] },
  });
  await until('goaway', () => client.frames.some(({ type }) => type === 'goaway'));
  client.socket.end();
  await until('its end', () => client.closed);
});

test('SPDY v2 tells the exit as text, v4 success as a Status', async () => {
  for (const [protocol, code, expected] of [
    ['v2.channel.k8s.io', 3, 'command terminated with non-zero exit code: exit status 3'],
    ['v2.channel.k8s.io', 0, ''],
    ['v4.channel.k8s.io', 0, '{"metadata":{},"status":"Success"}'],
  ] as const) {
    run = async () => code;
    const client = await spdy(execUrl({ stdout: true }), protocol);
    const error = client.open({ streamType: 'error' });
    client.open({ streamType: 'stdout' });
    await until('the end', () => client.ended(error));
    assert.equal(client.received(error).toString(), expected);
    client.socket.destroy();
  }
});

test('SPDY: sizes come as they are sent, the last one also to a late listener', async () => {
  const sizes: unknown[] = [];
  run = async ({ stdin, onResize }) => {
    await text(stdin as never);
    onResize((size) => sizes.push(size));
    return 0;
  };
  const client = await spdy(execUrl({ stdin: true, tty: true }), 'v4.channel.k8s.io');
  const [error, stdin, resize] = ['error', 'stdin', 'resize'].map((streamType) => client.open({ streamType }));
  client.data(resize as number, '{"Width":80,"Height":25}{"Width":100,');
  client.data(resize as number, '"Height":30}{"Width":-1,"Height":1e9}');
  client.data(stdin as number, '', true);
  await until('the end', () => client.ended(error as number));
  assert.deepEqual(sizes, [{ width: 100, height: 30 }]);
  client.socket.destroy();
});

test('a client that does not open its streams in time is cut off', async () => {
  const client = await spdy(execUrl({ stdin: true, stdout: true }, hasty), 'v4.channel.k8s.io');
  client.open({ streamType: 'error' });
  await until('the cut', () => client.closed);
});

test('output waits for a client that does not read, and is whole', async () => {
  const BYTES = 24 << 20;
  run = async ({ stdout }) => {
    for (let sent = 0; sent < BYTES; sent += 1 << 20)
      if (!stdout?.write(Buffer.alloc(1 << 20, sent >> 20))) await once(stdout as never, 'drain');
    return 0;
  };
  const client = await spdy(execUrl({ stdout: true }), 'v4.channel.k8s.io');
  const error = client.open({ streamType: 'error' });
  const stdout = client.open({ streamType: 'stdout' });
  client.socket.pause();
  await delay(100);
  client.socket.resume();
  await until('all', () => client.ended(error));
  const received = client.received(stdout);
  assert.equal(received.length, BYTES);
  for (let at = 0; at < BYTES; at += 1 << 20) assert.equal(received[at], at >> 20);
  client.socket.destroy();
});

for (const transport of ['SPDY', 'WebSocket'])
  test(`${transport}: a client that goes away while its input waits to be read is noticed`, async () => {
    let gone = false;
    run = ({ signal }) =>
      new Promise((resolve) =>
        signal.addEventListener('abort', () => {
          gone = true;
          resolve(0);
        }),
      );
    const url = execUrl({ stdin: true });
    const much = Buffer.alloc(1 << 20);
    if (transport === 'SPDY') {
      const client = await spdy(url, 'v4.channel.k8s.io');
      client.open({ streamType: 'error' });
      const stdin = client.open({ streamType: 'stdin' });
      await until('its streams', () => client.frames.filter(({ type }) => type === 'synReply').length === 2);
      for (let count = 0; count < 32; count++) client.data(stdin, much.subarray(0, 1 << 19));
      await until('probes', () => client.frames.some(({ type }) => type === 'ping'));
      client.socket.destroy();
    } else {
      const { socket } = await websocket(url, 'v5.channel.k8s.io');
      for (let count = 0; count < 32; count++) socket.send(much);
      await once(socket, 'pong');
      socket.terminate();
    }
    await until('its end', () => gone);
  });

test('random bytes after the upgrade end the connection and nothing else', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
      for (const url of [execUrl({ stdout: true }), forwardUrl()]) {
        const client = await spdy(url, url.includes('exec') ? 'v4.channel.k8s.io' : 'portforward.k8s.io');
        client.socket.end(Buffer.concat([Buffer.from([0x80, 3, 0]), bytes]));
        await until('the end', () => client.closed);
      }
    }),
    { numRuns: 30 },
  );
  await until('no session', () => server.sessions === 0);
});

test('WebSocket v5: channels, half-close, close', async () => {
  run = async ({ stdin, stdout }) => {
    stdout?.write(`read ${await text(stdin as never)}`);
    return 7;
  };
  const { socket, messages } = await websocket(execUrl({ stdin: true, stdout: true }), 'v5.channel.k8s.io');
  const closed = once(socket, 'close');
  socket.send(Buffer.from('\0some'));
  socket.send(Buffer.from([255, 0]));
  socket.send(Buffer.from('\0lost'));
  assert.equal((await closed)[0], 1000);
  assert.equal(onChannel(messages, 1).toString(), 'read some');
  assert.equal(JSON.parse(onChannel(messages, 3).toString()).details.causes[0].message, '7');
});

test('WebSocket base64: text both ways; v4 knows no half-close', async () => {
  run = async ({ stdin, stdout }) => {
    const chunk = (await once(stdin as never, 'data'))[0] as Buffer;
    stdout?.write(chunk);
    return 0;
  };
  const { socket, messages } = await websocket(execUrl({ stdin: true, stdout: true }), 'v4.base64.channel.k8s.io');
  const closed = once(socket, 'close');
  socket.send(`0${Buffer.from([0, 255, 10]).toString('base64')}`);
  await closed;
  assert.ok(messages.some((message) => message.toString() === `1${Buffer.from([0, 255, 10]).toString('base64')}`));
});

test('attach over WebSocket without a protocol speaks the first one', async () => {
  run = async ({ stdout }) => {
    stdout?.write('hello');
    return 0;
  };
  const { socket, messages } = await websocket(server.url({ kind: 'attach', request: AttachRequest.create({ stdout: true }) }));
  await once(socket, 'close');
  assert.equal(onChannel(messages, 1).toString(), 'hello');
  assert.equal(onChannel(messages, 3).length, 0);
});

/** An echo that answers after the client's end, and what became of its connections. */
async function echoServer(): Promise<{ port: number; sockets: net.Socket[]; close: () => void }> {
  const sockets: net.Socket[] = [];
  const echo = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
  const close = () => {
    for (const socket of sockets) socket.destroy();
    echo.close();
  };
  return { port: (echo.address() as net.AddressInfo).port, sockets, close };
}

test('port-forward: many pairs on one connection, a refused one tells why and leaves the others alone', async (t) => {
  const echo = await echoServer();
  t.after(echo.close);
  const refusing = dial;
  dial = async (id, port, signal) => {
    if (port === 9) throw new Error('connect to port 9: ECONNREFUSED (connection refused)');
    return refusing(id, port, signal);
  };
  const client = await spdy(forwardUrl(), 'portforward.k8s.io');
  const pair = (port: number, requestID?: string) => {
    const headers = { port: String(port), ...(requestID === undefined ? {} : { requestID }) };
    const error = client.open({ streamType: 'error', ...headers });
    return { error, data: client.open({ streamType: 'data', ...headers }) };
  };
  const first = pair(echo.port, '0');
  const refused = pair(9, '1');
  const unnumbered = pair(echo.port);
  await until('the refusal', () => client.ended(refused.error));
  assert.match(client.received(refused.error).toString(), /connection refused/);
  client.data(first.data, 'one', true);
  client.data(unnumbered.data, 'two', true);
  await until('the answers', () => client.ended(first.data) && client.ended(unnumbered.data) && client.ended(first.error));
  assert.deepEqual([client.received(first.data).toString(), client.received(unnumbered.data).toString()], ['one', 'two']);
  const late = pair(echo.port, '2');
  client.data(late.data, 'three');
  await until('the echo', () => client.received(late.data).toString() === 'three');
  // A reset ends the connection behind it, also one that has more to say.
  client.send({ type: 'rstStream', streamId: late.data, status: 5 });
  await until('its end', () => echo.sockets.every(({ destroyed }) => destroyed));
  const last = pair(echo.port, '4');
  client.data(last.data, 'four');
  await until('the last', () => client.received(last.data).length === 4);
  client.socket.destroy();
  await until('all ends', () => echo.sockets.every(({ destroyed }) => destroyed));
});

test('port-forward: a stream that stays alone is told so', async () => {
  const client = await spdy(forwardUrl([], hasty), 'portforward.k8s.io');
  const lone = client.open({ streamType: 'error', port: '80', requestID: '3' });
  await until('the complaint', () => client.ended(lone));
  assert.match(client.received(lone).toString(), /no data stream within 50 ms/);
  client.socket.destroy();
});

test('port-forward over WebSocket: the tunnel, and channels that are numbered by port', async (t) => {
  const echo = await echoServer();
  t.after(echo.close);
  const { socket, messages } = await websocket(forwardUrl([echo.port, echo.port]), 'v4.channel.k8s.io');
  socket.send(Buffer.from('\0one'));
  socket.send(Buffer.from('\x02two'));
  const port = Buffer.alloc(2);
  port.writeUInt16LE(echo.port);
  await until('both', () => onChannel(messages, 0).length === 5 && onChannel(messages, 2).length === 5);
  assert.deepEqual(onChannel(messages, 0), Buffer.concat([port, Buffer.from('one')]));
  assert.deepEqual(onChannel(messages, 2), Buffer.concat([port, Buffer.from('two')]));
  assert.deepEqual([onChannel(messages, 1), onChannel(messages, 3)], [port, port]);
  socket.terminate();
  await until('their ends', () => echo.sockets.length === 2 && echo.sockets.every(({ destroyed }) => destroyed));
});

test('a connection that is made only when its client is gone is let go of', async (t) => {
  const echo = await echoServer();
  t.after(echo.close);
  let made: Duplex | undefined;
  const connected = Promise.withResolvers<void>();
  dial = async (_id, port) => {
    await connected.promise;
    made = net.connect(port, '127.0.0.1');
    await once(made, 'connect');
    return made;
  };
  const client = await spdy(forwardUrl(), 'portforward.k8s.io');
  client.open({ streamType: 'error', port: String(echo.port), requestID: '0' });
  client.open({ streamType: 'data', port: String(echo.port), requestID: '0' });
  await until('the reply', () => client.frames.filter(({ type }) => type === 'synReply').length === 2);
  client.socket.destroy();
  await until('its end', () => server.sessions === 0);
  connected.resolve();
  await until('the end', () => made?.destroyed === true);
});

test('closing aborts what runs and leaves nothing open', async () => {
  let aborted = false;
  const own = await openStreamingServer({
    logger: silent as never,
    handlers: {
      exec: (_request, { signal }) =>
        new Promise((resolve) =>
          signal.addEventListener('abort', () => {
            aborted = true;
            resolve(0);
          }),
        ),
      attach: async () => undefined,
      portForward: async () => assert.fail(),
    },
  });
  const url = own.url({ kind: 'exec', request: ExecRequest.create({ stdout: true }) });
  const unused = own.url({ kind: 'exec', request: ExecRequest.create({ stdout: true }) });
  const { socket, messages } = await websocket(url, 'v5.channel.k8s.io');
  const idle = http.request(unused.replace(/exec.*/, ''), { method: 'POST', agent: false }).on('error', () => undefined);
  idle.flushHeaders();
  const refused = net.connect(Number(new URL(unused).port), '127.0.0.1').on('error', () => undefined);
  refused.write('GET /exec/none HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n');
  await once(refused, 'data');
  await own.close();
  assert.ok(aborted);
  if (socket.readyState !== WebSocket.CLOSED) await once(socket, 'close');
  // SPDY clients took a connection that just ended for success.
  const { status, message } = JSON.parse(onChannel(messages, 3).toString()) as { status: string; message: string };
  assert.equal(status, 'Failure');
  assert.match(message, /the runtime is stopping/);
  await assert.rejects(fetch(unused));
  idle.destroy();
  refused.destroy();
});

test('an address that cannot be listened on is a sentence with the flag', async () => {
  const { port } = new URL(forwardUrl());
  const handlers = {} as StreamHandlers;
  await assert.rejects(
    openStreamingServer({ handlers, logger: silent as never, port: Number(port) }),
    /is in use: choose another with --streaming-port/,
  );
  await assert.rejects(
    openStreamingServer({ handlers, logger: silent as never, address: '192.0.2.1' }),
    /192\.0\.2\.1 is no address of this machine/,
  );
  await assert.rejects(
    openStreamingServer({ handlers, logger: silent as never, tls: { certFile: '/nosuch/c', keyFile: '/nosuch/k' } }),
    /certificate \/nosuch\/c and key/,
  );
});
