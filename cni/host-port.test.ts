import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PortMapping } from './client.ts';
import { checkPortMappings, findConflict, planHostPorts } from './host-port.ts';
import { formatIp, parseIp } from './ip.ts';

const mapping = (hostIp = '', protocol: PortMapping['protocol'] = 'tcp', hostPort = 8080): PortMapping => ({
  protocol,
  hostPort,
  containerPort: 80,
  hostIp,
});
const claim = (sandboxId: string, ...portMappings: PortMapping[]) => ({ sandboxId, namespace: 'default', name: sandboxId, portMappings });

test('hostPorts conflict when protocol, port and some address are the same', () => {
  for (const [has, wants, conflicts] of [
    [mapping(), mapping(), true],
    [mapping(), mapping('', 'udp'), false],
    [mapping(), mapping('', 'tcp', 8081), false],
    [mapping(), mapping('10.0.0.1'), true],
    [mapping('0.0.0.0'), mapping('10.0.0.1'), true],
    [mapping('0.0.0.0'), mapping('::'), false],
    [mapping('0.0.0.0'), mapping('::1'), false],
    [mapping('10.0.0.1'), mapping('10.0.0.2'), false],
    [mapping('10.0.0.1'), mapping('10.0.0.1'), true],
    [mapping('fd00::1'), mapping('fd00:0::1'), true],
  ] as const) {
    const found = findConflict(claim('b', wants), [claim('a', has)]);
    assert.equal(found !== undefined, conflicts, `${has.hostIp} and ${wants.hostIp}`);
  }
});

test('a conflict names the hostPort and who has it', () => {
  assert.equal(
    findConflict(claim('b', mapping('::1')), [claim('a', mapping())]),
    'hostPort [::1]:8080/tcp is taken by sandbox a (default/a)',
  );
  assert.equal(findConflict(claim('b', mapping(), mapping('10.0.0.1')), []), 'hostPort 10.0.0.1:8080/tcp is asked for twice');
  assert.equal(findConflict(claim('a', mapping()), [claim('a', mapping())]), undefined);
});

test('a hostPort leads to the address of each family that it is for', () => {
  const addresses = ['10.244.0.5', 'fd00::5'].map(parseIp);
  const targets = (hostIp: string) => planHostPorts([mapping(hostIp)], addresses).map(({ address }) => formatIp(address));
  assert.deepEqual(targets(''), ['10.244.0.5', 'fd00::5']);
  assert.deepEqual(targets('0.0.0.0'), ['10.244.0.5']);
  assert.deepEqual(targets('::1'), ['fd00::5']);
  assert.throws(() => planHostPorts([mapping('::1')], [parseIp('10.244.0.5')]), {
    message: 'hostPort [::1]:8080/tcp: the sandbox has no IPv6 address',
  });
});

test('mappings that no table could hold are refused', () => {
  assert.throws(() => checkPortMappings([mapping('', 'tcp', 0)]), { message: 'hostPort 0/tcp: 0 is no port number' });
  assert.throws(() => checkPortMappings([mapping('localhost')]), { message: '"localhost" is no IP address' });
  assert.throws(() => checkPortMappings([mapping('', 'icmp' as 'tcp')]), { message: '"icmp" is no protocol of a hostPort' });
});
