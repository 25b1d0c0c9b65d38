import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compareQuantities, isQuantity, parseQuantity, renderQuantity, toBytes, toMilliCpu } from './quantity.ts';

test('toBytes counts whole bytes and rounds up', () => {
  const cases: [string, bigint][] = [
    ['0', 0n],
    ['64Mi', 67108864n],
    ['1.5Gi', 1610612736n],
    ['0.1Ki', 103n],
    ['1k', 1000n],
    ['100M', 100_000_000n],
    ['1E', 10n ** 18n],
    ['1e3', 1000n],
    ['1E3', 1000n],
    ['128974848', 128974848n],
    ['129e6', 129_000_000n],
    ['123Mi', 128974848n],
    ['400m', 1n],
    ['.5', 1n],
    ['5.', 5n],
    ['+7', 7n],
    ['-1.5', -2n],
    ['16Ei', 2n ** 63n - 1n],
    ['1e30', 2n ** 63n - 1n],
  ];
  for (const [text, bytes] of cases) assert.equal(toBytes(text), bytes, text);
});

test('toMilliCpu counts thousandths and rounds up', () => {
  const cases: [string, bigint][] = [
    ['500m', 500n],
    ['0.5', 500n],
    ['2', 2000n],
    ['0.1', 100n],
    ['1u', 1n],
    ['1500001u', 1501n],
    ['100n', 1n],
    ['1e-1', 100n],
    ['2.5', 2500n],
  ];
  for (const [text, milli] of cases) assert.equal(toMilliCpu(text), milli, text);
});

test('renderQuantity writes the canonical form', () => {
  const cases: [string, string][] = [
    ['1024Mi', '1Gi'],
    ['1.5Gi', '1536Mi'],
    ['0.5', '500m'],
    ['1000m', '1'],
    ['1000k', '1M'],
    ['1200', '1200'],
    ['0.0', '0'],
    ['0Mi', '0'],
    ['1e3', '1e3'],
    ['12E6', '12e6'],
    ['100', '100'],
    ['0.5Ki', '512'],
    ['0.3Ki', '307200m'],
    ['-1500m', '-1500m'],
    ['0.0000000001', '1n'],
    ['1.25u', '1250n'],
  ];
  for (const [text, canonical] of cases) assert.equal(renderQuantity(parseQuantity(text)), canonical, text);
});

test('what is no quantity is refused with a sentence', () => {
  for (const text of [
    '',
    ' ',
    'abc',
    '1 Gi',
    '1gb',
    '64mi',
    '1KB',
    '1Kib',
    '--1',
    '1.2.3',
    '1e',
    'e3',
    '0x10',
    '1Zi',
    '.',
    '1e99999',
    '9'.repeat(100),
  ]) {
    assert.equal(isQuantity(text), false, text);
    assert.throws(() => parseQuantity(text), /is not a quantity/, text);
  }
  assert.throws(() => parseQuantity('64mi'), /did you mean "64Mi"\?/);
  assert.throws(() => parseQuantity('1 Gi'), /did you mean "1Gi"\?/);
  assert.throws(() => parseQuantity('100MB'), /did you mean "100M"\?/);
});

const anyQuantity = fc
  .tuple(
    fc.constantFrom('', '-', '+'),
    fc.bigInt({ min: 0n, max: 10n ** 12n }),
    fc.option(fc.nat({ max: 999_999 }), { nil: undefined }),
    fc.constantFrom('', 'n', 'u', 'm', 'k', 'M', 'G', 'Ki', 'Mi', 'Gi', 'e2', 'e-3', 'E4'),
  )
  .map(([sign, whole, fraction, suffix]) => `${sign}${whole}${fraction === undefined ? '' : `.${fraction}`}${suffix}`);

test('rendering a quantity keeps its value, and is stable', () => {
  fc.assert(
    fc.property(anyQuantity, (text) => {
      const quantity = parseQuantity(text);
      const rendered = renderQuantity(quantity);
      assert.equal(compareQuantities(rendered, quantity), 0);
      assert.equal(renderQuantity(parseQuantity(rendered)), rendered);
    }),
  );
});

test('a whole number of binary units is exact', () => {
  fc.assert(
    fc.property(
      fc.bigInt({ min: 0n, max: 2n ** 20n }),
      fc.constantFrom(['Ki', 10n] as const, ['Mi', 20n] as const, ['Gi', 30n] as const),
      (count, [suffix, power]) => {
        assert.equal(toBytes(`${count}${suffix}`), count << power);
      },
    ),
  );
});

test('compareQuantities orders as the numbers do', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 10n ** 9n }), fc.bigInt({ min: 0n, max: 10n ** 9n }), (a, b) => {
      assert.equal(Math.sign(compareQuantities(`${a}m`, `${b}m`)), a < b ? -1 : a > b ? 1 : 0);
    }),
  );
});
