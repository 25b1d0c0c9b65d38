// Owns the encoding of tar headers: ustar, pax and GNU (POSIX.1-2001 pax; tar(5)). Names stay bytes (latin1 strings, one character a
// byte) and pax values stay Buffers, because file names need not be UTF-8 and a file capability is binary.

export const BLOCK_BYTES = 512;

export type TarType = 'file' | 'hardlink' | 'symlink' | 'character' | 'block' | 'directory' | 'fifo';

export interface TarEntry {
  readonly name: string;
  readonly type: TarType;
  readonly linkName: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Of the file, holes included. */
  readonly sizeBytes: number;
  /** What the archive holds of it. */
  readonly storedBytes: number;
  /** The file has holes: its size is to be set at the end. */
  readonly isSparse: boolean;
  /** Whole seconds since 1970, rounded down, and nanoseconds on top of them. */
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  readonly major: number;
  readonly minor: number;
  readonly xattrs: ReadonlyMap<string, Buffer>;
}

/** What extended headers say of the entry that follows them. */
export interface Extension {
  readonly pax: ReadonlyMap<string, Buffer>;
  /** GNU types L and K. */
  readonly longName?: string | undefined;
  readonly longLink?: string | undefined;
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
  S: 'file',
};

const noXattrs: ReadonlyMap<string, Buffer> = new Map();
export const quote = (name: string): string => JSON.stringify(Buffer.from(name, 'latin1').toString());

/** Bytes up to the first NUL, at most `length`. */
export function textField(block: Buffer, start: number, length: number): string {
  const end = block.indexOf(0, start);
  return block.toString('latin1', start, end < 0 || end > start + length ? start + length : end);
}

/** An octal number between blanks, or a base-256 one where the first bit is set (GNU, for what octal cannot hold). */
export function numberField(block: Buffer, start: number, length: number): number {
  const first = block[start] ?? 0;
  if ((first & 0x80) !== 0) {
    // 0xff begins a negative number: a time before 1970.
    let value = first === 0xff ? -1 : first & 0x7f;
    for (let i = 1; i < length; i++) value = value * 256 + (block[start + i] ?? 0);
    if (!Number.isSafeInteger(value)) throw new Error('a number in its tar header is out of range');
    return value;
  }
  let at = start;
  const end = start + length;
  while (at < end && block[at] === 0x20) at++;
  let value = 0;
  for (; at < end; at++) {
    const digit = (block[at] ?? 0) - 0x30;
    if (digit < 0 || digit > 7) break;
    value = value * 8 + digit;
  }
  while (at < end && block[at] === 0x20) at++;
  if (at < end && block[at] !== 0) throw new Error('a number in its tar header is not octal');
  return value;
}

/** The sum of all bytes with the checksum's own as blanks. Old writers took bytes for signed. */
export function hasValidChecksum(block: Buffer): boolean {
  let sum = 8 * 0x20;
  let negative = 0;
  for (let i = 0; i < BLOCK_BYTES; i++) {
    if (i === 148) i = 156;
    const byte = block[i] ?? 0;
    sum += byte;
    if (byte > 127) negative += 256;
  }
  let stated: number;
  try {
    stated = numberField(block, 148, 8);
  } catch {
    return false;
  }
  return stated === sum || stated === sum - negative;
}

const SPARSE_OFFSET = 'GNU.sparse.offset';
const SPARSE_BYTES = 'GNU.sparse.numbytes';
export const SPARSE_MAP = 'GNU.sparse.map';

/** "<length> <key>=<value>\n" records (pax). The last of a key counts, but for the pieces of a sparse file, which become one map. */
export function decodePax(bytes: Buffer): Map<string, Buffer> {
  const records = new Map<string, Buffer>();
  const sparse: string[] = [];
  for (let at = 0; at < bytes.length && bytes[at] !== 0; ) {
    const space = bytes.indexOf(0x20, at);
    const length = space < 0 || space - at > 20 ? Number.NaN : Number(bytes.toString('latin1', at, space));
    const equals = bytes.indexOf(0x3d, space);
    const end = at + length;
    if (!(length > 0) || end > bytes.length || equals < 0 || equals >= end || bytes[end - 1] !== 0x0a)
      throw new Error('a pax header is malformed');
    const key = bytes.toString('latin1', space + 1, equals);
    if (key === SPARSE_OFFSET || key === SPARSE_BYTES) sparse.push(bytes.toString('latin1', equals + 1, end - 1));
    else records.set(key, Buffer.from(bytes.subarray(equals + 1, end - 1)));
    at = end;
  }
  if (sparse.length > 0) records.set(SPARSE_MAP, Buffer.from(sparse.join(',')));
  return records;
}

