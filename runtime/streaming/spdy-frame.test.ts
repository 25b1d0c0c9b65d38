import assert from 'node:assert/strict';
import { test } from 'node:test';
import zlib from 'node:zlib';
import fc from 'fast-check';
import { SPDY_DICTIONARY } from './spdy-dictionary.ts';
import { encodeFrame, type Frame, FrameReader } from './spdy-frame.ts';
import { createHeaderDecoder, createHeaderEncoder } from './spdy-headers.ts';

const record = <T extends object>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }) => fc.record<T>(model, { noNullPrototype: true });
const id = fc.integer({ min: 1, max: 0x7fffffff });
const word = fc.integer({ min: 0, max: 0xffffffff });
const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const withBlock = (type: 'synStream' | 'synReply' | 'headers') =>
  record({ type: fc.constant(type), streamId: id, fin: fc.boolean(), block: bytes });
const frame: fc.Arbitrary<Exclude<Frame, { type: 'unknown' }>> = fc.oneof(
  record({ type: fc.constant('data' as const), streamId: id, fin: fc.boolean(), data: bytes }),
  withBlock('synStream'),
  withBlock('synReply'),
  withBlock('headers'),
  record({ type: fc.constant('rstStream' as const), streamId: id, status: word }),
  record({
    type: fc.constant('settings' as const),
    entries: fc.array(record({ id: fc.integer({ min: 0, max: 0xffffff }), value: word }), { maxLength: 5 }),
  }),
  record({ type: fc.constant('ping' as const), id: word }),
  record({ type: fc.constant('goaway' as const), lastStreamId: id, status: word }),
  record({ type: fc.constant('windowUpdate' as const), streamId: id, delta: id }),
);

test('frames come out as they went in, however the bytes are cut', () => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 8 }), fc.integer({ min: 1, max: 97 }), (frames, step) => {
      const wire = Buffer.concat(frames.map(encodeFrame));
      const reader = new FrameReader();
      const seen: Frame[] = [];
      for (let offset = 0; offset < wire.length; offset += step) seen.push(...reader.push(wire.subarray(offset, offset + step)));
      assert.deepEqual(seen, frames);
    }),
  );
});

test('bytes that are no SPDY/3 frame are refused, never waited for', () => {
  assert.throws(() => new FrameReader().push(Buffer.from([0x80, 2, 0, 1, 0, 0, 0, 0])), /SPDY version 2/);
  assert.throws(() => new FrameReader().push(Buffer.from([0, 0, 0, 1, 0, 0xff, 0xff, 0xff])), /longer than/);
  assert.throws(() => new FrameReader().push(Buffer.from([0x80, 3, 0, 6, 0, 0, 0, 0])), /has only 0 bytes/);
});

test('the dictionary is the one of the draft', () => {
  assert.equal(SPDY_DICTIONARY.length, 1423);
  // Its Adler-32 stands in the first four bytes after the head of a stream that uses it.
  const stream = zlib.deflateSync(Buffer.from('x'), { dictionary: SPDY_DICTIONARY });
  assert.equal(stream.readUInt32BE(2), 0xe3c6a7c2);
});

test('header blocks of one connection are read back in order, also from a compressor with the dictionary', async () => {
  const headers = [
    new Map([
      ['streamtype', 'stdin'],
      ['port', '80'],
    ]),
    new Map(),
    new Map([['streamtype', 'error']]),
  ];
  const own = createHeaderDecoder();
  const encode = createHeaderEncoder();
  for (const each of headers) assert.deepEqual(await own.decode(encode(each)), each);
  own.close();

  const foreign = createHeaderDecoder();
  const deflate = zlib.createDeflate({ dictionary: SPDY_DICTIONARY, flush: zlib.constants.Z_SYNC_FLUSH });
  const plain = createHeaderEncoder();
  let skip = 7;
  for (const each of headers) {
    const content = plain(each).subarray(skip, -5);
    skip = 5;
    const parts: Buffer[] = [];
    const collect = (part: Buffer) => parts.push(part);
    deflate.on('data', collect);
    await new Promise<void>((resolve) => deflate.write(content, () => resolve()));
    deflate.off('data', collect);
    assert.deepEqual(await foreign.decode(Buffer.concat(parts)), each);
  }
  deflate.destroy();
  foreign.close();
});

test('a header block that unpacks to too much is an error', async () => {
  const decoder = createHeaderDecoder();
  const bomb = zlib.deflateSync(Buffer.alloc(1 << 20), { dictionary: SPDY_DICTIONARY, finishFlush: zlib.constants.Z_SYNC_FLUSH });
  await assert.rejects(decoder.decode(bomb), /longer than 65536 bytes/);
  await assert.rejects(decoder.decode(Buffer.from([0])), /longer than/);
  decoder.close();
});
