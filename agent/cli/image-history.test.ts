import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readHistory, renderHistory } from './image-history.ts';

const details = {
  layerSizes: [5_000_000, 300, 20],
  imageSpec: {
    rootfs: { diff_ids: ['sha256:a', 'sha256:b', 'sha256:c'] },
    history: [
      { created: '2026-11-25T10:00:00Z', created_by: '/bin/sh -c #(nop) ADD file:1 in / ' },
      { created: '2026-11-25T10:00:00Z', created_by: '/bin/sh -c #(nop)  CMD ["sh"]', empty_layer: true },
      { created: '2026-11-26T10:00:00Z', created_by: `RUN ${'x'.repeat(100)}`, comment: 'buildkit' },
    ],
  },
};
const NOW = Date.parse('2026-11-27T10:00:00Z');

test('history gives each step its layer, newest first, and layers of no step too', () => {
  assert.deepEqual(
    readHistory(details).map(({ diffId, sizeBytes }) => [diffId, sizeBytes]),
    [
      ['sha256:c', 20],
      ['sha256:b', 300],
      [undefined, 0],
      ['sha256:a', 5_000_000],
    ],
  );
  assert.deepEqual(readHistory(undefined), []);
});

test('history is a table with short steps, and whole ones with -o wide', () => {
  assert.deepEqual(
    renderHistory(readHistory(details), undefined, NOW)
      .split('\n')
      .map((line) => line.replace(/ {3,}/g, ' | ')),
    [
      'CREATED | CREATED BY | SIZE | COMMENT',
      '<unknown> | <unknown> | 20B',
      `24h ago | RUN ${'x'.repeat(40)}… | 300B | buildkit`,
      '2d ago | CMD ["sh"] | 0B',
      '2d ago | ADD file:1 in / | 5MB',
      '',
    ],
  );
  assert.match(renderHistory(readHistory(details), 'wide', NOW), /x{100}/);
  assert.equal(JSON.parse(renderHistory(readHistory(details), 'json')).length, 4);
});