/** An empty value takes back what was said before (pax). */
function paxText(pax: ReadonlyMap<string, Buffer>, key: string): string | undefined {
  const value = pax.get(key);
  return value === undefined || value.length === 0 ? undefined : value.toString('latin1');
}

export function paxNumber(pax: ReadonlyMap<string, Buffer>, key: string): number | undefined {
  const value = paxText(pax, key);
  if (value === undefined) return undefined;
  if (!/^-?\d+(\.\d*)?$/.test(value)) throw new Error(`the pax header ${key} is not a number`);
  return Number(value);
}

/** "-1.25" is one second and 250 ms before 1970. */
function paxTime(pax: ReadonlyMap<string, Buffer>, key: string): { seconds: number; nanoseconds: number } | undefined {
  const value = paxText(pax, key);
  if (value === undefined) return undefined;
  const match = /^(-?)(\d{1,15})(?:\.(\d*))?$/.exec(value);
  if (match === null) throw new Error(`the pax header ${key} is not a number`);
  const [, sign, whole = '', fraction = ''] = match;
  const seconds = Number(whole);
  const nanoseconds = Number(fraction.slice(0, 9).padEnd(9, '0'));
  if (sign === '') return { seconds, nanoseconds };
  return nanoseconds === 0 ? { seconds: -seconds, nanoseconds } : { seconds: -seconds - 1, nanoseconds: 1e9 - nanoseconds };
}

const XATTR_PREFIX = 'SCHILY.xattr.';

function xattrsOf(pax: ReadonlyMap<string, Buffer>): ReadonlyMap<string, Buffer> {
  if (pax.size === 0) return noXattrs;
  const xattrs = new Map<string, Buffer>();
  for (const [key, value] of pax) if (key.startsWith(XATTR_PREFIX)) xattrs.set(key.slice(XATTR_PREFIX.length), value);
  return xattrs;
}

export function typeFlag(block: Buffer): string {
  return String.fromCharCode(block[156] ?? 0);
}

/** The name that an entry goes by, before anything else of it is looked at. */
export function decodeName(block: Buffer, { pax, longName }: Extension): string {
  const given = paxText(pax, 'GNU.sparse.name') ?? paxText(pax, 'path') ?? longName;
  if (given !== undefined) return given;
  const short = textField(block, 0, 100);
  const prefix = block.toString('latin1', 257, 263) === 'ustar\0' ? textField(block, 345, 155) : '';
  return prefix === '' ? short : `${prefix}/${short}`;
}

/** A header block and the extended headers before it, as an entry. Sparse files of old GNU tar and pax 1.0 have more to read. */
export function decodeEntry(block: Buffer, name: string, extension: Extension): TarEntry {
  const { pax, longLink } = extension;
  const flag = typeFlag(block);
  const type = types[flag];
  if (type === undefined) throw new Error(`it has the tar type ${JSON.stringify(flag)}, which image layers do not use`);
  // Archives older than ustar mark a directory by its trailing slash.
  const isDirectory = type === 'directory' || (type === 'file' && name.endsWith('/'));
  const stored = paxNumber(pax, 'size') ?? numberField(block, 124, 12);
  if (!Number.isSafeInteger(stored) || stored < 0) throw new Error(`it has the size ${stored}`);
  const isSparse = !isDirectory && (flag === 'S' || pax.has('GNU.sparse.major') || pax.has(SPARSE_MAP) || pax.has('GNU.sparse.size'));
  const real =
    flag === 'S' ? numberField(block, 483, 12) : (paxNumber(pax, 'GNU.sparse.realsize') ?? paxNumber(pax, 'GNU.sparse.size') ?? stored);
  if (isSparse && (!Number.isSafeInteger(real) || real < 0)) throw new Error(`it has the size ${real}`);
  const isFile = type === 'file' && !isDirectory;
  const isDevice = type === 'character' || type === 'block';
  const time = paxTime(pax, 'mtime');
  return {
    name,
    type: isDirectory ? 'directory' : type,
    linkName: paxText(pax, 'linkpath') ?? longLink ?? textField(block, 157, 100),
    mode: numberField(block, 100, 8) & 0o7777,
    uid: paxNumber(pax, 'uid') ?? numberField(block, 108, 8),
    gid: paxNumber(pax, 'gid') ?? numberField(block, 116, 8),
    // Links carry no content, whatever their header says.
    sizeBytes: isFile ? (isSparse ? real : stored) : 0,
    storedBytes: isFile ? stored : 0,
    isSparse,
    mtimeSeconds: time?.seconds ?? numberField(block, 136, 12),
    mtimeNanoseconds: time?.nanoseconds ?? 0,
    major: isDevice ? numberField(block, 329, 8) : 0,
    minor: isDevice ? numberField(block, 337, 8) : 0,
    xattrs: xattrsOf(pax),
  };
}
