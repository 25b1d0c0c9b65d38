// Owns the boundaries of zstd frames (RFC 8878, section 3.1). Node's decompressor ends with the first frame of a piece that holds several;
// given one frame at a time it goes on. Tools write many frames on purpose (parallel compression, zstd:chunked). Skippable frames, which
// carry no content, are dropped.

const MAGIC = 0xfd2fb528;
const BLOCK_RLE = 1;
const BLOCK_RESERVED = 3;

/** True for the first bytes of a zstd stream, which may begin with a skippable frame. */
export function isZstd(head: Buffer): boolean {
  return head.length >= 4 && (head.readUInt32LE(0) === MAGIC || isSkippable(head.readUInt32LE(0)));
}

function isSkippable(magic: number): boolean {
  return magic >>> 4 === 0x184d2a5;
}

/** Bytes of a frame header after its descriptor: window, dictionary id, content size. */
function headerRestBytes(descriptor: number): number {
  const singleSegment = (descriptor & 0x20) !== 0;
  const contentSize = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >>> 6] ?? 0;
  return (singleSegment ? 0 : 1) + ([0, 1, 2, 4][descriptor & 3] ?? 0) + contentSize;
}

type State = 'magic' | 'skip size' | 'skip' | 'descriptor' | 'header' | 'block' | 'last block' | 'content' | 'last content' | 'checksum';

/** The same bytes without skippable frames, in pieces of which none reaches over the end of a frame. */
export async function* splitZstdFrames(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let state: State = 'magic';
  /** Bytes that the state still takes, and those of them that it must know. */
  let missing = 4;
  let known = 0;
  let shift = 0;
  let hasChecksum = false;

  function enter(next: State, bytes: number): void {
    state = next;
    missing = bytes;
    known = 0;
    shift = 0;
  }

  /** What follows when the state has all its bytes. Gives bytes to emit before the rest of the piece. */
  function advance(): Buffer | undefined {
    if (state === 'magic') {
      if (isSkippable(known)) enter('skip size', 4);
      else if (known === MAGIC) {
        enter('descriptor', 1);
        const magic = Buffer.alloc(4);
        magic.writeUInt32LE(MAGIC);
        return magic;
      } else throw new Error('it has something other than zstd frames in it');
    } else if (state === 'skip size') enter('skip', known);
    else if (state === 'descriptor') {
      hasChecksum = (known & 4) !== 0;
      enter('header', headerRestBytes(known));
    } else if (state === 'header' || state === 'content') enter('block', 3);
    else if (state === 'block') {
      const type = (known >>> 1) & 3;
      if (type === BLOCK_RESERVED) throw new Error('it has a zstd block of an unknown type');
      enter((known & 1) !== 0 ? 'last content' : 'content', type === BLOCK_RLE ? 1 : known >>> 3);
    } else if (state === 'last content' && hasChecksum) enter('checksum', 4);
    else enter('magic', 4);
    return undefined;
  }

  const isNumber = () => state === 'magic' || state === 'skip size' || state === 'descriptor' || state === 'block';
  const isDropped = () => state === 'magic' || state === 'skip size' || state === 'skip';

  for await (const piece of source) {
    let start = 0;
    for (let at = 0; ; ) {
      const taken = Math.min(missing, piece.length - at);
      if (isNumber()) for (let i = 0; i < taken; i++, shift += 8) known = (known | ((piece[at + i] ?? 0) << shift)) >>> 0;
      at += taken;
      missing -= taken;
      if (missing > 0 || at > piece.length) {
        if (!isDropped() && at > start) yield piece.subarray(start, at);
        break;
      }
      const dropped = isDropped();
      const magic = advance();
      if (magic !== undefined) yield magic;
      if (!dropped && isDropped() && at > start) yield piece.subarray(start, at);
      if (dropped) start = at;
    }
  }
  if ((state as State) !== 'magic' || shift > 0) throw new Error('the zstd stream is truncated');
}
