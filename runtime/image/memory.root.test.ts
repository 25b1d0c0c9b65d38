// Archives that would fill the memory of whoever remembers what they say: they are refused, or forgotten while they are read.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import zlib from 'node:zlib';
import { renderError } from '../errors.ts';
import { type TestEntry, tar } from './testing/tar.ts';
import { defaultUnpackLimits } from './unpack.ts';
import { createUnpackPool, type UnpackPool } from './unpack-pool.ts';

const MEBIBYTE = 2 ** 20;
const GROWTH_LIMIT_BYTES = 100 * MEBIBYTE;
let dir = '';
let pool: UnpackPool;
before(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'memory-'));
  pool = createUnpackPool(1);
});
after(async () => {
  await pool.close();
  fs.rmSync(dir, { recursive: true, force: true });
});

/** A compressed archive of `count` times the same blocks with another entry's name, never in memory as a whole. */
async function write(pieces: Iterable<Buffer>): Promise<string> {
  const file = path.join(dir, 'blob');
  const packer = zlib.createZstdCompress();
  const out = packer.pipe(fs.createWriteStream(file));
  for (const piece of pieces) if (!packer.write(piece)) await once(packer, 'drain');
  packer.end(Buffer.alloc(1024));
  await once(out, 'finish');
  return file;
}

/** Unpacks; gives the refusal, or undefined, and by how much this process had grown at most. */
async function unpack(blob: string): Promise<{ refusal: string | undefined; grownBytes: number }> {
  const target = path.join(dir, 'layer');
  fs.rmSync(target, { recursive: true, force: true });
  fs.mkdirSync(target);
  // The thread and its buffers are there before it counts.
  await pool.measure(target);
  const start = process.memoryUsage.rss();
  let most = start;
  const sampler = setInterval(() => {
    most = Math.max(most, process.memoryUsage.rss());
  }, 20);
  try {
    await pool.run({ blob, target, whiteouts: 'overlay', keepOwners: true, limits: defaultUnpackLimits });
    return { refusal: undefined, grownBytes: most - start };
  } catch (error) {
    return { refusal: renderError(error), grownBytes: most - start };
  } finally {
    clearInterval(sampler);
  }
}

function* times(count: number, make: (index: number) => Buffer): Generator<Buffer> {
  for (let index = 0; index < count; index++) yield make(index);
}

const entry = (each: TestEntry) => tar([each], { end: false });
const large = Buffer.alloc(3 * MEBIBYTE, 'x');
/** An old GNU sparse file of nothing but empty pieces, whose map goes on in the next block. */
const sparseHeader = entry({ name: 'sparse', type: 'S' });
sparseHeader[482] = 1;
sparseHeader.fill(' ', 148, 156);
sparseHeader.write(
  `${sparseHeader
    .reduce((sum, byte) => sum + byte, 0)
    .toString(8)
    .padStart(6, '0')}\0 `,
  148,
  'latin1',
);
const sparseMap = Buffer.alloc(512);
for (let at = 0; at < 504; at += 12) sparseMap.write('00000000000\0', at, 'latin1');
sparseMap[504] = 1;
const sparseMaps = Buffer.concat(Array.from({ length: 128 }, () => sparseMap));

const bombs: readonly (readonly [what: string, pieces: () => Iterable<Buffer>, sentence: RegExp | undefined])[] = [
  [
    'directories with attributes that nobody sets',
    () => times(60, (i) => entry({ name: `d${i}/`, type: 'directory', pax: { 'SCHILY.xattr.trusted.x': large } })),
    undefined,
  ],
  [
    'global headers that add up',
    () =>
      times(100, (i) =>
        entry({
          name: 'g',
          type: 'g',
          content: Buffer.concat([Buffer.from(`3145740 k${i % 10}=`), large.subarray(0, 3145740 - 12), Buffer.from('\n')]),
        }),
      ),
    /the global pax headers have more than 65536 bytes together/,
  ],
  [
    'a sparse map without an end',
    () => [sparseHeader, ...times(400, () => sparseMaps)],
    /"sparse": its sparse map has more than 1000000 pieces/,
  ],
];

for (const [what, pieces, sentence] of bombs)
  test(`${what} do not fill the memory`, async () => {
    const { refusal, grownBytes } = await unpack(await write(pieces()));
    if (sentence === undefined) assert.equal(refusal, undefined);
    else assert.match(refusal ?? 'it was accepted', sentence);
    assert.ok(grownBytes < GROWTH_LIMIT_BYTES, `it grew by ${Math.round(grownBytes / MEBIBYTE)} MiB`);
  });
