import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { SpdyConnection } from './spdy-connection.ts';
import { encodeFrame } from './spdy-frame.ts';

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

test('a connection on which nothing comes or goes is ended, also while it waits for its client to close', async () => {
  const transport = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
  const connection = new SpdyConnection(transport, { times: { idleMs: 30, probeMs: 1000 }, onStream: () => undefined });
  const closed = once(transport, 'close');
  const pings = setInterval(() => transport.push(encodeFrame({ type: 'ping', id: 1 })), 5);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.ok(!transport.destroyed, 'pings keep it');
  // The idle timer alone does not keep a process; the pings do.
  await connection.finish();
  clearInterval(pings);
  await closed;
});
