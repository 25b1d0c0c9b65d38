// Header blocks of SPDY/3: name/value pairs in one zlib stream per direction, its dictionary agreed.
import zlib from 'node:zlib';
import { SPDY_DICTIONARY } from './spdy-dictionary.ts';

const FLUSH = Buffer.from([0, 0, 0, 0xff, 0xff]);

/** By lower-case name; several values of one name are joined by "\0". */
export type SpdyHeaders = ReadonlyMap<string, string>;

/** What one connection may send in all its header blocks together, unpacked. */
const MAX_BLOCK_BYTES = 64 << 10;

function encodePairs(headers: SpdyHeaders): Buffer {
  const parts: Buffer[] = [];
  const number = (value: number) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    parts.push(bytes);
  };
  number(headers.size);
  for (const text of [...headers].flat()) {
    const bytes = Buffer.from(text, 'latin1');
    number(bytes.length);
    parts.push(bytes);
  }
  return Buffer.concat(parts);
}

function decodePairs(bytes: Buffer): SpdyHeaders {
  let offset = 0;
  const number = () => {
    if (offset + 4 > bytes.length) throw new Error('a SPDY header block ends early');
    offset += 4;
    return bytes.readUInt32BE(offset - 4);
  };
  const text = () => {
    const length = number();
    if (offset + length > bytes.length) throw new Error('a SPDY header block ends early');
    offset += length;
    return bytes.toString('latin1', offset - length, offset);
  };
  const headers = new Map<string, string>();
  for (let count = number(); count > 0; count--) {
    const name = text().toLowerCase();
    headers.set(name, text());
  }
  return headers;
}

/**
 * Packs header blocks by *storing* them (RFC 1951, section 3.2.4): a server sends a few bytes of them per connection, so no deflate
 * state is kept; any inflater reads it. Blocks of one connection are one zlib stream, whose two leading bytes come once. An empty block
 * ends each: Go's inflater gives out nothing before it.
 */
export function createHeaderEncoder(): (headers: SpdyHeaders) => Buffer {
  let first = true;
  return (headers) => {
    const content = encodePairs(headers);
    if (content.length > 0xffff) throw new Error('SPDY headers longer than 64 KiB');
    const head = Buffer.alloc(first ? 7 : 5);
    if (first) head.writeUInt16BE(0x7801); // deflate, 32 KiB window, no dictionary
    first = false;
    head.writeUInt16LE(content.length, head.length - 4);
    head.writeUInt16LE(content.length ^ 0xffff, head.length - 2);
    return Buffer.concat([head, content, FLUSH]);
  };
}

export interface HeaderDecoder {
  /** Blocks must be given in their order, each after the one before has been answered. */
  decode(block: Buffer): Promise<SpdyHeaders>;
  close(): void;
}

export function createHeaderDecoder(): HeaderDecoder {
  const inflate = zlib.createInflate({ dictionary: SPDY_DICTIONARY, flush: zlib.constants.Z_SYNC_FLUSH });
  let parts: Buffer[] = [];
  let bytes = 0;
  let failure: Error | undefined;
  let rejectCurrent: ((error: Error) => void) | undefined;
  inflate.on('data', (part: Buffer) => {
    bytes += part.length;
    if (bytes <= MAX_BLOCK_BYTES) {
      parts.push(part);
      return;
    }
    failure ??= new Error(`a SPDY header block is longer than ${MAX_BLOCK_BYTES} bytes unpacked`);
    inflate.destroy(failure);
  });
  inflate.on('error', (error) => {
    failure = error;
    rejectCurrent?.(error);
  });
  return {
    async decode(block) {
      parts = [];
      bytes = 0;
      await new Promise<void>((resolve, reject) => {
        if (failure !== undefined) {
          reject(failure);
          return;
        }
        rejectCurrent = reject;
        inflate.write(block, (error) => (error ? reject(error) : resolve()));
      });
      if (failure !== undefined) throw failure;
      return decodePairs(Buffer.concat(parts));
    },
    close: () => {
      inflate.destroy();
    },
  };
}
