import assert from 'node:assert/strict';
import { test } from 'node:test';
import { scopeOf } from './host-port.ts';
import { formatIp } from './ip.ts';
import { listensFor, parseListeners } from './listeners.ts';

const head = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
const line = (local: string, state: string, inode: number) =>
  `   0: ${local} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000     0        0 ${inode} 1 0000000000000000 100 0 0 10 0\n`;

test('what waits for clients is read, with its address and socket', () => {
  const text = `${head}${line('0100007F:1F90', '0A', 7)}${line('00000000:0016', '0A', 8)}${line('0100007F:1F91', '01', 9)}`;
  assert.deepEqual(
    parseListeners(text, 'tcp', 4).map(({ address, port, inode }) => [formatIp(address), port, inode]),
    [
      ['127.0.0.1', 8080, '7'],
      ['0.0.0.0', 22, '8'],
    ],
  );
  const six = parseListeners(`${head}${line('B80D0120000000000000000001000000:0035', '07', 5)}`, 'udp', 6);
  assert.deepEqual(
    six.map(({ address, port }) => [formatIp(address), port]),
    [['2001:db8::1', 53]],
  );
  assert.deepEqual(parseListeners('', 'tcp', 4), []);
});

test('a hostPort is in the way of a listener of the same port and address', () => {
  const [loopback, every] = parseListeners(`${head}${line('0100007F:1F90', '0A', 7)}${line('00000000:1F90', '0A', 8)}`, 'tcp', 4);
  const [six] = parseListeners(`${head}${line(`${'0'.repeat(32)}:1F90`, '0A', 9)}`, 'tcp', 6);
  assert.ok(loopback && every && six);
  const cases = [
    [loopback, '', 8080, true],
    [loopback, '', 8081, false],
    [loopback, '127.0.0.1', 8080, true],
    [loopback, '192.0.2.1', 8080, false],
    [loopback, '::1', 8080, false],
    [every, '192.0.2.1', 8080, true],
    [every, '::', 8080, false],
    [six, '::1', 8080, true],
    [six, '192.0.2.1', 8080, true],
  ] as const;
  for (const [listener, hostIp, hostPort, expected] of cases) {
    const mapping = { protocol: 'tcp', hostPort, containerPort: 80, hostIp } as const;
    assert.equal(listensFor(listener, mapping, scopeOf(mapping)), expected, `${formatIp(listener.address)} ${hostIp}:${hostPort}`);
  }
});
