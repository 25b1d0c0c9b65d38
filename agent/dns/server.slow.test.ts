// The server on loopback, with servers of the test behind it.
import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import net from 'node:net';
import { after, test } from 'node:test';
import { Forwarder, type Upstream } from './forwarder.ts';
import { encodeName, encodeReply, NOERROR, parseQuery, rcodeOf, SERVFAIL, TYPE_A } from './message.ts';
import { openDnsServer } from './server.ts';
import { readFrames, writeFrame } from './tcp-frames.ts';
import { buildZone } from './zone.ts';

const cleanups: (() => unknown)[] = [];
after(async () => {
  for (const cleanup of cleanups.toReversed()) await cleanup();
});

type Behaviour = 'answer' | 'silent' | 'servfail' | 'truncate' | 'lie' | 'large' | 'bare';

/** A name server that gives 192.0.2.<last> for every name. */
async function startUpstream(last: number, behaviour: Behaviour): Promise<Upstream & { asked: number }> {
  const upstream = { address: '127.0.0.1', port: 0, asked: 0 };
  const reply = (message: Buffer, tcp: boolean): Buffer | undefined => {
    upstream.asked++;
    const parsed = parseQuery(message);
    if (parsed === undefined || behaviour === 'silent') return undefined;
    if (behaviour === 'servfail') return encodeReply(parsed.query, { rcode: SERVFAIL }, 512);
    // A guess needs no name when a header alone is believed.
    if (behaviour === 'bare') return encodeReply({ ...parsed.query, question: Buffer.of() }, { rcode: NOERROR }, 512);
    const answers = Array.from({ length: behaviour === 'large' ? 60 : 1 }, () => ({ type: TYPE_A, data: Buffer.of(192, 0, 2, last) }));
    if (behaviour === 'large') return encodeReply(parsed.query, { rcode: NOERROR, answers }, 4096);
    return encodeReply(parsed.query, { rcode: NOERROR, answers }, behaviour === 'truncate' && !tcp ? 20 : 512);
  };
  const udp = dgram.createSocket('udp4');
  udp.on('message', (message, from) => {
    const bytes = reply(message, false);
    if (bytes === undefined) return;
    // Another's id: as one who guesses.
    if (behaviour === 'lie') udp.send(Buffer.concat([Buffer.of(bytes[0]! ^ 1), bytes.subarray(1)]), from.port, from.address);
    else udp.send(bytes, from.port, from.address);
  });
  await new Promise<void>((resolve) => udp.bind(0, '127.0.0.1', resolve));
  upstream.port = udp.address().port;
  const tcp = net.createServer((socket) => {
    socket.on('error', () => undefined);
    readFrames(socket, (message) => {
      const bytes = reply(message, true);
      if (bytes !== undefined) writeFrame(socket, bytes);
    });
  });
  await new Promise<void>((resolve) => tcp.listen(upstream.port, '127.0.0.1', resolve));
  cleanups.push(
    () => udp.close(),
    () => tcp.close(),
  );
  return upstream;
}

async function startServer(
  upstreams: readonly Upstream[],
  isClient: (address: string) => boolean = () => true,
  onAnswer: () => void = () => undefined,
): Promise<number> {
  const forwarder = new Forwarder(async () => upstreams);
  const pods = Array.from({ length: 100 }, (_, i) => ({
    ...{ namespace: 'default', name: `web-${i}`, hostname: `web-${i}`, subdomain: 'web', hostNetwork: false },
    ips: [`10.244.0.${i + 2}`],
  }));
  const zone = buildZone({ domain: 'cluster.local', pods, podCidrs: ['10.244.0.0/24'] });
  // TCP must have the port that UDP got: one that is free for both.
  for (;;) {
    const probe = net.createServer();
    const port = await new Promise<number>((resolve) =>
      probe.listen(0, '127.0.0.1', () => resolve((probe.address() as net.AddressInfo).port)),
    );
    await new Promise((resolve) => probe.close(resolve));
    try {
      const server = await openDnsServer({
        ...{ address: '127.0.0.1', port, forwarder, isClient, onFailure },
        zone: () => {
          onAnswer();
          return zone;
        },
      });
      cleanups.push(() => server.close());
      cleanups.push(() => forwarder.close());
      return port;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    }
  }
}

