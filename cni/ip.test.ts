import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { contains, formatCidr, formatIp, gatewayOf, ipBytes, ipFromBytes, overlaps, parseCidr, parseIp } from './ip.ts';

test('addresses of both families come back as the same text and bytes', () => {
  const address = fc.oneof(fc.ipV4(), fc.ipV6());
  fc.assert(
    fc.property(address, (text) => {
      const parsed = parseIp(text);
      const formatted = formatIp(parsed);
      assert.equal(net.isIP(formatted), parsed.family);
      assert.deepEqual(parseIp(formatted), parsed);
      assert.deepEqual(ipFromBytes(ipBytes(parsed)), parsed);
    }),
  );
});

test('formatIp writes IPv6 as RFC 5952 does', () => {
  for (const [text, expected] of [
    ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['::', '::'],
    ['::1', '::1'],
    ['fd00:0:0:1::', 'fd00:0:0:1::'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['::ffff:10.244.0.5', '::ffff:af4:5'],
  ] as const)
    assert.equal(formatIp(parseIp(text)), expected);
});

test('parseIp and parseCidr refuse what is none', () => {
  for (const text of ['', '10.0.0', '10.0.0.256', 'fe80::1%eth0', 'x'])
    assert.throws(() => parseIp(text), { message: `"${text}" is no IP address` });
  for (const text of ['10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/8', '10.0.0.0', '10.0.0.0/-1'])
    assert.throws(() => parseCidr(text), { message: `"${text}" is no CIDR` });
});

test('a CIDR starts at its network address, and its gateway is the one after', () => {
  const cidr = parseCidr('10.244.3.77/24');
  assert.equal(formatCidr(cidr), '10.244.3.0/24');
  assert.equal(formatIp(gatewayOf(cidr)), '10.244.3.1');
  assert.equal(formatIp(gatewayOf(parseCidr('fd12:3456::/64'))), 'fd12:3456::1');
});

test('contains and overlaps look at the whole range and at the family', () => {
  const cidr = parseCidr('10.244.0.0/24');
  assert.equal(contains(cidr, parseIp('10.244.0.255')), true);
  assert.equal(contains(cidr, parseIp('10.244.1.0')), false);
  assert.equal(contains(cidr, parseIp('::10.244.0.1')), false);
  for (const [other, expected] of [
    ['10.244.0.0/16', true],
    ['10.244.0.128/25', true],
    ['10.244.1.0/24', false],
    ['0.0.0.0/0', true],
    ['::/0', false],
  ] as const)
    assert.equal(overlaps(cidr, parseCidr(other)), expected, other);
});
