import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chooseHostIps, chooseResolvConf, parseDefaultInterface } from './host.ts';

const routes = `Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0100A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t0102A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t0002A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
`;

const address = (value: string, family: 'IPv4' | 'IPv6', internal = false) =>
  ({ address: value, family, internal, netmask: '', mac: '', cidr: null, ...(family === 'IPv6' ? { scopeid: 0 } : {}) }) as never;

test('the default interface is the one with the lowest metric', () => {
  assert.equal(parseDefaultInterface(routes), 'eth0');
  assert.equal(parseDefaultInterface('Iface\n'), undefined);
});

test('the host has the addresses of its default interface, or loopback', () => {
  const interfaces = {
    lo: [address('127.0.0.1', 'IPv4', true)],
    docker0: [address('172.17.0.1', 'IPv4')],
    eth0: [address('192.0.2.4', 'IPv4'), address('fe80::1', 'IPv6'), address('2001:db8::4', 'IPv6')],
  };
  assert.deepEqual(chooseHostIps(interfaces, 'eth0'), ['192.0.2.4', '2001:db8::4']);
  assert.deepEqual(chooseHostIps(interfaces, undefined), ['172.17.0.1', '2001:db8::4']);
  assert.deepEqual(chooseHostIps({ lo: interfaces.lo }, undefined), ['127.0.0.1']);
});

test('a stub on loopback gives way to the name servers behind it', () => {
  const conf = (...servers: string[]) => ({ servers, searches: [], options: [] });
  assert.deepEqual(chooseResolvConf(conf('127.0.0.53'), conf('192.0.2.1')), conf('192.0.2.1'));
  assert.deepEqual(chooseResolvConf(conf('192.0.2.2', '127.0.0.1'), conf('192.0.2.1')), conf('192.0.2.2', '127.0.0.1'));
  assert.deepEqual(chooseResolvConf(conf('127.0.0.1'), conf()), conf('127.0.0.1'));
  assert.deepEqual(chooseResolvConf(conf(), conf('192.0.2.1')), conf());
});
