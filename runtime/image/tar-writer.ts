// Owns the bytes of a tar archive: ustar (POSIX.1-1988), with a pax header (POSIX.1-2001) where ustar cannot say it. Names are bytes,
// written as latin1 text, as the reader gives them. The same entries give the same bytes.
import type { TarEntry } from './tar-header.ts';

const BLOCK = 512;
const NAME_BYTES = 100;
const MAX_OCTAL_8 = 0o7777777;
const MAX_OCTAL_12 = 0o77777777777;

/** What is written is whole: holes are written as the zeroes that they are. */
export type TarFile = Omit<TarEntry, 'storedBytes' | 'isSparse'>;

const TYPE_FLAGS: Readonly<Record<TarFile['type'], string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  character: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};

/** What ends an archive. */
export const TAR_END = Buffer.alloc(2 * BLOCK);

/** Zeroes from the end of a file's content to the next block. */
export function tarPadding(sizeBytes: number): Buffer {
  return Buffer.alloc((BLOCK - (sizeBytes % BLOCK)) % BLOCK);
}

/** The header of an entry. A file's content and its padding follow. */
export function encodeTarHeader(entry: TarFile): Buffer {
  const records = paxRecords(entry);
  const header = encodeUstar(entry, TYPE_FLAGS[entry.type]);
  if (records.length === 0) return header;
  const body = Buffer.concat(records);
  const pax = {
    ...entry,
    name: 'PaxHeader',
    linkName: '',
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtimeSeconds: 0,
    mtimeNanoseconds: 0,
    major: 0,
    minor: 0,
  };
  return Buffer.concat([encodeUstar({ ...pax, sizeBytes: body.length }, 'x'), body, tarPadding(body.length), header]);
}

function paxRecords({ name, linkName, uid, gid, sizeBytes, mtimeSeconds, mtimeNanoseconds, xattrs }: TarFile): Buffer[] {
  const records: Buffer[] = [];
  const add = (key: string, value: string | Buffer) =>
    records.push(paxRecord(key, typeof value === 'string' ? Buffer.from(value, 'latin1') : value));
  if (!fitsName(name)) add('path', name);
  if (!fitsName(linkName)) add('linkpath', linkName);
  if (uid > MAX_OCTAL_8) add('uid', String(uid));
  if (gid > MAX_OCTAL_8) add('gid', String(gid));
  if (sizeBytes > MAX_OCTAL_12) add('size', String(sizeBytes));
  if (mtimeNanoseconds !== 0 || mtimeSeconds < 0 || mtimeSeconds > MAX_OCTAL_12) add('mtime', renderTime(mtimeSeconds, mtimeNanoseconds));
  for (const [key, value] of [...xattrs].sort(([a], [b]) => (a < b ? -1 : 1))) add(`SCHILY.xattr.${key}`, value);
  return records;
}

/** A decimal number, as pax has it: one second and a half before 1970 is -1.5, not -2 and a half. */
function renderTime(seconds: number, nanoseconds: number): string {
  const [whole, rest] = seconds < 0 && nanoseconds !== 0 ? [seconds + 1, 1e9 - nanoseconds] : [seconds, nanoseconds];
  const sign = seconds < 0 && whole === 0 ? '-' : '';
  return rest === 0 ? String(whole) : `${sign}${whole}.${String(rest).padStart(9, '0')}`;
}

/** ustar's names are printable ASCII to many readers. */
const fitsName = (name: string) => name.length <= NAME_BYTES && /^[ -~]*$/.test(name);

/** "<length> <key>=<value>\n", where the length counts its own digits. */
function paxRecord(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

function encodeUstar(entry: Omit<TarFile, 'type'>, typeFlag: string): Buffer {
  const block = Buffer.alloc(BLOCK);
  const text = (at: number, value: string, limit: number) => void block.write(value.slice(0, limit), at, 'latin1');
  const octal = (at: number, value: number, digits: number, max: number) =>
    text(at, (value < 0 || value > max ? 0 : Math.floor(value)).toString(8).padStart(digits, '0'), digits);
  text(0, entry.name, NAME_BYTES);
  octal(100, entry.mode & 0o7777, 7, MAX_OCTAL_8);
  octal(108, entry.uid, 7, MAX_OCTAL_8);
  octal(116, entry.gid, 7, MAX_OCTAL_8);
  octal(124, entry.sizeBytes, 11, MAX_OCTAL_12);
  octal(136, entry.mtimeSeconds, 11, MAX_OCTAL_12);
  text(148, '        ', 8);
  text(156, typeFlag, 1);
  text(157, entry.linkName, NAME_BYTES);
  text(257, 'ustar\0', 6);
  text(263, '00', 2);
  octal(329, entry.major, 7, MAX_OCTAL_8);
  octal(337, entry.minor, 7, MAX_OCTAL_8);
  const sum = block.reduce((total, byte) => total + byte, 0);
  text(148, `${sum.toString(8).padStart(6, '0')}\0 `, 8);
  return block;
}
