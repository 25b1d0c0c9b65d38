import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatIp, parseCidr, parseIp } from './ip.ts';
import { allocate, checkPodCidrs } from './ipam.ts';

const leasedFrom = (leased: readonly string[]) => (address: Parameters<typeof formatIp>[0]) => leased.includes(formatIp(address));

test('allocate goes round the range, past what is leased', () => {
  for (const [cidr, leased, previous, expected] of [
    ['10.244.0.0/24', [], undefined, '10.244.0.2'],
    ['10.244.0.0/24', ['10.244.0.2', '10.244.0.3'], undefined, '10.244.0.4'],
    ['10.244.0.0/24', [], '10.244.0.9', '10.244.0.10'],
    ['10.244.0.0/24', ['10.244.0.10'], '10.244.0.9', '10.244.0.11'],
    ['10.244.0.0/24', [], '10.244.0.254', '10.244.0.2'],
    ['10.244.0.0/24', ['10.244.0.254'], '10.244.0.253', '10.244.0.2'],
    ['10.244.0.0/24', [], '192.168.0.1', '10.244.0.2'],
    ['10.244.0.0/30', [], '10.244.0.2', '10.244.0.2'],
    ['fd00:1::/64', [], undefined, 'fd00:1::2'],
    ['fd00:1::/126', ['fd00:1::2'], undefined, 'fd00:1::3'],
  ] as const)
    assert.equal(
      formatIp(allocate(parseCidr(cidr), leasedFrom(leased), previous && parseIp(previous).value)),
      expected,
      `${cidr} after ${previous}`,
    );
});

test('allocate names the range when every address is leased', () => {
  assert.throws(() => allocate(parseCidr('10.1.0.0/30'), () => true, undefined), {
    message: 'no free address in 10.1.0.0/30 (10.1.0.2 to 10.1.0.2, all 1 in use)',
  });
  assert.throws(() => allocate(parseCidr('10.1.0.0/28'), () => true, undefined), {
    message: 'no free address in 10.1.0.0/28 (10.1.0.2 to 10.1.0.14, all 13 in use)',
  });
});

test('allocate hands out every address of a range once, never the network, the gateway or the broadcast address', () => {
  fc.assert(
    fc.property(fc.integer({ min: 24, max: 30 }), fc.nat(0xffff), (prefixLength, start) => {
      const cidr = parseCidr(`10.9.0.0/${prefixLength}`);
      const leased = new Set<bigint>();
      let previous: bigint | undefined = cidr.first + BigInt(start);
      const size = 2 ** (32 - prefixLength) - 3;
      for (let i = 0; i < size; i++) {
        const { value } = allocate(cidr, (address) => leased.has(address.value), previous);
        assert.ok(!leased.has(value) && value >= cidr.first + 2n && value < cidr.first + BigInt(size + 2));
        leased.add(value);
        previous = value;
      }
      assert.throws(() => allocate(cidr, (address) => leased.has(address.value), previous), /no free address/);
    }),
    { numRuns: 20 },
  );
});

test('pod CIDRs that cannot work are refused by name', () => {
  checkPodCidrs(['10.244.0.0/24', 'fd00::/64'].map(parseCidr));
  assert.throws(() => checkPodCidrs([parseCidr('10.0.0.0/31')]), { message: 'pod CIDR 10.0.0.0/31 has no room for a gateway and a pod' });
  assert.throws(() => checkPodCidrs(['10.0.0.0/24', '10.1.0.0/24'].map(parseCidr)), {
    message: 'two IPv4 pod CIDRs, 10.1.0.0/24 and 10.0.0.0/24: one of each family is used',
  });
});
