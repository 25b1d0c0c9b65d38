import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CriClient } from '../../cri-proto/client.ts';
import { createEventLog } from '../event/events.ts';
import { collectImages } from './gc.ts';
import {
  bytesToFree,
  DEFAULT_IMAGE_GC,
  detectImages,
  type ImageUse,
  isNeverNeeded,
  planByAge,
  planForSpace,
  policyProblem,
} from './gc-plan.ts';

const MINUTE = 60_000;
const NOW = 1_000 * MINUTE;

function use(lastUsedMs: number, more: Partial<ImageUse> = {}): ImageUse {
  return { firstDetectedMs: 0, lastUsedMs, sizeBytes: 10, pinned: false, ...more };
}

const input = (uses: Record<string, ImageUse>, more: object = {}) => ({
  ...{ uses: new Map(Object.entries(uses)), inUse: new Set<string>(), nowMs: NOW, beganMs: 0, policy: DEFAULT_IMAGE_GC },
  ...more,
});
const ids = (candidates: readonly { id: string }[]) => candidates.map(({ id }) => id);

test('images go least recently used first, then oldest first', () => {
  const uses = { b: use(5), a: use(9), never: use(0, { firstDetectedMs: 3 }), before: use(0) };
  assert.deepEqual(ids(planForSpace(input(uses))), ['before', 'never', 'b', 'a']);
});

test('pinned, used and young images stay', () => {
  const uses = { pinned: use(0, { pinned: true }), used: use(NOW), young: use(0, { firstDetectedMs: NOW - MINUTE }), old: use(1) };
  assert.deepEqual(ids(planForSpace(input(uses, { inUse: new Set(['used']) }))), ['old']);
});

test('a maximum age counts from the last use, and not before the agent has looked for so long', () => {
  const policy = { ...DEFAULT_IMAGE_GC, maximumAgeMs: 10 * MINUTE };
  const uses = { old: use(NOW - 11 * MINUTE), fresh: use(NOW - 9 * MINUTE) };
  assert.deepEqual(ids(planByAge(input(uses, { policy }))), ['old']);
  assert.deepEqual(ids(planByAge(input(uses, { policy, beganMs: NOW - 10 * MINUTE }))), []);
  assert.deepEqual(ids(planByAge(input(uses))), []);
});

test('space is needed from the high threshold on, down to the low one', () => {
  const disk = (availableBytes: number) => bytesToFree({ capacityBytes: 1000, availableBytes }, DEFAULT_IMAGE_GC);
  assert.equal(disk(160), undefined);
  assert.equal(disk(150), 50);
  assert.equal(disk(0), 200);
  assert.equal(bytesToFree({ capacityBytes: 1000, availableBytes: 2000 }, DEFAULT_IMAGE_GC), undefined);
  assert.equal(bytesToFree({ capacityBytes: 1000, availableBytes: 0 }, { ...DEFAULT_IMAGE_GC, highThresholdPercent: 100 }), undefined);
});

test('what was there at the first look is old, what comes later is as old as its first sight', () => {
  const present = [{ id: 'a', sizeBytes: 1, pinned: false }];
  const first = detectImages(new Map(), present, new Set(), { nowMs: 100, first: true });
  assert.deepEqual(first.get('a'), { firstDetectedMs: 0, lastUsedMs: 0, sizeBytes: 1, pinned: false });
  const more = [...present, { id: 'b', sizeBytes: 2, pinned: true }];
  const second = detectImages(first, more, new Set(['a']), { nowMs: 200, first: false });
  assert.deepEqual(second.get('a'), { firstDetectedMs: 0, lastUsedMs: 200, sizeBytes: 1, pinned: false });
  assert.deepEqual(second.get('b'), { firstDetectedMs: 200, lastUsedMs: 0, sizeBytes: 2, pinned: true });
  assert.deepEqual([...detectImages(second, [], new Set(), { nowMs: 300, first: false })], []);
});