const message = (name: string, id = 0x1234): Buffer =>
  Buffer.concat([
    Buffer.from([id >> 8, id & 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
    encodeName(name.split('.')),
    Buffer.from([0, TYPE_A, 0, 1]),
  ]);

const onFailure = (error: unknown): never => {
  throw error;
};

/** With EDNS: the size that the asker takes. */
const withEdns = (query: Buffer, bytes: number): Buffer => {
  const whole = Buffer.concat([query, Buffer.of(0, 0, 41, bytes >> 8, bytes & 0xff, 0, 0, 0, 0, 0, 0)]);
  whole.writeUInt16BE(1, 10);
  return whole;
};

async function askUdp(port: number, bytes: Buffer, timeoutMs = 6000): Promise<Buffer | 'timeout'> {
  const socket = dgram.createSocket('udp4');
  try {
    return await new Promise((resolve) => {
      socket.on('message', resolve);
      socket.send(bytes, port, '127.0.0.1');
      setTimeout(() => resolve('timeout'), timeoutMs).unref();
    });
  } finally {
    socket.close();
  }
}

async function askTcp(port: number, questions: readonly Buffer[]): Promise<Buffer[]> {
  const socket = net.connect(port, '127.0.0.1');
  const answers: Buffer[] = [];
  await new Promise<void>((resolve, reject) => {
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('closed')));
    readFrames(socket, (answer) => {
      answers.push(answer);
      if (answers.length === questions.length) resolve();
    });
    for (const question of questions) writeFrame(socket, question);
  });
  socket.destroy();
  return answers;
}

const lastByte = (answer: Buffer | 'timeout'): number | undefined => (answer === 'timeout' ? undefined : answer.at(-1));

test('pods are answered here, the rest by the first server that answers', async () => {
  const [dead, failing, good] = [await startUpstream(1, 'silent'), await startUpstream(2, 'servfail'), await startUpstream(3, 'answer')];
  const port = await startServer([failing, good]);
  assert.equal(lastByte(await askUdp(port, message('web-0.default.svc.cluster.local'))), 2);
  assert.equal(good.asked, 0);
  const answer = await askUdp(port, message('example.com', 0xbeef));
  assert.notEqual(answer, 'timeout');
  assert.equal((answer as Buffer).readUInt16BE(0), 0xbeef);
  assert.equal(lastByte(answer), 3);
  assert.equal(failing.asked, 1);
  assert.equal(lastByte(await askUdp(await startServer([dead, good]), message('example.com'))), 3);
  assert.equal(dead.asked, 1);
});

test('without an answer there is SERVFAIL, within what a client waits', async () => {
  const [lying, failing, bare] = [await startUpstream(1, 'lie'), await startUpstream(2, 'servfail'), await startUpstream(3, 'bare')];
  const silent = await startUpstream(4, 'silent');
  const nobody = { address: '127.0.0.1', port: 9 };
  // Resolvers wait for 5 s; half a second is for a busy machine.
  const cases = [
    [[lying], 5500],
    [[bare], 5500],
    [[lying, silent], 5500],
    [[failing], 2000],
    [[nobody], 2000],
    [[], 2000],
  ] as const;
  const check = async ([upstreams, withinMs]: (typeof cases)[number]) => {
    const port = await startServer(upstreams);
    const started = performance.now();
    const answer = await askUdp(port, message('example.com'));
    assert.ok(answer !== 'timeout' && rcodeOf(answer) === SERVFAIL && performance.now() - started < withinMs, JSON.stringify(upstreams));
  };
  await Promise.all(cases.map(check));
});

test('TCP carries several questions at once, and what UDP had to cut', async () => {
  const upstream = await startUpstream(4, 'truncate');
  const port = await startServer([upstream]);
  const cut = await askUdp(port, message('example.com'));
  assert.ok(cut !== 'timeout' && (cut.readUInt16BE(2) & 0x200) !== 0);
  const ownCut = await askUdp(port, message('web.default.svc.cluster.local'));
  assert.ok(ownCut !== 'timeout' && (ownCut.readUInt16BE(2) & 0x200) !== 0);
  const answers = await askTcp(port, [message('example.com', 1), message('web.default.svc.cluster.local', 2), message('example.org', 3)]);
  const byId = new Map(answers.map((answer) => [answer.readUInt16BE(0), answer]));
  assert.equal(byId.get(1)?.at(-1), 4);
  assert.equal(byId.get(2)?.readUInt16BE(6), 100);
  assert.equal(byId.get(3)?.at(-1), 4);
});

