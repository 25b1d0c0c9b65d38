import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codeOf, failedPrecondition, hasCriCode, notFound, renderError } from './errors.ts';

test('renderError tells every cause once, on one line', () => {
  const cause = new Error('EBUSY (device or resource busy)');
  const cases: readonly [unknown, string][] = [
    [cause, 'EBUSY (device or resource busy)'],
    [new Error('mount /a', { cause }), 'mount /a: EBUSY (device or resource busy)'],
    [new Error(`mount /a: ${cause.message}`, { cause }), 'mount /a: EBUSY (device or resource busy)'],
    [new Error('create web', { cause: notFound('mount /a', cause) }), 'create web: mount /a: EBUSY (device or resource busy)'],
    [new AggregateError([new Error('undo a'), new Error('undo b', { cause })]), 'undo a; undo b: EBUSY (device or resource busy)'],
    [new Error('', { cause: 'text' }), 'Error: text'],
    [undefined, 'undefined'],
  ];
  for (const [error, sentence] of cases) assert.equal(renderError(error), sentence);
});

test('codeOf is the outermost CriError, however deep', () => {
  const inner = notFound('no image');
  assert.equal(codeOf(new Error('create', { cause: failedPrecondition('start', inner) })), 'FAILED_PRECONDITION');
  assert.equal(codeOf(new Error('create', { cause: new Error('start', { cause: inner }) })), 'NOT_FOUND');
  assert.equal(codeOf(new Error('create')), 'UNKNOWN');
  assert.equal(codeOf('text'), 'UNKNOWN');
  assert.ok(hasCriCode(new Error('x', { cause: inner }), 'NOT_FOUND'));
});
