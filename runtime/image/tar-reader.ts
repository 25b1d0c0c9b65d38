// Owns the tar format as it is read: ustar, pax and GNU long names (POSIX.1-2001 pax; tar(5)). Names stay bytes (latin1 strings, one
// character a byte) and pax values stay Buffers, because file names need not be UTF-8 and a file capability is binary.

const BLOCK = 512;
const LONG_NAME_LIMIT_BYTES = 64 * 1024;
const PAX_LIMIT_BYTES = 4 * 1024 * 1024;

export type TarType = 'file' | 'hardlink' | 'symlink' | 'character' | 'block' | 'directory' | 'fifo';

export interface TarEntry {
  readonly name: string;
  readonly type: TarType;
  readonly linkName: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  /** Seconds since 1970, with a fraction where pax gives one. */
  readonly mtimeSeconds: number;
  readonly major: number;
  readonly minor: number;
  readonly xattrs: ReadonlyMap<string, Buffer>;
}

/** Gets each entry, then its content in pieces, then its end. */
export interface TarSink {
  entry(entry: TarEntry): void;
  content(piece: Buffer): void;
  entryEnd(): void;
}

const types: Readonly<Record<string, TarType>> = {
  '\0': 'file',
  '0': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'character',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
  '7': 'file',
};

function field(block: Buffer, start: number, length: number): string {
  const end = block.indexOf(0, start);
  return block.toString('latin1', start, end < 0 || end > start + length ? start + length : end);
}

/** An octal number, or a base-256 one where the first bit is set (GNU, for what octal cannot hold). */
function number(block: Buffer, start: number, length: number): number {
  const first = block[start] ?? 0;
  if ((first & 0x80) !== 0) {
    // 0xff begins a negative number: a time before 1970.
    let value = first === 0xff ? -1 : first & 0x7f;
    for (let i = 1; i < length; i++) value = value * 256 + (block[start + i] ?? 0);
    if (!Number.isSafeInteger(value)) throw new Error('a number in a tar header is out of range');
    return value;
  }
  const digits = field(block, start, length).trim();
  if (digits === '') return 0;
  if (!/^[0-7]+$/.test(digits)) throw new Error('a number in a tar header is not octal');
  return Number.parseInt(digits, 8);
}

function hasValidChecksum(block: Buffer): boolean {
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? 32 : (block[i] ?? 0);
  return /^[0-7]+$/.test(field(block, 148, 8).trim()) && number(block, 148, 8) === sum;
}

/** "<length> <key>=<value>\n" records (pax). */
export function decodePax(bytes: Buffer): Map<string, Buffer> {
  const records = new Map<string, Buffer>();
  for (let at = 0; at < bytes.length && bytes[at] !== 0; ) {
    const space = bytes.indexOf(0x20, at);
    const length = space < 0 || space - at > 20 ? Number.NaN : Number(bytes.toString('latin1', at, space));
    const equals = bytes.indexOf(0x3d, space);
    const end = at + length;
    if (!(length > 0) || end > bytes.length || equals < 0 || equals >= end || bytes[end - 1] !== 0x0a)
      throw new Error('a pax header is malformed');
    records.set(bytes.toString('latin1', space + 1, equals), Buffer.from(bytes.subarray(equals + 1, end - 1)));
    at = end;
  }
  return records;
}

function paxNumber(records: ReadonlyMap<string, Buffer>, key: string): number | undefined {
  const value = records.get(key)?.toString('latin1');
  if (value === undefined || value === '') return undefined;
  if (!/^-?\d+(\.\d*)?$/.test(value)) throw new Error(`the pax header ${key} is not a number`);
  return Number(value);
}

const XATTR_PREFIX = 'SCHILY.xattr.';

function xattrsOf(pax: ReadonlyMap<string, Buffer>): Map<string, Buffer> {
  const xattrs = new Map<string, Buffer>();
  for (const [key, value] of pax) if (key.startsWith(XATTR_PREFIX)) xattrs.set(key.slice(XATTR_PREFIX.length), value);
  return xattrs;
}

/** A header block and the extended headers before it, as an entry. */
function decodeEntry(block: Buffer, pax: ReadonlyMap<string, Buffer>, longName?: string, longLink?: string): TarEntry {
  const prefix = block.toString('latin1', 257, 263) === 'ustar\0' ? field(block, 345, 155) : '';
  const shortName = field(block, 0, 100);
  const name = pax.get('path')?.toString('latin1') ?? longName ?? (prefix === '' ? shortName : `${prefix}/${shortName}`);
  const flag = String.fromCharCode(block[156] ?? 0);
  const type = types[flag];
  if (type === undefined || [...pax.keys()].some((key) => key.startsWith('GNU.sparse.'))) {
    throw new Error(
      `${JSON.stringify(name)} has the tar type ${type === undefined ? JSON.stringify(flag) : 'sparse'}, which image layers do not use`,
    );
  }
  // Archives older than ustar mark a directory by its trailing slash.
  const isDirectory = type === 'directory' || (type === 'file' && name.endsWith('/'));
  const size = paxNumber(pax, 'size') ?? number(block, 124, 12);
  if (!Number.isSafeInteger(size) || size < 0) throw new Error(`${JSON.stringify(name)} has the size ${size}`);
  return {
    name,
    type: isDirectory ? 'directory' : type,
    linkName: pax.get('linkpath')?.toString('latin1') ?? longLink ?? field(block, 157, 100),
    mode: number(block, 100, 8) & 0o7777,
    uid: paxNumber(pax, 'uid') ?? number(block, 108, 8),
    gid: paxNumber(pax, 'gid') ?? number(block, 116, 8),
    // Links carry no content, whatever their header says.
    sizeBytes: type === 'file' && !isDirectory ? size : 0,
    mtimeSeconds: paxNumber(pax, 'mtime') ?? number(block, 136, 12),
    major: type === 'character' || type === 'block' ? number(block, 329, 8) : 0,
    minor: type === 'character' || type === 'block' ? number(block, 337, 8) : 0,
    xattrs: xattrsOf(pax),
  };
}

