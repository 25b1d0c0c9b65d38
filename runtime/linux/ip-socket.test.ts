import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { test } from 'node:test';
import { isPortFree } from './ip-socket.ts';

const four = (last: number) => Uint8Array.of(127, 0, 0, last);

test('a port that a program listens on is not free, at its address and at every address', async (t) => {
  const server = net.createServer().listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  assert.equal(isPortFree({ protocol: 'tcp', port }), false);
  assert.equal(isPortFree({ protocol: 'tcp', port, address: four(1) }), false);
  assert.equal(isPortFree({ protocol: 'tcp', port, address: four(0).fill(0) }), false);
  assert.equal(isPortFree({ protocol: 'tcp', port, address: four(2) }), true);
});

test('a UDP port is looked at as one', async (t) => {
  const socket = dgram.createSocket('udp4').bind(0, '127.0.0.1');
  t.after(() => socket.close());
  await once(socket, 'listening');
  const { port } = socket.address();
  assert.equal(isPortFree({ protocol: 'udp', port }), false);
  assert.equal(isPortFree({ protocol: 'udp', port, address: four(1) }), false);
  assert.equal(isPortFree({ protocol: 'udp', port, address: four(2) }), true);
});

test('an address that this machine does not have has no free port to show', () => {
  assert.equal(isPortFree({ protocol: 'tcp', port: 8080, address: Uint8Array.of(192, 0, 2, 77) }), false);
});
