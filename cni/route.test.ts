import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Route } from '../runtime/linux/rtnetlink-route.ts';
import { ipBytes, parseCidr, parseIp } from './ip.ts';
import { advertisedLinkIndexes, defaultLinkIndex, findClash } from './route.ts';

const route = (destination: string, linkIndex: number, more: Partial<Route> = {}): Route => {
  const [address = '', prefixLength] = destination.split('/');
  const ip = parseIp(address);
  const bytes = prefixLength === '0' ? Buffer.alloc(0) : ipBytes(ip);
  const family = ip.family === 4 ? 2 : 10;
  return {
    family,
    destination: bytes,
    prefixLength: Number(prefixLength),
    table: 254,
    protocol: 3,
    scope: 0,
    type: 1,
    linkIndex,
    priority: 0,
    ...more,
  };
};

test('the default link is that of the lowest metric, IPv4 before IPv6', () => {
  assert.equal(defaultLinkIndex([]), undefined);
  assert.equal(defaultLinkIndex([route('10.0.0.0/8', 3)]), undefined);
  assert.equal(defaultLinkIndex([route('::/0', 5), route('0.0.0.0/0', 4, { priority: 200 }), route('0.0.0.0/0', 6, { priority: 100 })]), 6);
  assert.equal(defaultLinkIndex([route('::/0', 5)]), 5);
});

test('links that learn their default route from advertisements are known', () => {
  assert.deepEqual(
    advertisedLinkIndexes([route('::/0', 5, { protocol: 9 }), route('fd00::/64', 6, { protocol: 9 }), route('::/0', 7)]),
    [5],
  );
});

test('a clash names both ranges and the device; own and default routes are none', () => {
  const clash = (...routes: Route[]) => findClash([parseCidr('10.244.0.0/24')], routes, 9, (index) => `eth${index}`);
  assert.equal(clash(route('0.0.0.0/0', 1), route('10.244.0.0/24', 9), route('10.244.1.0/24', 1), route('fd00::/8', 1)), undefined);
  assert.equal(
    clash(route('10.0.0.0/8', 1)),
    "pod CIDR 10.244.0.0/24 overlaps the host's route 10.0.0.0/8 dev eth1: choose another with --pod-cidr",
  );
  assert.match(clash(route('10.244.0.128/26', 0)) ?? '', /route 10\.244\.0\.128\/26: choose/);
});