type State =
  | { readonly at: 'header' }
  | { readonly at: 'extended'; readonly flag: string; readonly pieces: Buffer[] }
  | { readonly at: 'content'; readonly name: string }
  | { readonly at: 'end' };

/** Push parser: feed it the uncompressed bytes in any pieces, then end(). Throws a sentence on what is not a tar archive. */
export class TarReader {
  readonly #sink: TarSink;
  #state: State = { at: 'header' };
  #partial: Buffer = Buffer.alloc(0);
  /** Bytes of the current content that are still to come, and of its padding. */
  #remaining = 0;
  #padding = 0;
  #pax = new Map<string, Buffer>();
  #globalPax = new Map<string, Buffer>();
  #longName: string | undefined;
  #longLink: string | undefined;

  constructor(sink: TarSink) {
    this.#sink = sink;
  }

  push(chunk: Buffer): void {
    let rest = chunk;
    while (rest.length > 0) {
      if (this.#state.at === 'end') return;
      if (this.#state.at === 'header') rest = this.#takeHeader(rest);
      else if (this.#remaining > 0) rest = this.#takeContent(rest, this.#state);
      else {
        const skipped = Math.min(rest.length, this.#padding);
        this.#padding -= skipped;
        rest = rest.subarray(skipped);
        if (this.#padding === 0) this.#state = { at: 'header' };
      }
    }
  }

  end(): void {
    if (this.#partial.length > 0 || (this.#state.at !== 'header' && this.#state.at !== 'end' && this.#remaining > 0)) {
      throw new Error(`the archive is truncated${this.#state.at === 'content' ? ` inside ${JSON.stringify(this.#state.name)}` : ''}`);
    }
  }

  #takeHeader(chunk: Buffer): Buffer {
    const bytes = this.#partial.length > 0 ? Buffer.concat([this.#partial, chunk]) : chunk;
    if (bytes.length < BLOCK) {
      this.#partial = Buffer.from(bytes);
      return Buffer.alloc(0);
    }
    this.#partial = Buffer.alloc(0);
    this.#header(bytes.subarray(0, BLOCK));
    return bytes.subarray(BLOCK);
  }

  #header(block: Buffer): void {
    if (block.every((byte) => byte === 0)) {
      this.#state = { at: 'end' };
      return;
    }
    if (!hasValidChecksum(block)) throw new Error('it is not a tar archive (a header has a wrong checksum)');
    const flag = String.fromCharCode(block[156] ?? 0);
    if (flag === 'x' || flag === 'g' || flag === 'L' || flag === 'K') {
      const size = number(block, 124, 12);
      const limit = flag === 'x' || flag === 'g' ? PAX_LIMIT_BYTES : LONG_NAME_LIMIT_BYTES;
      if (size > limit) throw new Error(`an extended tar header has ${size} bytes; the limit is ${limit}`);
      this.#state = { at: 'extended', flag, pieces: [] };
      this.#start(size);
      if (size === 0) this.#extended(flag, Buffer.alloc(0));
      return;
    }
    const entry = decodeEntry(block, new Map([...this.#globalPax, ...this.#pax]), this.#longName, this.#longLink);
    this.#pax = new Map();
    this.#longName = undefined;
    this.#longLink = undefined;
    this.#state = { at: 'content', name: entry.name };
    this.#sink.entry(entry);
    this.#start(entry.sizeBytes);
    if (entry.sizeBytes === 0) this.#sink.entryEnd();
  }

  #start(size: number): void {
    this.#remaining = size;
    this.#padding = (BLOCK - (size % BLOCK)) % BLOCK;
    if (size === 0) this.#state = { at: 'header' };
  }

  #takeContent(chunk: Buffer, state: State): Buffer {
    const piece = chunk.subarray(0, this.#remaining);
    this.#remaining -= piece.length;
    if (state.at === 'extended') {
      state.pieces.push(Buffer.from(piece));
      if (this.#remaining === 0) this.#extended(state.flag, Buffer.concat(state.pieces));
    } else {
      this.#sink.content(piece);
      if (this.#remaining === 0) this.#sink.entryEnd();
    }
    if (this.#remaining === 0 && this.#padding === 0) this.#state = { at: 'header' };
    return chunk.subarray(piece.length);
  }

  #extended(flag: string, bytes: Buffer): void {
    if (flag === 'x') this.#pax = decodePax(bytes);
    else if (flag === 'g') this.#globalPax = new Map([...this.#globalPax, ...decodePax(bytes)]);
    else if (flag === 'L') this.#longName = field(bytes, 0, bytes.length);
    else this.#longLink = field(bytes, 0, bytes.length);
  }
}
