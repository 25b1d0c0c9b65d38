// Owns DNS messages as bytes (RFC 1035, EDNS of RFC 6891): a query's question is read, an answer of our own is written. What another
// server answers passes through as it is. Pure.
//
//   header 12 bytes │ question: name, type, class │ answer, authority, additional: records { name, type, class, ttl, length, data }
//   header: id │ QR opcode(4) AA TC RD │ RA - AD CD rcode(4) │ counts of the four sections

export const TYPE_A = 1;
export const TYPE_SOA = 6;
export const TYPE_PTR = 12;
export const TYPE_AAAA = 28;
const TYPE_OPT = 41;
const TYPE_IXFR = 251;
const TYPE_AXFR = 252;
export const TYPE_ANY = 255;
const CLASS_IN = 1;

export const NOERROR = 0;
export const FORMERR = 1;
export const SERVFAIL = 2;
export const NXDOMAIN = 3;
export const NOTIMP = 4;
export const REFUSED = 5;
/** Of EDNS: its upper bits stand in the OPT record. */
export const BADVERS = 16;

const QR = 0x8000;
const AA = 0x0400;
const TC = 0x0200;
const RD = 0x0100;
const RA = 0x0080;
const CD = 0x0010;

const HEADER_BYTES = 12;
/** Of UDP without EDNS. */
const PLAIN_BYTES = 512;
/** What we say of ourselves: fits one packet on every path (DNS flag day 2020). */
export const EDNS_BYTES = 1232;
const MAX_NAME_BYTES = 255;
const POINTER_TO_QUESTION = 0xc000 | HEADER_BYTES;

export interface Query {
  readonly id: number;
  readonly flags: number;
  /** As asked: its letters' case comes back as it was. */
  readonly question: Buffer;
  /** In lower case, without the root. */
  readonly labels: readonly string[];
  readonly type: number;
  readonly edns: boolean;
  /** What the asker takes in one UDP packet. */
  readonly maxBytes: number;
}

export type Parsed =
  | { readonly kind: 'query'; readonly query: Query }
  /** To be told so. */
  | { readonly kind: 'wrong'; readonly query: Query; readonly rcode: number };

class Malformed extends Error {}

/** Undefined: nothing that one answers. */
export function parseQuery(bytes: Buffer): Parsed | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const [id, flags] = [bytes.readUInt16BE(0), bytes.readUInt16BE(2)];
  // An answer to an answer would go on for ever.
  if ((flags & QR) !== 0) return undefined;
  const none: Query = { id, flags, question: Buffer.of(), labels: [], type: 0, edns: false, maxBytes: PLAIN_BYTES };
  if ((flags & 0x7800) !== 0) return { kind: 'wrong', query: none, rcode: NOTIMP };
  try {
    return readQuery(bytes, none);
  } catch (error) {
    if (error instanceof Malformed) return { kind: 'wrong', query: none, rcode: FORMERR };
    throw error;
  }
}

function readQuery(bytes: Buffer, none: Query): Parsed {
  const [questions, answers, authorities, additionals] = [4, 6, 8, 10].map((at) => bytes.readUInt16BE(at)) as [
    number,
    number,
    number,
    number,
  ];
  if (questions !== 1) throw new Malformed();
  const { labels, end } = readName(bytes, HEADER_BYTES);
  const type = u16(bytes, end);
  const class_ = u16(bytes, end + 2);
  const question = bytes.subarray(HEADER_BYTES, end + 4);
  let at = end + 4;
  for (let record = 0; record < answers + authorities; record++) at = skipRecord(bytes, at);
  let opt: { readonly maxBytes: number; readonly version: number } | undefined;
  for (let record = 0; record < additionals; record++) {
    const name = skipName(bytes, at);
    if (u16(bytes, name) === TYPE_OPT) {
      if (opt !== undefined) throw new Malformed();
      opt = { maxBytes: Math.max(u16(bytes, name + 2), PLAIN_BYTES), version: u16(bytes, name + 4) & 0xff };
    }
    at = skipRecord(bytes, at);
  }
  const query: Query = { ...none, question, labels, type, edns: opt !== undefined, maxBytes: opt?.maxBytes ?? PLAIN_BYTES };
  if (opt !== undefined && opt.version !== 0) return { kind: 'wrong', query, rcode: BADVERS };
  // Zone transfers are many messages, and other classes somebody else's.
  if (class_ !== CLASS_IN || type === TYPE_AXFR || type === TYPE_IXFR) return { kind: 'wrong', query, rcode: REFUSED };
  return { kind: 'query', query };
}

function u16(bytes: Buffer, at: number): number {
  if (at + 2 > bytes.length) throw new Malformed();
  return bytes.readUInt16BE(at);
}

/** A name without pointers: there is nothing before a question that it could point to. */
function readName(bytes: Buffer, start: number): { readonly labels: string[]; readonly end: number } {
  const labels: string[] = [];
  let at = start;
  for (;;) {
    const length = bytes[at];
    if (length === undefined || length > 63 || at + 1 + length > bytes.length || at + 1 + length - start > MAX_NAME_BYTES)
      throw new Malformed();
    at += 1 + length;
    if (length === 0) return { labels, end: at };
    labels.push(bytes.toString('latin1', at - length, at).replace(/[A-Z]/g, (letter) => letter.toLowerCase()));
  }
}

function skipName(bytes: Buffer, start: number): number {
  for (let at = start; ; ) {
    const length = bytes[at];
    if (length === undefined) throw new Malformed();
    if (length >= 0xc0) return at + 2;
    if (length > 63) throw new Malformed();
    at += 1 + length;
    if (length === 0) return at;
  }
}

