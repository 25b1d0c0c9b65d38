import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { resolveScalar } from './scalar.ts';
import { lineOf, parseYaml, plainValue, renderYaml } from './yaml.ts';

function valuesOf(text: string): unknown[] {
  return parseYaml(text).map(({ root, problems }) => {
    assert.deepEqual(problems, [], text);
    return root && plainValue(root);
  });
}

test('a plain scalar means what kubectl means by it', () => {
  const cases: [string, unknown][] = [
    ['', null],
    ['~', null],
    ['null', null],
    ['NULL', null],
    ['nUll', 'nUll'],
    ...['true', 'True', 'TRUE', 'yes', 'Yes', 'YES', 'on', 'On', 'ON', 'y', 'Y'].map((word): [string, unknown] => [word, true]),
    ...['false', 'False', 'FALSE', 'no', 'No', 'NO', 'off', 'Off', 'OFF', 'n', 'N'].map((word): [string, unknown] => [word, false]),
    ['yEs', 'yEs'],
    ['0', 0],
    ['10', 10],
    ['-10', -10],
    ['+10', 10],
    ['0644', 420],
    ['0o644', 420],
    ['0O644', 420],
    ['-0644', -420],
    ['0x1F', 31],
    ['0b101', 5],
    ['0899', 899],
    ['1_000', 1000],
    ['1:30', '1:30'],
    ['190:20:30', '190:20:30'],
    ['2001-01-01', '2001-01-01'],
    ['2001-12-14t21:59:43.10-05:00', '2001-12-14t21:59:43.10-05:00'],
    ['1.5', 1.5],
    ['.5', 0.5],
    ['5.', 5],
    ['1e3', 1000],
    ['-1.5E-2', -0.015],
    ['1e999', '1e999'],
    ['.inf', Number.POSITIVE_INFINITY],
    ['-.Inf', Number.NEGATIVE_INFINITY],
    ['1.2.3', '1.2.3'],
    ['10.0.0.1', '10.0.0.1'],
    ['100m', '100m'],
    ['64Mi', '64Mi'],
    ['0xZZ', '0xZZ'],
    ['-', '-'],
    ['--', '--'],
    ['+', '+'],
    ['.', '.'],
    ['9007199254740991', 9007199254740991],
    ['-9007199254740991', -9007199254740991],
    ['9007199254740992', { tooLarge: '9007199254740992' }],
    ['0xffffffffffffffff', { tooLarge: '0xffffffffffffffff' }],
  ];
  for (const [source, value] of cases) assert.deepEqual(resolveScalar(source), value, JSON.stringify(source));
  assert.ok(Number.isNaN(resolveScalar('.nan')));
});

test('documents are split, empty ones skipped, the others counted from 1', () => {
  assert.deepEqual(valuesOf('---\n---\n# comment\n---\na: 1\n...\n---\nb: 2\n--- \nc: 3'), [{ a: 1 }, { b: 2 }, { c: 3 }]);
  assert.deepEqual(
    parseYaml('\n---\na: 1\n---\n---\nb: 1\n').map(({ document, line }) => [document, line]),
    [
      [1, 3],
      [2, 6],
    ],
  );
  for (const empty of ['', '\n', '---', '# nothing\n', '\uFEFF', '---\n...\n', 'null', '~'])
    assert.deepEqual(parseYaml(empty), [], JSON.stringify(empty));
  assert.deepEqual(valuesOf('a: |\n  x\n---\nb: 1'), [{ a: 'x\n' }, { b: 1 }]);
  assert.deepEqual(valuesOf('%YAML 1.2\n---\na: 1\n'), [{ a: 1 }]);
  assert.deepEqual(valuesOf('a: "---x"\nb: ---y\n---\nc: 1'), [{ a: '---x', b: '---y' }, { c: 1 }]);
});

test('merge keys, anchors, quotes, tags, CRLF, a byte order mark and JSON are read', () => {
  const cases: [string, unknown][] = [
    ['d: &d {a: 1, b: 2}\ne:\n  <<: *d\n  b: 3\n', { d: { a: 1, b: 2 }, e: { b: 3, a: 1 } }],
    ['a: &a {x: 1}\nb: &b {x: 2, w: 3}\nc:\n  z: 1\n  <<: [*a, *b]\n', { a: { x: 1 }, b: { x: 2, w: 3 }, c: { z: 1, x: 1, w: 3 } }],
    ['"<<": 1', { '<<': 1 }],
    ['a: "yes"\nb: \'0644\'\nc: !!str 5\nd: !!int "7"\ne: !!float 1\nf: ! 5', { a: 'yes', b: '0644', c: '5', d: 7, e: 1, f: '5' }],
    ['\uFEFFa: 1\r\nb:\r\n  - c\r\n', { a: 1, b: ['c'] }],
    ['{"a":\t1,\n\t"b": [\n\t\t"\\ud83d\\ude00", "\\/", null, true, -1.5e3\n\t]\n}', { a: 1, b: ['😀', '/', null, true, -1500] }],
    ['on: 1\n5: x\n', { true: 1, 5: 'x' }],
    ['a: >-\n  one\n  two\nb: |+\n  x\n\n', { a: 'one two', b: 'x\n\n' }],
    ['__proto__: {x: 1}', Object.fromEntries([['__proto__', { x: 1 }]])],
  ];
  for (const [text, value] of cases) assert.deepEqual(valuesOf(text), [value], text);
});

