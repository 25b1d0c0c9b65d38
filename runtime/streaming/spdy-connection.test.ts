import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { SpdyConnection, type SpdyStream } from './spdy-connection.ts';
import { encodeFrame } from './spdy-frame.ts';
import { createHeaderEncoder } from './spdy-headers.ts';

test('a client that asks without reading the answers is cut off', async () => {
  // Takes nothing that is written to it.
  const transport = new Duplex({ read: () => undefined, write: () => undefined });
  const connection = new SpdyConnection(transport, { times: { idleMs: 60_000, probeMs: 1000 }, onStream: () => undefined });
  const pings = Buffer.concat(Array.from({ length: 1000 }, (_, index) => encodeFrame({ type: 'ping', id: index * 2 + 1 })));
  let count = 0;
  for (; !transport.destroyed && count < 1000; count++) {
    transport.push(pings);
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(count > 80 && count < 100, `cut after ${count * pings.length} bytes`);
  await connection.closed;
});

test('a connection on which nothing comes or goes is ended, also while it waits for its client to close', async (t) => {
  const transport = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
  const connection = new SpdyConnection(transport, { times: { idleMs: 300, probeMs: 1000 }, onStream: () => undefined });
  const closed = once(transport, 'close');
  let last = performance.now();
  let longestMs = 0;
  const pings = setInterval(() => {
    longestMs = Math.max(longestMs, performance.now() - last);
    last = performance.now();
    transport.push(encodeFrame({ type: 'ping', id: 1 }));
  }, 5);
  t.after(() => clearInterval(pings));
  await new Promise((resolve) => setTimeout(resolve, 600));
  // On a busy machine they may come too late.
  assert.ok(!transport.destroyed || longestMs > 150, `pings keep it; the longest pause was ${longestMs} ms`);
  // The idle timer alone does not keep a process; the pings do.
  await connection.finish();
  await closed;
});

for (const { title, streams, bytes, most } of [
  { title: 'one stream', streams: 1, bytes: 32 << 10, most: 2 << 20 },
  { title: 'a stream of tiny frames', streams: 1, bytes: 1, most: 8 << 10 },
  { title: 'hundreds of streams', streams: 500, bytes: 32 << 10, most: 17 << 20 },
])
  test(`${title} that nobody reads from: the connection waits, and goes on when somebody does`, async () => {
    const opened: SpdyStream[] = [];
    const transport = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
    new SpdyConnection(transport, { times: { idleMs: 60_000, probeMs: 60_000 }, onStream: (stream) => opened.push(stream) });
    const encode = createHeaderEncoder();
    const ids = Array.from({ length: streams }, (_, index) => index * 2 + 1);
    for (const streamId of ids) transport.push(encodeFrame({ type: 'synStream', streamId, fin: false, block: encode(new Map()) }));
    while (opened.length < streams) await new Promise((resolve) => setImmediate(resolve));
    // Every stream gets its turn until the transport is left full; nothing more is taken from it then.
    const round = Buffer.concat(ids.map((streamId) => encodeFrame({ type: 'data', streamId, fin: false, data: Buffer.alloc(bytes) })));
    const unread = () => opened.reduce((sum, { readableLength }) => sum + readableLength, 0);
    let given = 0;
    for (let stuck = 0; stuck < 20; stuck = transport.readableLength > round.length ? stuck + 1 : 0) {
      if (transport.readableLength <= round.length) {
        transport.push(round);
        given += bytes * streams;
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok(unread() > 0 && unread() <= most, `${unread()} bytes are unread`);
    let read = 0;
    for (const stream of opened)
      stream.on('data', (data: Buffer) => {
        read += data.length;
      });
    while (read < given) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(read, given);
    transport.destroy();
  });