test('a flood of one client is bounded, and others are still answered', async () => {
  const silent = await startUpstream(5, 'silent');
  const port = await startServer([silent]);
  const socket = dgram.createSocket('udp4');
  const refused: number[] = [];
  socket.on('message', (answer) => {
    if (rcodeOf(answer) === SERVFAIL) refused.push(answer.readUInt16BE(0));
  });
  for (let i = 0; i < 200; i++) socket.send(message(`x${i}.example.com`, i), port, '127.0.0.1');
  const deadline = performance.now() + 20_000;
  while (refused.length < 136 && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 10));
  // All that came after the first 64, which are still being asked.
  assert.deepEqual(
    refused.slice(0, 136).sort((a, b) => a - b),
    Array.from({ length: 136 }, (_, i) => 64 + i),
  );
  assert.equal(lastByte(await askUdp(port, message('web-1.default.svc.cluster.local'))), 3);
  socket.close();
});

test('who is not of the node is not answered', async () => {
  const port = await startServer([], () => false);
  assert.equal(await askUdp(port, message('web-0'), 200), 'timeout');
  await assert.rejects(askTcp(port, [message('web-0')]));
});

test('rubbish on TCP ends the connection, not the server', async () => {
  const port = await startServer([]);
  const socket = net.connect(port, '127.0.0.1');
  const closed = new Promise((resolve) => socket.on('close', resolve));
  socket.on('error', () => undefined);
  writeFrame(socket, Buffer.alloc(3));
  await closed;
  assert.equal(lastByte((await askTcp(port, [message('web-0.default')]))[0]!), 2);
});

test('an address is listened at before this machine has it, and is taken from then on', async () => {
  const options = {
    ...{ address: '192.0.2.1', port: 5353, zone: () => buildZone({ domain: 'cluster.local', pods: [], podCidrs: [] }) },
    ...{ forwarder: new Forwarder(async () => []), isClient: () => true, onFailure },
  };
  const server = await openDnsServer(options);
  await assert.rejects(openDnsServer(options), { code: 'EADDRINUSE' });
  await server.close();
  await (await openDnsServer({ ...options, address: '2001:db8::1' })).close();
});

test('an answer that is larger than the asker takes is cut, whoever gave it', async () => {
  const port = await startServer([await startUpstream(6, 'large')]);
  const cut = await askUdp(port, message('example.com'));
  assert.ok(cut !== 'timeout' && cut.length <= 512);
  assert.ok((cut.readUInt16BE(2) & 0x200) !== 0);
  const whole = await askUdp(port, withEdns(message('example.com'), 4096));
  assert.ok(whole !== 'timeout' && whole.length > 900 && (whole.readUInt16BE(2) & 0x200) === 0);
});

test('who asks over TCP without reading the answers is not worked for, until he reads', async () => {
  const questions = 8000;
  let answered = 0;
  const port = await startServer([], undefined, () => answered++);
  const socket = net.connect(port, '127.0.0.1');
  socket.pause();
  let received = 0;
  for (let i = 0; i < questions; i++) writeFrame(socket, message('web.default.svc.cluster.local', i));
  const settled = async () => {
    const before = answered;
    await new Promise((resolve) => setTimeout(resolve, 300));
    return answered === before && before > 0;
  };
  while (!(await settled()));
  // What the kernel buffers, and no more: an answer has 1.6 kB.
  assert.ok(answered < questions - 1000, `${answered} answers`);
  const all = new Promise<void>((resolve, reject) => {
    socket.on('close', () => reject(new Error('closed')));
    readFrames(socket, () => {
      if (++received === questions) resolve();
    });
  });
  socket.resume();
  await all;
  socket.destroy();
});

test('one client has so many connections, and the others theirs', async () => {
  const port = await startServer([]);
  const sockets = Array.from({ length: 40 }, () => net.connect(port, '127.0.0.1'));
  const closed = sockets.map((socket) => new Promise<void>((resolve) => socket.on('error', () => undefined).on('close', () => resolve())));
  const started = performance.now();
  await Promise.all(closed.slice(32));
  assert.ok(performance.now() - started < 5000, 'at once, and not for being idle');
  const other = net.connect({ port, host: '127.0.0.1', localAddress: '127.0.0.2' });
  const answer = new Promise<Buffer>((resolve) => readFrames(other, resolve));
  writeFrame(other, message('web-0.default'));
  assert.equal(lastByte(await answer), 2);
  for (const socket of [...sockets, other]) socket.destroy();
});

test('a question that is longer than any ends the connection', async () => {
  const socket = net.connect(await startServer([]), '127.0.0.1');
  const closed = new Promise((resolve) => socket.on('close', resolve));
  socket.on('error', () => undefined);
  socket.write(Buffer.of(0xff, 0xff, 0));
  const started = performance.now();
  await closed;
  assert.ok(performance.now() - started < 5000, 'at once, and not for being idle');
});
