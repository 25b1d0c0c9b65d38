// Owns the netlink wire format (netlink(7)): messages, attributes, acknowledgements. Pure; the socket is netlink-socket.ts.
//
//   struct nlmsghdr { u32 len; u16 type; u16 flags; u32 seq; u32 pid; }    host byte order, messages on 4-byte boundaries
//   struct nlattr   { u16 len; u16 type; } value, padded to 4 bytes        len counts header and value, not the padding
import { describeErrno, errnoName } from './errno.ts';

export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLM_F_REQUEST = 1;
export const NLM_F_ACK = 4;
export const NLM_F_CAPPED = 0x100;
export const NLM_F_ACK_TLVS = 0x200;
export const NLM_F_EXCL = 0x200;
export const NLM_F_DUMP = 0x300;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
export const NLM_F_DUMP_INTR = 0x10;

const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
const NLMSGERR_ATTR_MSG = 1;
const NLMSGERR_ATTR_OFFS = 2;
const NLMSGERR_ATTR_MISS_TYPE = 5;
const EBADMSG = 74;
const HEADER_BYTES = 16;
const ATTRIBUTE_BYTES = 4;
const MAX_ATTRIBUTE_BYTES = 0xffff;

const align = (length: number): number => (length + 3) & ~3;

export function attribute(type: number, value: Uint8Array): Buffer {
  const length = ATTRIBUTE_BYTES + value.length;
  if (length > MAX_ATTRIBUTE_BYTES) throw new Error(`netlink attribute ${type} of ${value.length} bytes exceeds 64 KiB`);
  const bytes = Buffer.alloc(align(length));
  bytes.writeUInt16LE(length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.set(value, ATTRIBUTE_BYTES);
  return bytes;
}

/** An attribute that holds attributes. */
export function nested(type: number, children: readonly Buffer[]): Buffer {
  return attribute(type | NLA_F_NESTED, Buffer.concat(children));
}

export function attributeU8(type: number, value: number): Buffer {
  return attribute(type, Buffer.of(value));
}

/** Host byte order, as rtnetlink has it. */
export function attributeU32(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return attribute(type, bytes);
}

export function attributeU16(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return attribute(type, bytes);
}

export function attributeBe16(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return attribute(type, bytes);
}

export function attributeBigU64(type: number, value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return attribute(type, bytes);
}

/** Network byte order, as nfnetlink has it. */
export function attributeBe32(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return attribute(type, bytes);
}

export function attributeBe64(type: number, value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return attribute(type, bytes);
}

export function attributeString(type: number, text: string): Buffer {
  if (text.includes('\0')) throw new Error(`a NUL byte in ${JSON.stringify(text)}`);
  return attribute(type, Buffer.from(`${text}\0`));
}

/** The attributes in `bytes` by type; of a repeated type the last one. Bytes that form no whole attribute are left out. */
export function parseAttributes(bytes: Buffer): Map<number, Buffer> {
  return new Map(listAttributes(bytes).map(({ type, value }) => [type, value]));
}

export interface Attribute {
  readonly type: number;
  readonly value: Buffer;
}

/** The attributes in `bytes` in their order, for lists whose elements share a type. */
export function listAttributes(bytes: Buffer): Attribute[] {
  const found: Attribute[] = [];
  for (let at = 0; at + ATTRIBUTE_BYTES <= bytes.length; ) {
    const length = bytes.readUInt16LE(at);
    if (length < ATTRIBUTE_BYTES || at + length > bytes.length) break;
    found.push({ type: bytes.readUInt16LE(at + 2) & NLA_TYPE_MASK, value: bytes.subarray(at + ATTRIBUTE_BYTES, at + length) });
    at += align(length);
  }
  return found;
}

/** The text of a string attribute, without its NUL. */
export function attributeText(value: Buffer): string {
  const end = value.indexOf(0);
  return value.toString('utf8', 0, end < 0 ? value.length : end);
}

/** One request. `body` is the family's header and the attributes; `what` says it in words, for errors: "add address … to eth0". */
export interface Request {
  readonly type: number;
  readonly flags: number;
  readonly body: Buffer;
  readonly what: string;
}

export function encodeMessage(request: Request, sequence: number): Buffer {
  const length = HEADER_BYTES + request.body.length;
  const bytes = Buffer.alloc(align(length));
  bytes.writeUInt32LE(length, 0);
  bytes.writeUInt16LE(request.type, 4);
  bytes.writeUInt16LE(request.flags | NLM_F_REQUEST, 6);
  bytes.writeUInt32LE(sequence >>> 0, 8);
  bytes.set(request.body, HEADER_BYTES);
  return bytes;
}

export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** Port id of the socket whose request caused the message; 0 when that was the kernel itself. */
  readonly portId: number;
  readonly body: Buffer;
}

