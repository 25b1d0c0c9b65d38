import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CHUNK_BYTES, formatLines, LONGEST_LINE_BYTES, renderTimestamp } from './cri-format.ts';

const time = '2025-01-01T00:00:00.000000001Z';
const timestamp = Buffer.from(time);

/** Formats pieces as the pump does: the rest of one goes before the next, whatever the room for output. */
function format(pieces: readonly Buffer[], options: { flush: boolean; limit?: number }): string {
  const limit = options.limit ?? 1 << 20;
  const target = Buffer.alloc(limit);
  const output: Buffer[] = [];
  let rest: Buffer = Buffer.alloc(0);
  for (const [i, piece] of pieces.entries()) {
    const source = Buffer.concat([rest, piece]);
    const flush = options.flush && i === pieces.length - 1;
    let from = 0;
    for (;;) {
      const { next, written, limited } = formatLines({ source, from, to: source.length, target, limit, stream: 0, timestamp, flush });
      output.push(Buffer.from(target.subarray(0, written)));
      from = next;
      if (!limited) break;
      assert.ok(written > 0, 'a limit of the longest line always makes progress');
    }
    rest = source.subarray(from);
    assert.ok(rest.length <= CHUNK_BYTES, 'the carry area holds every unfinished line');
  }
  return Buffer.concat(output).toString('latin1');
}

const f = (content: string) => `${time} stdout F ${content}\n`;
const p = (content: string) => `${time} stdout P ${content}\n`;
const chunk = 'x'.repeat(CHUNK_BYTES);

const cases: readonly [string, string, string][] = [
  ['whole lines', 'a\nb\n', f('a') + f('b')],
  ['empty lines', '\n\n', f('') + f('')],
  ['a carriage return as the program wrote it', 'a\r\n', f('a\r')],
  ['bytes that are no text', '\0\xff\n', f('\0\xff')],
  ['a line of exactly one chunk', `${chunk}\n`, f(chunk)],
  ['a line of one chunk and a byte', `${chunk}y\n`, p(chunk) + f('y')],
  ['a line of two chunks', `${chunk}${chunk}\n`, p(chunk) + f(chunk)],
  ['an unfinished last line', 'a\nb', f('a') + p('b')],
  ['an unfinished last line of one chunk', chunk, p(chunk)],
  ['an unfinished last line that is longer', `${chunk}y`, p(chunk) + p('y')],
  ['nothing', '', ''],
];
for (const [what, input, expected] of cases) {
  test(`formats ${what}`, () => assert.equal(format([Buffer.from(input, 'latin1')], { flush: true }), expected));
}

test('an unfinished line waits unless it is flushed', () => {
  assert.equal(format([Buffer.from('a\nb')], { flush: false }), f('a'));
});

test('however the bytes are cut and however little room there is, the lines are the same', () => {
  const bytes = fc
    .array(
      fc.oneof(
        fc.string({ maxLength: 40 }),
        fc.constant('\n'),
        fc.nat(3 * CHUNK_BYTES).map((n) => 'z'.repeat(n)),
      ),
      { maxLength: 12 },
    )
    .map((parts) => Buffer.from(parts.join('')));
  fc.assert(
    fc.property(bytes, fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 }), fc.nat(50_000), (input, cuts, more) => {
      const at = [0, ...cuts.map((cut) => Math.floor(cut * input.length)).sort((a, b) => a - b), input.length];
      const pieces = at.slice(1).map((end, i) => input.subarray(at[i], end));
      const whole = format([input], { flush: true });
      assert.equal(format(pieces, { flush: true, limit: LONGEST_LINE_BYTES + more }), whole);
      // And the lines joined again are what went in.
      const joined = whole
        .split('\n')
        .slice(0, -1)
        .map((line) => line.slice(40) + (line[38] === 'F' ? '\n' : ''))
        .join('');
      assert.equal(joined, input.toString('latin1'));
    }),
    { numRuns: 200 },
  );
});

test('a limit keeps out whole lines only', () => {
  const source = Buffer.from('first\nsecond\n');
  const target = Buffer.alloc(1000);
  const limit = f('first').length + 10;
  const { next, written, limited } = formatLines({ source, from: 0, to: source.length, target, limit, stream: 1, timestamp });
  assert.deepEqual([next, limited, target.toString('latin1', 0, written)], [6, true, f('first').replace('stdout', 'stderr')]);
});

test('timestamps have nine digits in UTC', () => {
  assert.equal(renderTimestamp(1475712829, 669794202), '2016-10-06T00:13:49.669794202Z');
  assert.equal(renderTimestamp(1475712829, 5), '2016-10-06T00:13:49.000000005Z');
  assert.equal(renderTimestamp(0, 0), '1970-01-01T00:00:00.000000000Z');
});
