import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEventLog } from './events.ts';

function logged(events: readonly (readonly [type: 'Normal' | 'Warning', reason: string])[]): string[] {
  const lines: string[] = [];
  const tell = (level: string) => (_fields: object, message: string) => lines.push(`${level} ${message}`);
  const log = createEventLog({ debug: tell('debug'), info: tell('info'), warn: tell('warn'), error: tell('error') } as never, () => 0);
  const pod = { uid: 'u', namespace: 'default', name: 'web' };
  for (const [type, reason] of events) log.record({ type, reason, message: reason, pod, container: 'app' });
  assert.equal(log.list().length, events.length);
  return lines;
}

test('steps on the way to a start are kept as events, and no line of the log', () => {
  assert.deepEqual(
    logged([
      ['Normal', 'Pulled'],
      ['Normal', 'Created'],
      ['Normal', 'Started'],
      ['Warning', 'OOMKilled'],
      ['Normal', 'Pulled'],
    ]),
    ['debug Pulled', 'debug Created', 'info Started', 'warn OOMKilled', 'debug Pulled'],
  );
});

test('an image that was pulled is told', () => {
  assert.deepEqual(
    logged([
      ['Normal', 'Pulling'],
      ['Normal', 'Pulling'],
      ['Normal', 'Pulled'],
    ]),
    ['info Pulling', 'info Pulling', 'info Pulled'],
  );
});