/** The messages of one datagram. */
export function parseMessages(bytes: Buffer): Message[] {
  const messages: Message[] = [];
  for (let at = 0; at + HEADER_BYTES <= bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    if (length < HEADER_BYTES || at + length > bytes.length) break;
    messages.push({
      type: bytes.readUInt16LE(at + 4),
      flags: bytes.readUInt16LE(at + 6),
      sequence: bytes.readUInt32LE(at + 8),
      portId: bytes.readUInt32LE(at + 12),
      body: bytes.subarray(at + HEADER_BYTES, at + length),
    });
    at += align(length);
  }
  return messages;
}

/** A request that the kernel refused. `code` is the errno name. */
export class NetlinkError extends Error {
  readonly code: string;

  constructor(what: string, errno: number, detail = '') {
    super(`${what}: ${describeErrno(errno)}${detail === '' ? '' : `: ${detail}`}`);
    this.name = 'NetlinkError';
    this.code = errnoName(errno);
  }
}

/**
 * What an NLMSG_ERROR message says: undefined for an acknowledgement.
 *   struct nlmsgerr { s32 error; nlmsghdr request; [the request's body unless capped]; attributes when NLM_F_ACK_TLVS }
 */
export function parseError(message: Message, request: Request | undefined): NetlinkError | undefined {
  const what = request?.what ?? `netlink message ${message.sequence}`;
  if (message.body.length < 4 + HEADER_BYTES) return new NetlinkError(what, EBADMSG, 'the error message of the kernel is cut short');
  const errno = -message.body.readInt32LE(0);
  if (errno === 0) return undefined;
  const echoed = message.flags & NLM_F_CAPPED ? HEADER_BYTES : align(message.body.readUInt32LE(4));
  return new NetlinkError(what, errno, extendedAck(message, 4 + echoed, request));
}

/** What the end of a dump (NLMSG_DONE) says: undefined when all of it was told. `s32 error; attributes when NLM_F_ACK_TLVS` */
export function parseDone(message: Message, request: Request): NetlinkError | undefined {
  const errno = message.body.length < 4 ? 0 : -message.body.readInt32LE(0);
  return errno === 0 ? undefined : new NetlinkError(request.what, errno, extendedAck(message, 4, request));
}

function extendedAck(message: Message, at: number, request: Request | undefined): string {
  if ((message.flags & NLM_F_ACK_TLVS) === 0) return '';
  const attributes = parseAttributes(message.body.subarray(at));
  const text = attributes.get(NLMSGERR_ATTR_MSG);
  const offset = attributes.get(NLMSGERR_ATTR_OFFS);
  const words = text === undefined ? [] : [attributeText(text)];
  if (offset !== undefined && request !== undefined) {
    const at = offset.readUInt32LE(0) - HEADER_BYTES;
    if (at >= 0 && at + ATTRIBUTE_BYTES <= request.body.length)
      words.push(`attribute ${request.body.readUInt16LE(at + 2) & NLA_TYPE_MASK}`);
  }
  const missing = attributes.get(NLMSGERR_ATTR_MISS_TYPE);
  if (missing !== undefined) words.push(`attribute ${missing.readUInt32LE(0)} is missing`);
  return words.join(', ');
}