test('what cannot be read is one sentence with its line, and leaves other documents alone', () => {
  const bomb = `a: &a [${'x,'.repeat(9)}x]\n${'bcdefgh'
    .split('')
    .map((name, index) => `${name}: &${name} [${Array(10).fill(`*${'abcdefgh'[index]}`).join(',')}]`)
    .join('\n')}\n`;
  const cases: [string | Uint8Array, number | undefined, RegExp][] = [
    ['a: 1\n a: 2', 2, /does not fit the mapping/],
    ['a:\n\tb: 1', 2, /^a tab indents this line/],
    ['a: 1\nb: 2\na: 3\n', 3, /^key a is given twice, first in line 1/],
    ['{"a": 1,\n "a": 2}', 2, /^key a is given twice/],
    ['yes: 1\non: 2\n', 2, /^key true is given twice/],
    ['x: 1\ny: 12345678901234567890', 2, /^12345678901234567890 is beyond 2\^53.*quote it$/],
    ['a: [1, 2', 1, /bracket or brace is not closed/],
    ['a: "b', 1, /double quote is not closed/],
    ["a: 'b", 1, /single quote is not closed/],
    ['a: "\\q"', 1, /backslash/],
    ['key:value\nother: 1\n', 2, /space follows the colon/],
    ['a: b: c', 1, /does not fit/],
    ['a: *b', 1, /alias \*b has no anchor/],
    ['a: &a\n  b: *a', 2, /inside the value that it names/],
    ['a: !foo 1', 1, /tag !foo/],
    ['a: !!int x', 1, /x does not fit its tag/],
    ['? [a]\n: 1', 1, /sequence cannot be a key/],
    ['a: 1\n: 2', 2, /key is missing/],
    ['<<: 5', 1, /<< takes a mapping/],
    [bomb, undefined, /aliases repeat more than/],
    [`${'['.repeat(200)}${']'.repeat(200)}`, 1, /nesting exceeded/],
    ['a: \u0001', 1, /control character \(0x01\)/],
    [Uint8Array.from([0x7f, 0x45, 0x4c, 0x46, 0, 0, 0]), 1, /control character \(0x7f\)/],
    [Uint8Array.from([0x61, 0xff, 0x80]), undefined, /not UTF-8/],
    [Uint8Array.from([0xff, 0xfe, 0x61, 0]), undefined, /UTF-16/],
    ['x'.repeat(3 * 1024 * 1024 + 1), undefined, /3145729 bytes, more than the limit/],
  ];
  for (const [text, line, message] of cases) {
    const shown = String(text).slice(0, 60);
    const [document] = parseYaml(text);
    assert.match(document?.problems[0]?.message ?? '', message, shown);
    if (line !== undefined) assert.equal(document?.problems[0]?.line, line, shown);
    if (typeof text !== 'string' || text.length > 1000 || /control/.test(message.source)) continue;
    const around = parseYaml(`before: 1\n---\n${text}\n---\nafter: 1\n`);
    assert.deepEqual(
      [around.at(0)?.root, around.at(-1)?.root].map((root) => root && plainValue(root)),
      [{ before: 1 }, { after: 1 }],
      shown,
    );
    // Something left open is only noticed at the next line.
    if (line !== undefined && !/closed/.test(message.source)) assert.equal(around[1]?.problems[0]?.line, line + 2, shown);
  }
});

test('every duplicate of a document is told, not the first alone', () => {
  assert.equal(parseYaml('a: 1\na: 2\nb: {c: 1, c: 2}\n')[0]?.problems.length, 2);
});

test('lineOf finds a field, or the nearest thing around it', () => {
  const root = parseYaml('metadata:\n  labels:\n    example.com/a: x\nspec:\n  containers:\n  - name: a\n    image: b\n  - name: c\n')[0]
    ?.root;
  const cases: [string, number][] = [
    ['', 1],
    ['metadata.labels[example.com/a]', 3],
    ['spec.containers', 5],
    ['spec.containers[0].image', 7],
    ['spec.containers[1]', 8],
    ['spec.containers[1].image', 8],
    ['spec.volumes[0].name', 4],
    ['status', 1],
  ];
  for (const [fieldPath, line] of cases) assert.equal(lineOf(root, fieldPath), line, fieldPath);
});

test('any text gives documents or problems and never throws', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom(...'ab:-[]{}&*!|>\'"%@`#,?\n\t 01~<\\'), maxLength: 60 }),
      (text) => void parseYaml(text),
    ),
    {
      numRuns: 2000,
    },
  );
});

test('what renderYaml writes is read back the same', () => {
  const leaf = fc.oneof(
    fc.string(),
    fc.constantFrom('yes', 'n', '0644', '1_0', '0b1', '1:30', '.5', 'null', '2001-01-01', '<<'),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
  );
  const value = fc.dictionary(
    fc.string({ minLength: 1 }),
    fc.oneof(leaf, fc.array(leaf), fc.dictionary(fc.constantFrom('a', 'y', '5', 'x y'), leaf, { noNullPrototype: true })),
    { minKeys: 1, noNullPrototype: true },
  );
  fc.assert(fc.property(value, (object) => assert.deepEqual(valuesOf(renderYaml(object)), [object])));
});
