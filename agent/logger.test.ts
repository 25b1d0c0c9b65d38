import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderLine } from './logger.ts';

const ID = 'ab'.repeat(32);
const time = new Date(2026, 0, 2, 12, 3, 44).getTime();

for (const [title, fields, expected] of [
  ['an event of a pod', { pod: 'default/web', msg: 'pulled x' }, 'default/web: pulled x'],
  ['an event of a container', { pod: 'default/web', container: 'app', msg: 'started' }, 'default/web/app: started'],
  ['a container that is known by its id', { container: ID, msg: 'kill' }, 'abababababab: kill'],
  ['a warning', { level: 40, msg: 'no nf_tables: no NAT' }, 'warning: no nf_tables: no NAT'],
  ['an error with its causes', { level: 50, msg: 'end of a container', err: 'mount: EBUSY' }, 'error: end of a container: mount: EBUSY'],
  ['other fields', { msg: 'output is lost', containerId: ID, bytes: 5 }, 'output is lost (containerId abababababab, bytes 5)'],
  ['a field that the sentence has in it', { msg: 'assembled localhost/x:host', image: 'localhost/x:host' }, 'assembled localhost/x:host'],
  ['an empty field is left out', { msg: 'x', code: '', stream: undefined }, 'x'],
  ['the event field is for machines', { msg: 'started', event: 'Started' }, 'started'],
  [
    'a stack on lines of its own',
    { level: 60, msg: 'x is not a function', stack: 'TypeError: …\n    at f' },
    'fatal: x is not a function\nTypeError: …\n    at f',
  ],
] as const)
  test(`renderLine: ${title}`, () => {
    assert.equal(renderLine({ level: 30, time, ...fields }, false), `12:03:44 ${expected}\n`);
  });

test('renderLine paints what is wrong', () => {
  assert.equal(renderLine({ level: 50, time, msg: 'x' }, true), '\u001b[2m12:03:44\u001b[0m \u001b[31merror: x\u001b[0m\n');
});
