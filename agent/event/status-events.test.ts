import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { V1PodStatus } from '@kubernetes/client-node';
import { computeStatusEvents } from './status-events.ts';

function ended(containerID: string, second: number, exitCode: number): V1PodStatus {
  const terminated = { containerID, exitCode, reason: exitCode === 0 ? 'Completed' : 'Error', finishedAt: new Date(second * 1000) };
  return {
    containerStatuses: [{ name: 'web', image: '', imageID: '', ready: false, restartCount: 0, state: { terminated } }],
  };
}

test('an end is told once, and the one before it is no news when the newest container is removed', () => {
  const messages = (before: V1PodStatus, after: V1PodStatus) => computeStatusEvents(before, after, true).map(({ message }) => message);
  assert.deepEqual(messages(ended('a', 1, 7), ended('b', 2, 0)), ['Container web ended with exit code 0 (Completed)']);
  assert.deepEqual(messages(ended('b', 2, 0), ended('b', 2, 0)), []);
  assert.deepEqual(messages(ended('b', 2, 0), ended('a', 1, 7)), []);
});
