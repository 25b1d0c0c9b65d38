// SPDY/3.1 frames as bytes (draft-mbelshe-httpbis-spdy-00, section 2.6). Header blocks stay compressed here: spdy-headers.ts.
//
//   control: |1| version 3 (15) | type (16) | flags (8) | length (24) | payload
//   data:    |0| stream id (31)             | flags (8) | length (24) | payload

export const FLAG_FIN = 1;

const VERSION = 3;
const TYPE = { synStream: 1, synReply: 2, rstStream: 3, settings: 4, ping: 6, goaway: 7, headers: 8, windowUpdate: 9 } as const;

/** RST_STREAM status codes. */
export const RST = { protocolError: 1, refusedStream: 3, cancel: 5, flowControlError: 7 } as const;
/** Control frames are small; data frames of the known clients have 32 KiB. */
const MAX_PAYLOAD_BYTES = 1 << 20;

export type Frame =
  | { readonly type: 'data'; readonly streamId: number; readonly fin: boolean; readonly data: Buffer }
  | { readonly type: 'synStream'; readonly streamId: number; readonly fin: boolean; readonly block: Buffer }
  | { readonly type: 'synReply'; readonly streamId: number; readonly fin: boolean; readonly block: Buffer }
  | { readonly type: 'headers'; readonly streamId: number; readonly fin: boolean; readonly block: Buffer }
  | { readonly type: 'rstStream'; readonly streamId: number; readonly status: number }
  | { readonly type: 'settings'; readonly entries: readonly { readonly id: number; readonly value: number }[] }
  | { readonly type: 'ping'; readonly id: number }
  | { readonly type: 'goaway'; readonly lastStreamId: number; readonly status: number }
  | { readonly type: 'windowUpdate'; readonly streamId: number; readonly delta: number }
  | { readonly type: 'unknown'; readonly code: number };

export function encodeFrame(frame: Exclude<Frame, { type: 'unknown' }>): Buffer {
  switch (frame.type) {
    case 'data': {
      const head = Buffer.alloc(8);
      head.writeUInt32BE(frame.streamId & 0x7fffffff);
      head.writeUInt32BE(frame.data.length, 4);
      head[4] = frame.fin ? FLAG_FIN : 0;
      return Buffer.concat([head, frame.data]);
    }
    case 'synStream':
      // No associated stream, priority 0, no slot.
      return control(TYPE.synStream, frame.fin, Buffer.concat([words(frame.streamId, 0), Buffer.alloc(2), frame.block]));
    case 'synReply':
      return control(TYPE.synReply, frame.fin, Buffer.concat([words(frame.streamId), frame.block]));
    case 'headers':
      return control(TYPE.headers, frame.fin, Buffer.concat([words(frame.streamId), frame.block]));
    case 'rstStream':
      return control(TYPE.rstStream, false, words(frame.streamId, frame.status));
    case 'settings':
      return control(TYPE.settings, false, words(frame.entries.length, ...frame.entries.flatMap(({ id, value }) => [id, value])));
    case 'ping':
      return control(TYPE.ping, false, words(frame.id));
    case 'goaway':
      return control(TYPE.goaway, false, words(frame.lastStreamId, frame.status));
    case 'windowUpdate':
      return control(TYPE.windowUpdate, false, words(frame.streamId, frame.delta));
  }
}

function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => {
    bytes.writeUInt32BE(value >>> 0, index * 4);
  });
  return bytes;
}

function control(type: number, fin: boolean, payload: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt16BE(0x8000 | VERSION);
  head.writeUInt16BE(type, 2);
  head.writeUInt32BE(payload.length, 4);
  head[4] = fin ? FLAG_FIN : 0;
  return Buffer.concat([head, payload]);
}

/** Cuts a byte stream into frames. `push` throws when the bytes are not SPDY/3. */
export class FrameReader {
  #parts: Buffer[] = [];
  #bytes = 0;

  push(chunk: Buffer): Frame[] {
    this.#parts.push(chunk);
    this.#bytes += chunk.length;
    const frames: Frame[] = [];
    while (this.#bytes >= 8) {
      const length = this.#peek(8).readUIntBE(5, 3);
      if (length > MAX_PAYLOAD_BYTES) throw new Error(`a SPDY frame of ${length} bytes is longer than ${MAX_PAYLOAD_BYTES}`);
      if (this.#bytes < 8 + length) break;
      const bytes = this.#peek(8 + length);
      this.#drop(8 + length);
      frames.push(decodeFrame(bytes));
    }
    return frames;
  }

  #peek(count: number): Buffer {
    if ((this.#parts[0]?.length ?? 0) < count) this.#parts = [Buffer.concat(this.#parts)];
    return (this.#parts[0] ?? Buffer.alloc(0)).subarray(0, count);
  }

  #drop(count: number): void {
    const rest = this.#parts[0]?.subarray(count) ?? Buffer.alloc(0);
    if (rest.length === 0) this.#parts.shift();
    else this.#parts[0] = rest;
    this.#bytes -= count;
  }
}

/** `bytes` is one whole frame. */
function decodeFrame(bytes: Buffer): Frame {
  const fin = ((bytes[4] ?? 0) & FLAG_FIN) !== 0;
  const payload = bytes.subarray(8);
  if (((bytes[0] ?? 0) & 0x80) === 0) return { type: 'data', streamId: bytes.readUInt32BE(0), fin, data: payload };
  const version = bytes.readUInt16BE(0) & 0x7fff;
  if (version !== VERSION) throw new Error(`SPDY version ${version} instead of ${VERSION}`);
  const code = bytes.readUInt16BE(2);
  const word = (index: number) => {
    if (payload.length < index * 4 + 4) throw new Error(`a SPDY frame of type ${code} has only ${payload.length} bytes`);
    return payload.readUInt32BE(index * 4);
  };
  const streamId = () => word(0) & 0x7fffffff;
  switch (code) {
    case TYPE.synStream:
      return { type: 'synStream', streamId: streamId(), fin, block: payload.subarray(10) };
    case TYPE.synReply:
      return { type: 'synReply', streamId: streamId(), fin, block: payload.subarray(4) };
    case TYPE.headers:
      return { type: 'headers', streamId: streamId(), fin, block: payload.subarray(4) };
    case TYPE.rstStream:
      return { type: 'rstStream', streamId: streamId(), status: word(1) };
    case TYPE.settings:
      return {
        type: 'settings',
        entries: Array.from({ length: Math.min(word(0), (payload.length - 4) >> 3) }, (_, index) => ({
          id: word(1 + index * 2) & 0xffffff,
          value: word(2 + index * 2),
        })),
      };
    case TYPE.ping:
      return { type: 'ping', id: word(0) };
    case TYPE.goaway:
      return { type: 'goaway', lastStreamId: streamId(), status: word(1) };
    case TYPE.windowUpdate:
      return { type: 'windowUpdate', streamId: streamId(), delta: word(1) & 0x7fffffff };
    default:
      return { type: 'unknown', code };
  }
}
