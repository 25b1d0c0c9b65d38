import assert from 'node:assert/strict';
import { test } from 'node:test';
import { localGateways, plannedGateways } from './conf-gateways.ts';
import { parseConfList } from './conf-list.ts';
import { EMPTY_RESULT } from './spec/result.ts';

const host = [
  { link: 'lo', address: '127.0.0.1' },
  { link: 'cni0', address: '10.88.0.1' },
  { link: 'cni0', address: 'fd88::1' },
  { link: 'eth0', address: '10.88.0.250' },
];

test('a gateway counts when this machine has it, in whatever way it is written', () => {
  const of = (...ips: { address: string; gateway?: string }[]) => localGateways(ips, EMPTY_RESULT, host);
  assert.deepEqual(of({ address: '10.88.0.2/16', gateway: '10.88.0.1' }, { address: 'fd88::2/64', gateway: 'FD88:0::1' }), {
    addresses: ['10.88.0.1', 'fd88::1'],
    ranges: ['10.88.0.0/16', 'fd88::/64'],
  });
  assert.deepEqual(of({ address: '10.1.0.2/32', gateway: '169.254.1.1' }), { addresses: [], ranges: [] });
  assert.deepEqual(of({ address: '10.88.0.2/16' }), { addresses: [], ranges: [] });
});

test('without a gateway it is the address of an interface that the result names, in the pod’s network', () => {
  const interfaces = [{ name: 'cni0' }, { name: 'eth0', sandbox: '/proc/1/ns/net' }];
  assert.deepEqual(localGateways([{ address: '10.88.0.2/16' }], { ...EMPTY_RESULT, interfaces }, host).addresses, ['10.88.0.1']);
  assert.deepEqual(localGateways([{ address: '10.89.0.2/16' }], { ...EMPTY_RESULT, interfaces }, host).addresses, []);
});

test('a list tells the gateway before its first pod where host-local gives the address to this machine', () => {
  const of = (plugin: object, told: object = {}) =>
    plannedGateways(parseConfList({ cniVersion: '1.0.0', name: 'n', plugins: [plugin, { type: 'portmap' }] }), {
      ...told,
    });
  const ipam = { type: 'host-local', ranges: [[{ subnet: '10.88.0.0/16' }], [{ subnet: 'fd88::/64', gateway: 'fd88::ff' }]] };
  const both = { addresses: ['10.88.0.1', 'fd88::ff'], ranges: ['10.88.0.0/16', 'fd88::/64'] };
  const none = { addresses: [], ranges: [] };
  assert.deepEqual(of({ type: 'bridge', isGateway: true, ipam }), both);
  assert.deepEqual(of({ type: 'bridge', isDefaultGateway: true, ipam }), both);
  assert.deepEqual(of({ type: 'ptp', ipam }), both);
  assert.deepEqual(of({ type: 'bridge', ipam }), none);
  assert.deepEqual(of({ type: 'bridge', isGateway: true, ipam: { type: 'dhcp' } }), none);
  assert.deepEqual(of({ type: 'bridge', isGateway: true, ipam: { type: 'host-local' } }), none);
  assert.deepEqual(of({ type: 'macvlan', ipam }), none);
  const ranges = { ipRanges: [[{ subnet: '10.7.0.0/24' }]] };
  const taking = { type: 'bridge', isGateway: true, capabilities: { ipRanges: true }, ipam: { type: 'host-local' } };
  assert.deepEqual(of(taking, ranges), { addresses: ['10.7.0.1'], ranges: ['10.7.0.0/24'] });
});
