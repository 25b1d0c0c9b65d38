import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatCidr } from './ip.ts';
import { resolvePodCidrs, uniqueLocalCidr } from './pod-cidr.ts';

test('the default IPv6 range is unique to machine and node, and always the same', () => {
  assert.equal(uniqueLocalCidr('m', ''), uniqueLocalCidr('m', ''));
  assert.equal(new Set([uniqueLocalCidr('m', ''), uniqueLocalCidr('m', '-1'), uniqueLocalCidr('n', '')]).size, 3);
  assert.match(uniqueLocalCidr('m', ''), /^fd[0-9a-f]{2}:[0-9a-f]{4}:[0-9a-f]{4}::\/64$/);
});

test('no configured range means the defaults', () => {
  const [ipv4, ipv6] = resolvePodCidrs([], '').map(formatCidr);
  assert.equal(ipv4, '10.244.0.0/24');
  assert.match(ipv6 ?? '', /^fd.*\/64$/);
  assert.deepEqual(resolvePodCidrs(['10.1.0.0/16'], '').map(formatCidr), ['10.1.0.0/16']);
});