test('a policy that cannot be meant is refused in words', () => {
  assert.equal(policyProblem(DEFAULT_IMAGE_GC), undefined);
  assert.match(policyProblem({ ...DEFAULT_IMAGE_GC, lowThresholdPercent: 85 }) ?? '', /low-threshold 85 must be lower/);
  assert.match(policyProblem({ ...DEFAULT_IMAGE_GC, maximumAgeMs: MINUTE }) ?? '', /imageMaximumGCAge/);
  assert.equal(isNeverNeeded({ ...DEFAULT_IMAGE_GC, highThresholdPercent: 100 }), true);
  assert.equal(isNeverNeeded({ ...DEFAULT_IMAGE_GC, highThresholdPercent: 100, maximumAgeMs: 1 }), false);
});

/** A runtime with images of 100 bytes each on a disk of 1000. */
function fakeRuntime(images: readonly string[], { used = '', stuck = '' } = {}) {
  const present = new Set(images);
  const removed: string[] = [];
  const cri = {
    image: {
      listImages: async () => ({
        images: [...present].map((id) => ({ id, size: 100n, pinned: false, repoTags: [`${id}:tag`], repoDigests: [] })),
      }),
      imageStatus: async ({ image }: { image: { image: string } }) => ({
        image: present.has(image.image) ? { id: image.image } : undefined,
      }),
      imageFsInfo: async () => ({ imageFilesystems: [{ fsId: { mountpoint: '/images' } }] }),
      removeImage: async ({ image }: { image: { image: string } }) => {
        if (image.image === stuck) throw new Error(`${stuck} is stuck`);
        present.delete(image.image);
        removed.push(image.image);
      },
    },
    runtime: { listContainers: async () => ({ containers: [{ imageId: '', imageRef: '', image: { image: `${used}:tag` } }] }) },
  } as unknown as CriClient;
  return { cri, removed, statDisk: async () => ({ capacityBytes: 1000, availableBytes: 1000 - present.size * 100 }) };
}

async function collectFor(looks: number, runtime: ReturnType<typeof fakeRuntime>, pods: readonly string[] = []) {
  const log = () => undefined;
  const logger = { debug: log, info: log, warn: log, error: log };
  const events = createEventLog(logger);
  const reasons: string[] = [];
  const stop = new AbortController();
  let disks = 0;
  await collectImages({
    ...{ cri: runtime.cri, policy: DEFAULT_IMAGE_GC, events, logger, signal: stop.signal, periodMs: 1 },
    pods: () => pods.map((image) => ({ spec: { containers: [{ name: 'c', image }] } })),
    onRemoved: (reason) => reasons.push(reason),
    statDisk: async () => {
      if (++disks === looks) setImmediate(() => stop.abort());
      return runtime.statDisk();
    },
  });
  return { reasons, events: events.list().map(({ reason, message }) => `${reason}: ${message}`) };
}

test('a full disk is freed down to the low threshold, over CRI, sparing what containers and pods use', async () => {
  const runtime = fakeRuntime(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i'], { used: 'a' });
  assert.deepEqual(await collectFor(1, runtime, ['b']), { reasons: ['space'], events: [] });
  assert.deepEqual(runtime.removed, ['c']);
});

test('what cannot be freed is told by events, a failure once is not', async () => {
  const runtime = fakeRuntime(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i'], { stuck: 'a' });
  const all = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i'];
  const failed =
    'Failed to garbage collect required amount of images. Attempted to free 100 bytes, but only found 0 bytes eligible to free.';
  const { events } = await collectFor(2, fakeRuntime(all), all);
  assert.deepEqual(events, [`FreeDiskSpaceFailed: ${failed}`, `FreeDiskSpaceFailed: ${failed}`, `ImageGCFailed: ${failed}`]);
  assert.deepEqual((await collectFor(1, runtime)).events, []);
  assert.deepEqual(runtime.removed, ['b']);
});
