// Owns the sequence of a tar archive as it is read: headers, what extends them, contents, the end. The encoding is tar-header.ts'.
import {
  BLOCK_BYTES,
  decodeEntry,
  decodeName,
  decodePax,
  type Extension,
  hasValidChecksum,
  numberField,
  quote,
  SPARSE_MAP,
  type TarEntry,
  textField,
  typeFlag,
} from './tar-header.ts';
import { decodeSparseList, PIECES_LIMIT, planSparsePieces, SparseMapText, type SparsePiece } from './tar-sparse.ts';

const LONG_NAME_LIMIT_BYTES = 64 * 1024;
const PAX_LIMIT_BYTES = 4 * 1024 * 1024;
/** They are merged with those of each entry. */
const GLOBAL_PAX_LIMIT_BYTES = 64 * 1024;
/** Files up to here that lie whole in one chunk are handed over in one call. */
const WHOLE_LIMIT_BYTES = 64 * 1024;
const noPax: ReadonlyMap<string, Buffer> = new Map();
const nothing = Buffer.alloc(0);

/** Gets each entry. Files that do not come whole with it have their content in pieces, then their end. */
export interface TarSink {
  /** `whole` is undefined for files whose content follows. */
  entry(entry: TarEntry, whole: Buffer | undefined): void;
  content(piece: Buffer, offset: number): void;
  entryEnd(): void;
}

/**
 *            ┌────────────► end (a block of zeros)
 *   header ──┼─► extended ─────────────────────────► padding ─► header
 *            ├─► sparse header ─► content ─► padding ─► header
 *            └─► sparse map ────► content
 */
type State = 'header' | 'extended' | 'sparse header' | 'sparse map' | 'content' | 'padding' | 'end';

/** Push parser: feed it the uncompressed bytes in any pieces, then end(). Throws a sentence on what is not a tar archive. */
export class TarReader {
  readonly #sink: TarSink;
  #state: State = 'header';
  /** A block that comes in several chunks. */
  readonly #block = Buffer.alloc(BLOCK_BYTES);
  #blockBytes = 0;
  /** Bytes of the current content that are still to come, and of its padding. */
  #remaining = 0;
  #padding = 0;
  #flag = '';
  #extended: Buffer[] = [];
  #pax = noPax;
  #globalPax = noPax;
  #longName: string | undefined;
  #longLink: string | undefined;
  /** The file whose content comes. */
  #entry: TarEntry | undefined;
  #offset = 0;
  #pieces: readonly SparsePiece[] | undefined;
  #piece = 0;
  #numbers: number[] = [];
  #map: SparseMapText | undefined;
  #last: string | undefined;

  constructor(sink: TarSink) {
    this.#sink = sink;
  }

  push(chunk: Buffer): void {
    try {
      this.#push(chunk);
    } catch (cause) {
      throw this.#last === undefined ? cause : named(this.#last, cause);
    }
  }