function skipRecord(bytes: Buffer, start: number): number {
  const name = skipName(bytes, start);
  const end = name + 10 + u16(bytes, name + 8);
  if (end > bytes.length) throw new Malformed();
  return end;
}

export interface Answer {
  readonly type: number;
  readonly data: Buffer;
}

export interface Reply {
  readonly rcode: number;
  /** All of the name that was asked for. */
  readonly answers?: readonly Answer[];
  /** Of the zone that knows that there is nothing: how long that may be remembered (RFC 2308). */
  readonly soa?: { readonly zone: readonly string[]; readonly data: Buffer };
  readonly ttlSeconds?: number;
  readonly authoritative?: boolean;
}

/** `maxBytes`: what does not fit is left out, and said to be (TC): the asker comes again over TCP. */
export function encodeReply(query: Query, reply: Reply, maxBytes: number): Buffer {
  const { answers = [], ttlSeconds = 0 } = reply;
  const opt = query.edns ? [encodeOpt(reply.rcode)] : [];
  const soa =
    reply.soa === undefined ? [] : [encodeRecord(encodeName(reply.soa.zone), { type: TYPE_SOA, data: reply.soa.data }, ttlSeconds)];
  const own = Buffer.alloc(2);
  own.writeUInt16BE(POINTER_TO_QUESTION);
  const records = answers.map((answer) => encodeRecord(own, answer, ttlSeconds));
  const whole = assemble(query, reply, { answers: records, authorities: soa, additionals: opt, truncated: false });
  return whole.length <= maxBytes ? whole : encodeTruncated(query, reply.rcode, reply.authoritative);
}

/** The rest is to be had over TCP. */
export function encodeTruncated(query: Query, rcode: number, authoritative = false): Buffer {
  const additionals = query.edns ? [encodeOpt(rcode)] : [];
  return assemble(query, { rcode, authoritative }, { answers: [], authorities: [], additionals, truncated: true });
}

interface Sections {
  readonly answers: readonly Buffer[];
  readonly authorities: readonly Buffer[];
  readonly additionals: readonly Buffer[];
  readonly truncated: boolean;
}

function assemble({ id, flags, question }: Query, reply: Reply, { answers, authorities, additionals, truncated }: Sections): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  const kept = flags & (0x7800 | RD | CD);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(QR | kept | RA | (reply.authoritative ? AA : 0) | (truncated ? TC : 0) | (reply.rcode & 0xf), 2);
  header.writeUInt16BE(question.length > 0 ? 1 : 0, 4);
  for (const [i, section] of [answers, authorities, additionals].entries()) header.writeUInt16BE(section.length, 6 + 2 * i);
  return Buffer.concat([header, question, ...answers, ...authorities, ...additionals]);
}

function encodeRecord(name: Buffer, { type, data }: Answer, ttlSeconds: number): Buffer {
  const fixed = Buffer.alloc(10);
  fixed.writeUInt16BE(type, 0);
  fixed.writeUInt16BE(CLASS_IN, 2);
  fixed.writeUInt32BE(ttlSeconds, 4);
  fixed.writeUInt16BE(data.length, 8);
  return Buffer.concat([name, fixed, data]);
}

function encodeOpt(rcode: number): Buffer {
  const opt = Buffer.alloc(11);
  opt.writeUInt16BE(TYPE_OPT, 1);
  opt.writeUInt16BE(EDNS_BYTES, 3);
  opt[5] = rcode >> 4;
  return opt;
}

export function encodeName(labels: readonly string[]): Buffer {
  const parts = labels.map((label) => {
    const bytes = Buffer.from(label, 'latin1');
    if (bytes.length === 0 || bytes.length > 63) throw new Error(`"${label}" is no label of a DNS name`);
    return Buffer.concat([Buffer.of(bytes.length), bytes]);
  });
  return Buffer.concat([...parts, Buffer.of(0)]);
}

/** serial, refresh, retry, expire, minimum: only the last is looked at by resolvers. */
export function encodeSoa(server: readonly string[], mailbox: readonly string[], serial: number, minimumSeconds: number): Buffer {
  const numbers = Buffer.alloc(20);
  for (const [i, number] of [serial, 7200, 1800, 86_400, minimumSeconds].entries()) numbers.writeUInt32BE(number, 4 * i);
  return Buffer.concat([encodeName(server), encodeName(mailbox), numbers]);
}

/** Whether `answer` may be the answer to `query`: another's of that id, or an echo, is not. */
export function isAnswerTo(answer: Buffer, query: Buffer, id: number): boolean {
  if (answer.length < HEADER_BYTES || answer.readUInt16BE(0) !== id || (answer.readUInt16BE(2) & QR) === 0) return false;
  // A server that could not read the query sends its header alone; for anything else the name must be right, which is harder to guess.
  if (answer.readUInt16BE(4) === 0) return rcodeOf(answer) !== NOERROR && rcodeOf(answer) !== NXDOMAIN;
  try {
    const [asked, told] = [readName(query, HEADER_BYTES), readName(answer, HEADER_BYTES)];
    return asked.labels.join('\0') === told.labels.join('\0') && u16(query, asked.end) === u16(answer, told.end);
  } catch (error) {
    if (error instanceof Malformed) return false;
    throw error;
  }
}

export const rcodeOf = (message: Buffer): number => message.readUInt16BE(2) & 0xf;

export function withId(message: Buffer, id: number): Buffer {
  const copy = Buffer.from(message);
  copy.writeUInt16BE(id, 0);
  return copy;
}
