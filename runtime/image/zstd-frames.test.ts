import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import zlib from 'node:zlib';
import fc from 'fast-check';
import { isZstd, splitZstdFrames } from './zstd-frames.ts';

async function decompress(bytes: Buffer, pieceBytes: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) pieces.push(bytes.subarray(at, at + pieceBytes));
  const out: Buffer[] = [];
  const stream = Readable.from(splitZstdFrames(Readable.from(pieces))).pipe(zlib.createZstdDecompress());
  for await (const piece of stream as AsyncIterable<Buffer>) out.push(piece);
  return Buffer.concat(out);
}

const skippable = (content: Buffer) => {
  const header = Buffer.from('5f2a4d1800000000', 'hex');
  header.writeUInt32LE(content.length, 4);
  return Buffer.concat([header, content]);
};
const withChecksum = (bytes: Buffer) => zlib.zstdCompressSync(bytes, { params: { [zlib.constants.ZSTD_c_checksumFlag]: 1 } });

test('splitZstdFrames lets every frame through, in pieces of any size', async () => {
  const frame = fc
    .tuple(fc.constantFrom(zlib.zstdCompressSync, withChecksum), fc.string({ maxLength: 200 }), fc.integer({ min: 0, max: 900 }))
    .map(([compress, text, repeat]) => {
      const content = Buffer.from(text.repeat(repeat));
      return { content, bytes: compress(content) };
    });
  const skipped = fc.uint8Array({ maxLength: 50 }).map((bytes) => ({ content: Buffer.alloc(0), bytes: skippable(Buffer.from(bytes)) }));
  await fc.assert(
    fc.asyncProperty(
      fc.tuple(fc.array(fc.oneof(frame, skipped), { maxLength: 4 }), frame).map(([some, last]) => [...some, last]),
      fc.integer({ min: 1, max: 5000 }),
      async (frames, pieceBytes) => {
        const bytes = Buffer.concat(frames.map((each) => each.bytes));
        assert.ok(isZstd(bytes));
        assert.ok((await decompress(bytes, pieceBytes)).equals(Buffer.concat(frames.map((each) => each.content))));
      },
    ),
    { numRuns: 60 },
  );
});

test('splitZstdFrames refuses what is cut short and what is no frame', async () => {
  const drain = async (bytes: Buffer) => {
    for await (const _ of splitZstdFrames(Readable.from([bytes])));
  };
  const frame = zlib.zstdCompressSync(Buffer.from('content'));
  await assert.rejects(drain(frame.subarray(0, -1)), /truncated/);
  await assert.rejects(drain(Buffer.concat([frame, Buffer.from([1])])), /truncated/);
  await assert.rejects(drain(Buffer.concat([frame, Buffer.from('garbage')])), /something other than zstd frames/);
});
