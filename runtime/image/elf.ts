// Owns what an ELF file says about the libraries that it needs (elf(5), ld.so(8)): interpreter, DT_NEEDED, DT_RPATH, DT_RUNPATH. Reads
// only the pieces of the file that say so.
import fs from 'node:fs';

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const DT_NEEDED = 1n;
const DT_STRTAB = 5n;
const DT_STRSZ = 10n;
const DT_RPATH = 15n;
const DT_RUNPATH = 29n;
const PIECE_LIMIT_BYTES = 16 * 1024 * 1024;

/** e_machine of the running architecture: libraries of another one are passed over, as by ld.so. */
export const hostMachine = process.arch === 'arm64' ? 183 : 62;

export interface ElfNeeds {
  readonly machine: number;
  readonly interpreter: string | undefined;
  readonly needed: readonly string[];
  readonly rpath: readonly string[];
  readonly runpath: readonly string[];
}

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: bigint;
  readonly fileBytes: number;
}

function piece(fd: number, offset: number, length: number): Buffer {
  if (length > PIECE_LIMIT_BYTES) throw new Error('an ELF table is too large');
  const bytes = Buffer.alloc(length);
  if (fs.readSync(fd, bytes, 0, length, offset) !== length) throw new Error('the ELF file is truncated');
  return bytes;
}

function readSegments(fd: number, header: Buffer): Segment[] {
  const [size, count] = [header.readUInt16LE(54), header.readUInt16LE(56)];
  const table = piece(fd, Number(header.readBigUInt64LE(32)), size * count);
  return Array.from({ length: count }, (_, i) => {
    const entry = table.subarray(i * size);
    return {
      type: entry.readUInt32LE(0),
      offset: Number(entry.readBigUInt64LE(8)),
      address: entry.readBigUInt64LE(16),
      fileBytes: Number(entry.readBigUInt64LE(32)),
    };
  });
}

function cString(bytes: Buffer, at: number): string {
  const end = bytes.indexOf(0, at);
  return bytes.toString('utf8', at, end < 0 ? bytes.length : end);
}

function readDynamic(fd: number, segments: readonly Segment[]): [tag: bigint, value: bigint][] {
  const dynamic = segments.find(({ type }) => type === PT_DYNAMIC);
  if (dynamic === undefined) return [];
  const bytes = piece(fd, dynamic.offset, dynamic.fileBytes);
  const tags: [bigint, bigint][] = [];
  for (let at = 0; at + 16 <= bytes.length && bytes.readBigInt64LE(at) !== 0n; at += 16) {
    tags.push([bytes.readBigInt64LE(at), bytes.readBigUInt64LE(at + 8)]);
  }
  return tags;
}

/** What a file needs; undefined when it is not a 64-bit little-endian ELF file. */
export function readElfNeeds(file: string): ElfNeeds | undefined {
  const fd = fs.openSync(file, 'r');
  try {
    const header = Buffer.alloc(64);
    if (fs.readSync(fd, header, 0, 64, 0) !== 64 || header.toString('latin1', 0, 6) !== '\x7fELF\x02\x01') return undefined;
    const segments = readSegments(fd, header);
    const interp = segments.find(({ type }) => type === PT_INTERP);
    const tags = readDynamic(fd, segments);
    const tag = (wanted: bigint) => tags.find(([name]) => name === wanted)?.[1];
    const [address, size] = [tag(DT_STRTAB), tag(DT_STRSZ)];
    let names: Buffer = Buffer.alloc(0);
    if (address !== undefined && size !== undefined) {
      const home = segments.find((s) => s.type === PT_LOAD && address >= s.address && address < s.address + BigInt(s.fileBytes));
      if (home === undefined) throw new Error(`${file} has a string table outside its segments`);
      names = piece(fd, home.offset + Number(address - home.address), Number(size));
    }
    const strings = (wanted: bigint) => tags.filter(([name]) => name === wanted).map(([, value]) => cString(names, Number(value)));
    const paths = (wanted: bigint) => strings(wanted).flatMap((list) => list.split(':').filter((entry) => entry !== ''));
    return {
      machine: header.readUInt16LE(18),
      interpreter: interp === undefined ? undefined : cString(piece(fd, interp.offset, interp.fileBytes), 0),
      needed: strings(DT_NEEDED),
      rpath: paths(DT_RPATH),
      runpath: paths(DT_RUNPATH),
    };
  } finally {
    fs.closeSync(fd);
  }
}
