import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseResult, type Result, renderResult, VERSIONS } from './result.ts';

const name = fc.stringMatching(/^[a-z]{1,8}$/);
const some = { requiredKeys: ['name'], noNullPrototype: true } as const;
const result: fc.Arbitrary<Result> = fc.record(
  {
    interfaces: fc.array(
      fc.record({ name, mac: fc.constant('02:00:00:00:00:01'), mtu: fc.nat(9000), sandbox: name }, { ...some, requiredKeys: ['name'] }),
      { maxLength: 3 },
    ),
    ips: fc.array(
      fc.record(
        { address: fc.constantFrom('10.0.0.2/24', 'fd00::2/64'), gateway: fc.constant('10.0.0.1'), interface: fc.nat(2) },
        { requiredKeys: ['address'], noNullPrototype: true },
      ),
      { maxLength: 3 },
    ),
    routes: fc.array(
      fc.record(
        { dst: fc.constant('0.0.0.0/0'), gw: fc.constant('10.0.0.1'), mtu: fc.nat(9000), priority: fc.nat(99) },
        { requiredKeys: ['dst'], noNullPrototype: true },
      ),
      { maxLength: 3 },
    ),
    dns: fc.constant({ nameservers: ['10.0.0.10'], domain: 'cluster.local' }),
  },
  { noNullPrototype: true },
);

test('a result comes back from the newest version as it was', () => {
  fc.assert(fc.property(result, (one) => assert.deepEqual(parseResult(renderResult(one, '1.1.0')), one)));
});

test('older versions have what they know, and name the version of an address', () => {
  fc.assert(
    fc.property(result, fc.constantFrom(...VERSIONS), (one, version) => {
      const rendered = renderResult(one, version) as { ips: { version?: string; address: string }[]; interfaces: { mtu?: number }[] };
      for (const { version: family, address } of rendered.ips)
        assert.equal(family, version.startsWith('0.') ? (address.includes(':') ? '6' : '4') : undefined);
      if (version !== '1.1.0') assert.ok(rendered.interfaces.every(({ mtu }) => mtu === undefined));
      assert.deepEqual(parseResult(rendered).ips, one.ips);
    }),
  );
});

test('what is no result is refused', () => {
  assert.throws(() => parseResult('x'), /no object/);
  assert.throws(() => parseResult({ cniVersion: '9.0.0' }), /version "9\.0\.0"/);
  assert.throws(() => parseResult({ cniVersion: '1.0.0', ips: [{}] }), /no address/);
});
