import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TransferLayer } from '../../cri-proto/images.ts';
import { openProgress, renderLayer, renderScreen } from './progress.ts';

const layer = (n: number, state: string, doneBytes = 0, totalBytes = 10e6): TransferLayer => ({
  ...{ digest: `sha256:${String(n).repeat(64)}`, state, doneBytes, totalBytes },
});
const row = (one: TransferLayer) => ({ layer: one, transfer: { doneBytes: one.doneBytes, totalBytes: one.totalBytes, unpacking: false } });
const total = { doneBytes: 5e6, totalBytes: 20e6, bytesPerSecond: 1e6, leftSeconds: 15, unpacking: false };
const screen = { columns: 80, rows: 24 };

test('a layer under way has a bar, bytes, speed and time left; others a word', () => {
  const moving = { layer: layer(1, 'downloading', 5e6), transfer: { ...total, doneBytes: 5e6, totalBytes: 10e6 } };
  assert.equal(renderLayer(moving, screen), '111111111111  [=============>             ]  50%      5.0/10MB     1MB/s   ~15s');
  assert.equal(renderLayer(row(layer(2, 'waiting')), screen), '222222222222  waiting  10MB');
  assert.equal(renderLayer(moving, { columns: 50, rows: 24 }), '111111111111   50%      5.0/10MB     1MB/s   ~15s');
});

test('no line is longer than the terminal, and no more lines are drawn than it has', () => {
  const rows = Array.from({ length: 60 }, (_, n) => row(layer(n % 10, n < 50 ? 'done' : n < 55 ? 'downloading' : 'waiting', 1e6)));
  for (const columns of [20, 40, 79, 80, 200])
    for (const height of [5, 10, 24]) {
      const lines = renderScreen('pulling registry.example/some/quite/long/name:tag', rows, total, { columns, rows: height });
      assert.ok(lines.length < height, `${lines.length} lines on ${height} rows`);
      for (const line of lines) assert.ok(line.length < Math.max(columns, 24), `"${line}" on ${columns} columns`);
    }
  const lines = renderScreen('x', rows, total, { columns: 80, rows: 10 });
  assert.match(lines[1] ?? '', /\[/);
  assert.equal(lines.at(-2), '… 55 more layers');
});

test('off a terminal each change of a layer is a line, and the bytes are told now and then', () => {
  let nowMs = 0;
  let text = '';
  const view = openProgress('pulling x', { write: (more) => (text += more) }, () => nowMs);
  view.update([layer(1, 'downloading'), layer(2, 'waiting')]);
  nowMs = 4000;
  view.update([layer(1, 'downloading', 4e6), layer(2, 'waiting')]);
  nowMs = 5000;
  view.update([layer(1, 'downloading', 5e6), layer(2, 'waiting')]);
  view.update([layer(1, 'done', 10e6), layer(2, 'cached')]);
  view.end();
  assert.deepEqual(text.trimEnd().split('\n'), [
    'pulling x',
    '111111111111: downloading 10MB',
    '25 %, 5.0/20MB, 1MB/s, ~15s left',
    '111111111111: done 10MB',
    '222222222222: here already 10MB',
    '2 layers, 1 there already, 10MB transferred',
  ]);
});
