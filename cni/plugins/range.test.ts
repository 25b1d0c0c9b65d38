import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatIp, parseIp } from '../ip.ts';
import { chooseAddress, parseRangeSets, planRequested } from './range.ts';

const sets = (...ranges: Record<string, unknown>[][]) => parseRangeSets({ ranges }, []);

test('an address is the next one behind the last, around all ranges of its set', () => {
  const [set = []] = sets([
    { subnet: '10.0.0.0/24', rangeStart: '10.0.0.5', rangeEnd: '10.0.0.7', exclude: ['10.0.0.6'] },
    { subnet: '10.0.1.0/30' },
  ]);
  const given: string[] = [];
  let previous = parseIp('10.0.0.5');
  for (let i = 0; i < 4; i++) {
    previous = chooseAddress(set, () => false, previous).address;
    given.push(formatIp(previous));
  }
  // 10.0.1.1 is the gateway of its subnet.
  assert.deepEqual(given, ['10.0.0.7', '10.0.1.2', '10.0.0.5', '10.0.0.7']);
});

test('every address of a set is given once before there is none left', () => {
  const count = fc.integer({ min: 24, max: 30 });
  fc.assert(
    fc.property(count, fc.boolean(), fc.nat(), (length, six, start) => {
      const subnet = six ? `fd00::/${96 + length}` : `10.0.0.0/${length}`;
      const [set = []] = sets([{ subnet }]);
      const size = 2 ** (32 - length);
      const leased = new Set<string>();
      // Not the network's own, nor the gateway's; IPv4 has a broadcast address too.
      const free = six ? size - 2 : size - 3;
      let previous = { family: six ? 6 : 4, value: (set[0]?.lowest ?? 0n) + BigInt(start % size) } as const;
      for (let i = 0; i < free; i++) {
        const { address } = chooseAddress(set, (one) => leased.has(one), previous);
        previous = { ...address, family: address.family } as typeof previous;
        assert.ok(!leased.has(formatIp(address)));
        leased.add(formatIp(address));
      }
      assert.equal(leased.size, free);
      assert.throws(() => chooseAddress(set, (one) => leased.has(one), previous), /no free address/);
    }),
    { numRuns: 20 },
  );
});

test('requested addresses take one set each', () => {
  const two = sets([{ subnet: '10.0.0.0/24' }], [{ subnet: 'fd00::/64' }]);
  const plan = planRequested(two, [parseIp('fd00::5'), parseIp('10.0.0.9')]);
  assert.deepEqual(
    [...plan].map(([i, { address }]) => [i, formatIp(address)]),
    [
      [1, 'fd00::5'],
      [0, '10.0.0.9'],
    ],
  );
  assert.throws(() => planRequested(two, [parseIp('10.0.0.9'), parseIp('10.0.0.10')]), /10\.0\.0\.10 is in no range/);
  assert.throws(() => planRequested(two, [parseIp('10.0.0.1')]), /is the gateway's/);
});

test('ranges that no address could come from are refused', () => {
  for (const [ranges, message] of [
    [[], /no ranges/],
    [[[{ subnet: '10.0.0.0/24' }], [{ subnet: '10.0.0.128/25' }]], /overlap/],
    [[[{ subnet: '10.0.0.0/24' }, { subnet: 'fd00::/64' }]], /mixes IPv4 and IPv6/],
    [[[{ subnet: '10.0.0.0/24', rangeStart: '10.0.1.1' }]], /rangeStart 10\.0\.1\.1 is not in subnet/],
    [[[{ subnet: '10.0.0.0/24', rangeStart: '10.0.0.9', rangeEnd: '10.0.0.3' }]], /behind rangeEnd/],
    [[[{ subnet: '10.0.0.0/32' }]], /no room/],
    [[[{ subnet: 'nonsense' }]], /subnet: "nonsense"/],
  ] as const)
    assert.throws(() => parseRangeSets({ ranges }, []), message);
});

test('ranges of the runtime come first', () => {
  const all = parseRangeSets({ subnet: '10.0.0.0/24' }, [[{ subnet: '10.1.0.0/24' }]]);
  assert.deepEqual(
    all.map(([range]) => formatIp({ family: 4, value: range?.subnet.first ?? 0n })),
    ['10.1.0.0', '10.0.0.0'],
  );
});