  #push(chunk: Buffer): void {
    for (let at = 0; at < chunk.length && this.#state !== 'end'; ) {
      if (this.#state === 'content' || this.#state === 'extended') {
        const taken = Math.min(this.#remaining, chunk.length - at);
        this.#take(chunk.subarray(at, at + taken));
        at += taken;
      } else if (this.#state === 'padding') {
        const skipped = Math.min(this.#padding, chunk.length - at);
        this.#padding -= skipped;
        at += skipped;
        if (this.#padding === 0) this.#state = 'header';
      } else if (this.#blockBytes === 0 && chunk.length - at >= BLOCK_BYTES) {
        at = this.#takeBlock(chunk.subarray(at, at + BLOCK_BYTES), chunk, at + BLOCK_BYTES);
      } else {
        const taken = chunk.copy(this.#block, this.#blockBytes, at, Math.min(chunk.length, at + BLOCK_BYTES - this.#blockBytes));
        at += taken;
        this.#blockBytes += taken;
        if (this.#blockBytes < BLOCK_BYTES) return;
        this.#blockBytes = 0;
        at = this.#takeBlock(this.#block, chunk, at);
      }
    }
  }

  end(): void {
    const inside = this.#state === 'content' || this.#state === 'sparse header' || this.#state === 'sparse map';
    if (inside) throw new Error(`the archive is truncated inside ${quote(this.#last ?? '')}`);
    if (this.#blockBytes > 0 || this.#state === 'extended') throw new Error(`the archive is truncated${this.#after()}`);
  }

  /** Where in the archive it is, for errors of what feeds it: " after "etc/passwd"". */
  get position(): string {
    return this.#state === 'content' ? ` inside ${quote(this.#last ?? '')}` : this.#after();
  }

  #after(): string {
    return this.#last === undefined ? '' : ` after ${quote(this.#last)}`;
  }

  /** Gives where to go on in `chunk`. */
  #takeBlock(block: Buffer, chunk: Buffer, next: number): number {
    if (this.#state === 'header') return this.#header(block, chunk, next);
    if (this.#state === 'sparse header') this.#sparseHeader(block);
    else this.#sparseMap(block);
    return next;
  }

  #header(block: Buffer, chunk: Buffer, next: number): number {
    if (block[0] === 0 && block.every((byte) => byte === 0)) {
      this.#state = 'end';
      return next;
    }
    if (!hasValidChecksum(block)) {
      if (this.#last === undefined) throw new Error('it is not a tar archive (a header has a wrong checksum)');
      throw new Error(`the tar archive is damaged: the header after ${quote(this.#last)} has a wrong checksum`);
    }
    const flag = typeFlag(block);
    if (flag === 'x' || flag === 'g' || flag === 'L' || flag === 'K') {
      const size = numberField(block, 124, 12);
      const limit = flag === 'x' || flag === 'g' ? PAX_LIMIT_BYTES : LONG_NAME_LIMIT_BYTES;
      if (size < 0 || size > limit) throw new Error(`an extended tar header${this.#after()} has ${size} bytes; the limit is ${limit}`);
      this.#flag = flag;
      this.#extended = [];
      this.#start('extended', size);
      if (size === 0) this.#extend();
      return next;
    }
    const pax = this.#globalPax.size === 0 ? this.#pax : new Map([...this.#globalPax, ...this.#pax]);
    const extension: Extension = { pax, longName: this.#longName, longLink: this.#longLink };
    this.#pax = noPax;
    this.#longName = undefined;
    this.#longLink = undefined;
    const name = decodeName(block, extension);
    this.#last = name;
    return this.#begin(decodeEntry(block, name, extension), block, pax, chunk, next);
  }

  #begin(entry: TarEntry, block: Buffer, pax: ReadonlyMap<string, Buffer>, chunk: Buffer, next: number): number {
    if (entry.type !== 'file') {
      this.#sink.entry(entry, nothing);
      return next;
    }
    this.#pieces = undefined;
    if (entry.isSparse) return this.#beginSparse(entry, block, pax, next);
    const { storedBytes } = entry;
    if (storedBytes <= WHOLE_LIMIT_BYTES && chunk.length - next >= storedBytes) {
      this.#sink.entry(entry, chunk.subarray(next, next + storedBytes));
      this.#padding = (BLOCK_BYTES - (storedBytes % BLOCK_BYTES)) % BLOCK_BYTES;
      if (this.#padding > 0) this.#state = 'padding';
      return next + storedBytes;
    }
    this.#sink.entry(entry, undefined);
    this.#contents(entry);
    return next;
  }

  #beginSparse(entry: TarEntry, block: Buffer, pax: ReadonlyMap<string, Buffer>, next: number): number {
    this.#entry = entry;
    if (typeFlag(block) === 'S') {
      this.#numbers = [];
      this.#remaining = entry.storedBytes;
      this.#sparsePairs(block, 386, 4, 482);
    } else if (pax.get('GNU.sparse.major')?.toString('latin1') === '1') {
      this.#map = new SparseMapText();
      this.#remaining = entry.storedBytes;
      this.#state = 'sparse map';
    } else this.#sparseContents(decodeSparseList(pax.get(SPARSE_MAP)?.toString('latin1') ?? ''), entry.storedBytes);
    return next;
  }

  #sparseHeader(block: Buffer): void {
    this.#sparsePairs(block, 0, 21, 504);
  }

  /** Pairs of 12 digits each, up to the first that is empty; the byte at `moreAt` says that another block follows. */
  #sparsePairs(block: Buffer, start: number, count: number, moreAt: number): void {
    for (let i = 0; i < count && block[start + 24 * i + 12] !== 0; i++)
      this.#numbers.push(numberField(block, start + 24 * i, 12), numberField(block, start + 24 * i + 12, 12));
    if (this.#numbers.length > 2 * PIECES_LIMIT) throw new Error(`its sparse map has more than ${PIECES_LIMIT} pieces`);
    if (block[moreAt] === 1) this.#state = 'sparse header';
    else this.#sparseContents(this.#numbers, this.#entry?.storedBytes ?? 0);
  }

  #sparseMap(block: Buffer): void {
    if (this.#remaining < BLOCK_BYTES) throw new Error('its sparse map is longer than its content');
    this.#remaining -= BLOCK_BYTES;
    if (this.#map?.push(block)) this.#sparseContents(this.#map.numbers, this.#remaining);
  }

  #sparseContents(numbers: readonly number[], storedBytes: number): void {
    const entry = this.#entry;
    if (entry === undefined) return;
    this.#pieces = planSparsePieces(numbers, entry.sizeBytes, storedBytes);
    const whole = { ...entry, storedBytes };
    this.#sink.entry(whole, undefined);
    this.#contents(whole);
  }

  #contents(entry: TarEntry): void {
    this.#entry = entry;
    this.#piece = 0;
    this.#offset = this.#pieces?.[0]?.offset ?? 0;
    this.#start('content', entry.storedBytes);
    if (entry.storedBytes === 0) this.#sink.entryEnd();
  }

  #start(state: 'content' | 'extended', size: number): void {
    this.#remaining = size;
    this.#padding = (BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES;
    this.#state = size === 0 ? 'header' : state;
  }

  #take(piece: Buffer): void {
    this.#remaining -= piece.length;
    if (this.#state === 'extended') this.#extended.push(Buffer.from(piece));
    else if (this.#pieces === undefined) {
      this.#sink.content(piece, this.#offset);
      this.#offset += piece.length;
    } else this.#takeSparse(piece, this.#pieces);
    if (this.#remaining > 0) return;
    const wasExtended = this.#state === 'extended';
    this.#state = this.#padding > 0 ? 'padding' : 'header';
    if (wasExtended) this.#extend();
    else this.#sink.entryEnd();
  }

  #takeSparse(content: Buffer, pieces: readonly SparsePiece[]): void {
    for (let at = 0; at < content.length; ) {
      const piece = pieces[this.#piece];
      if (piece === undefined) return;
      const taken = Math.min(content.length - at, piece.offset + piece.bytes - this.#offset);
      this.#sink.content(content.subarray(at, at + taken), this.#offset);
      at += taken;
      this.#offset += taken;
      if (this.#offset < piece.offset + piece.bytes) continue;
      this.#offset = pieces[++this.#piece]?.offset ?? 0;
    }
  }

  #extend(): void {
    const bytes = Buffer.concat(this.#extended);
    this.#extended = [];
    if (this.#flag === 'L') this.#longName = textField(bytes, 0, bytes.length);
    else if (this.#flag === 'K') this.#longLink = textField(bytes, 0, bytes.length);
    else {
      const records = decodePaxAfter(bytes, this.#after());
      if (this.#flag === 'x') this.#pax = records;
      else this.#extendAll(records);
    }
  }

  #extendAll(records: ReadonlyMap<string, Buffer>): void {
    this.#globalPax = new Map([...this.#globalPax, ...records]);
    if (sizeOf(this.#globalPax) > GLOBAL_PAX_LIMIT_BYTES)
      throw new Error(`the global pax headers${this.#after()} have more than ${GLOBAL_PAX_LIMIT_BYTES} bytes together`);
  }
}

function sizeOf(records: ReadonlyMap<string, Buffer>): number {
  return [...records].reduce((total, [key, value]) => total + key.length + value.length, 0);
}

function decodePaxAfter(bytes: Buffer, after: string): Map<string, Buffer> {
  try {
    return decodePax(bytes);
  } catch (cause) {
    throw new Error(`${(cause as Error).message}${after}`);
  }
}

/** Errors say which entry they are about. */
function named(name: string, cause: unknown): unknown {
  if (!(cause instanceof Error) || cause.message.includes(quote(name))) return cause;
  return new Error(quote(name), { cause });
}
