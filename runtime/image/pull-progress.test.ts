import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPullProgress, type PullProgress } from './pull-progress.ts';

const layers = [
  { digest: 'sha256:a', sizeBytes: 10 },
  { digest: 'sha256:b', sizeBytes: 20 },
];

test('a pull is seen from its start to its end, by its id and by its reference', () => {
  const board = createPullProgress();
  const seen: PullProgress[] = [];
  const stop = board.watch((progress) => seen.push(progress));
  const report = board.start('docker.io/library/x:1');
  assert.deepEqual([board.list().length, board.get('docker.io/library/x:1')?.state], [1, 'resolving']);
  report.layers(layers);
  report.layer(0, 'cached');
  report.layer(1, 'downloading');
  report.received(1, 5);
  const { pullId = '' } = board.list()[0] ?? {};
  assert.deepEqual(board.get(pullId)?.layers, [
    { digest: 'sha256:a', totalBytes: 10, receivedBytes: 0, state: 'cached' },
    { digest: 'sha256:b', totalBytes: 20, receivedBytes: 5, state: 'downloading' },
  ]);
  report.layer(1, 'done');
  report.end();
  assert.deepEqual([board.list(), board.get(pullId)], [[], undefined]);
  assert.deepEqual(
    seen.map(({ state, layers: all }) => [state, ...all.map((layer) => layer.state)].join(' ')),
    [
      'resolving',
      'pulling waiting waiting',
      'pulling cached waiting',
      'pulling cached downloading',
      'pulling cached done',
      'done cached done',
    ],
  );
  stop();
  board.start('docker.io/library/y:1').end('no such image');
  assert.equal(seen.length, 6);
});

test('bytes are told in bundles, and the end of a pull is told at once with its error', async () => {
  const board = createPullProgress();
  const seen: PullProgress[] = [];
  board.watch((progress) => seen.push(progress));
  const report = board.start('a/b:1');
  report.layers(layers);
  const told = seen.length;
  for (let bytes = 1; bytes <= 20; bytes++) report.received(1, bytes);
  assert.equal(seen.length, told);
  report.end('the registry is gone');
  assert.deepEqual([seen.length, seen.at(-1)?.state, seen.at(-1)?.error], [told + 1, 'failed', 'the registry is gone']);
  assert.equal(seen.at(-1)?.layers[1]?.receivedBytes, 20);
});
