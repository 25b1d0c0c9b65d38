// Owns traffic control (tc(8)) as values: token buckets, ingress, and filters that redirect all of a link's packets. Pure.
//
//   struct tcmsg { u8 family, pad[3]; s32 ifindex; u32 handle, parent, info; }
import {
  attribute,
  attributeBigU64,
  attributeString,
  attributeText,
  attributeU32,
  listAttributes,
  type Message,
  nested,
  parseAttributes,
} from './netlink.ts';

const TCMSG_BYTES = 20;
const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_TBF_PARMS = 1;
const TCA_TBF_RATE64 = 4;
const TCA_TBF_BURST = 6;
const TCA_U32_CLASSID = 1;
const TCA_U32_SEL = 5;
const TCA_U32_ACT = 7;
const TCA_ACT_KIND = 1;
const TCA_ACT_OPTIONS = 2;
const TCA_MIRRED_PARMS = 2;
const TCA_EGRESS_REDIR = 1;
const TC_ACT_STOLEN = 4;
const TC_U32_TERMINAL = 1;
const TC_LINKLAYER_ETHERNET = 1;
const ETH_P_ALL = 3;
const U32_MAX = 0xffffffffn;
/** PSCHED_SHIFT: the kernel tells a bucket's depth in ticks of 64 ns. */
const TICK_NS = 64n;

export const TC_H_ROOT = 0xffffffff;
export const TC_H_INGRESS = 0xfffffff1;
/** The handle of ingress and clsact, and the parent of ingress' filters: "ffff:". */
export const INGRESS_HANDLE = 0xffff0000;
const CLSACT_PARENTS = { ingress: 0xfffffff2, egress: 0xfffffff3 } as const;
export const clsactParent = (direction: keyof typeof CLSACT_PARENTS): number => CLSACT_PARENTS[direction];

export interface TokenBucket {
  readonly kind: 'tbf';
  readonly rateBytesPerSecond: bigint;
  /** Depth of the bucket. Read back it is right to within a tick's worth of the rate. */
  readonly burstBytes: number;
  /** What may wait for tokens. */
  readonly limitBytes: number;
}

export type QdiscDetails = TokenBucket | { readonly kind: 'ingress' | 'clsact' };

export interface QdiscChange {
  readonly linkIndex: number;
  readonly parent: number;
  /** 0: the kernel chooses. */
  readonly handle?: number;
  /** Not needed to delete. */
  readonly details?: QdiscDetails;
}

function header({
  linkIndex,
  handle = 0,
  parent,
  info = 0,
}: {
  linkIndex: number;
  handle?: number;
  parent: number;
  info?: number;
}): Buffer {
  const bytes = Buffer.alloc(TCMSG_BYTES);
  bytes.writeInt32LE(linkIndex, 4);
  bytes.writeUInt32LE(handle, 8);
  bytes.writeUInt32LE(parent, 12);
  bytes.writeUInt32LE(info >>> 0, 16);
  return bytes;
}

export function encodeQdisc({ details, ...place }: QdiscChange): Buffer {
  return Buffer.concat([
    header(place),
    ...(details === undefined
      ? []
      : [attributeString(TCA_KIND, details.kind), ...(details.kind === 'tbf' ? [encodeTokenBucket(details)] : [])]),
  ]);
}

/**
 * struct tc_tbf_qopt { tc_ratespec rate, peakrate; u32 limit, buffer, mtu; }
 * struct tc_ratespec { u8 cell_log, linklayer; u16 overhead; s16 cell_align; u16 mpu; u32 rate; }
 */
function encodeTokenBucket({ rateBytesPerSecond, burstBytes, limitBytes }: TokenBucket): Buffer {
  const parameters = Buffer.alloc(36);
  // Told here, so that the kernel needs no table of rates to guess it from.
  parameters[1] = TC_LINKLAYER_ETHERNET;
  parameters.writeUInt32LE(Number(rateBytesPerSecond > U32_MAX ? U32_MAX : rateBytesPerSecond), 8);
  parameters.writeUInt32LE(limitBytes, 24);
  return nested(TCA_OPTIONS, [
    attribute(TCA_TBF_PARMS, parameters),
    attributeU32(TCA_TBF_BURST, burstBytes),
    ...(rateBytesPerSecond > U32_MAX ? [attributeBigU64(TCA_TBF_RATE64, rateBytesPerSecond)] : []),
  ]);
}

export interface Qdisc {
  readonly linkIndex: number;
  readonly handle: number;
  readonly parent: number;
  /** "tbf", "ingress", "noqueue", … */
  readonly kind: string;
  /** Of the kinds that are known here. */
  readonly details: QdiscDetails | undefined;
}

const none = Buffer.alloc(0);

export const encodeQdiscDump = (): Buffer => header({ linkIndex: 0, parent: 0 });

export function parseQdisc({ body }: Message): Qdisc {
  const attributes = parseAttributes(body.subarray(TCMSG_BYTES));
  const kind = attributeText(attributes.get(TCA_KIND) ?? none);
  return {
    linkIndex: body.readInt32LE(4),
    handle: body.readUInt32LE(8),
    parent: body.readUInt32LE(12),
    kind,
    details:
      kind === 'tbf'
        ? parseTokenBucket(attributes.get(TCA_OPTIONS) ?? none)
        : kind === 'ingress' || kind === 'clsact'
          ? { kind }
          : undefined,
  };
}

function parseTokenBucket(options: Buffer): TokenBucket | undefined {
  const attributes = parseAttributes(options);
  const parameters = attributes.get(TCA_TBF_PARMS);
  if (parameters === undefined || parameters.length < 36) return undefined;
  const rateBytesPerSecond = attributes.get(TCA_TBF_RATE64)?.readBigUInt64LE(0) ?? BigInt(parameters.readUInt32LE(8));
  const depthNs = BigInt(parameters.readUInt32LE(28)) * TICK_NS;
  return {
    kind: 'tbf',
    rateBytesPerSecond,
    burstBytes: Number((depthNs * rateBytesPerSecond + 500_000_000n) / 1_000_000_000n),
    limitBytes: parameters.readUInt32LE(24),
  };
}

/** One 32-bit word of the packet from its network header on, as `match u32 VALUE MASK at OFFSET`. Numbers in network byte order. */
export interface U32Match {
  readonly value: number;
  readonly mask: number;
  readonly offset: number;
}

export interface FilterChange {
  readonly linkIndex: number;
  readonly parent: number;
  readonly priority: number;
  readonly classId?: number;
  /** All must hold; none: every packet. */
  readonly matches: readonly U32Match[];
  /** Packets leave by this link instead. */
  readonly redirectTo: number;
}

const htons = (value: number): number => ((value & 0xff) << 8) | (value >> 8);

/**
 * A u32 filter with a mirred action.
 * struct tc_u32_sel { u8 flags, offshift, nkeys; be16 offmask; u16 off; s16 offoff, hoff; be32 hmask; tc_u32_key keys[]; }
 * struct tc_u32_key { be32 mask, val; s32 off, offmask; }
 * struct tc_mirred  { u32 index, capab; s32 action, refcnt, bindcnt; s32 eaction; u32 ifindex; }
 */
export function encodeFilter({ linkIndex, parent, priority, classId, matches, redirectTo }: FilterChange): Buffer {
  const keys = matches.length === 0 ? [{ value: 0, mask: 0, offset: 0 }] : matches;
  const selector = Buffer.alloc(16 + 16 * keys.length);
  selector[0] = TC_U32_TERMINAL;
  selector[2] = keys.length;
  for (const [i, { value, mask, offset }] of keys.entries()) {
    selector.writeUInt32BE(mask, 16 + 16 * i);
    selector.writeUInt32BE(value, 20 + 16 * i);
    selector.writeInt32LE(offset, 24 + 16 * i);
  }
  const mirred = Buffer.alloc(28);
  mirred.writeInt32LE(TC_ACT_STOLEN, 8);
  mirred.writeInt32LE(TCA_EGRESS_REDIR, 20);
  mirred.writeUInt32LE(redirectTo, 24);
  return Buffer.concat([
    header({ linkIndex, parent, info: (priority << 16) | htons(ETH_P_ALL) }),
    attributeString(TCA_KIND, 'u32'),
    nested(TCA_OPTIONS, [
      ...(classId === undefined ? [] : [attributeU32(TCA_U32_CLASSID, classId)]),
      attribute(TCA_U32_SEL, selector),
      nested(TCA_U32_ACT, [
        nested(1, [attributeString(TCA_ACT_KIND, 'mirred'), nested(TCA_ACT_OPTIONS, [attribute(TCA_MIRRED_PARMS, mirred)])]),
      ]),
    ]),
  ]);
}

export const encodeFilterDump = (linkIndex: number, parent: number): Buffer => header({ linkIndex, parent });

/** The filter of a message; undefined for the hash tables that u32 lists beside its filters, and for other kinds and actions. */
export function parseFilter({ body }: Message): FilterChange | undefined {
  const attributes = parseAttributes(body.subarray(TCMSG_BYTES));
  const options = parseAttributes(attributes.get(TCA_OPTIONS) ?? none);
  const selector = options.get(TCA_U32_SEL);
  if (attributeText(attributes.get(TCA_KIND) ?? none) !== 'u32' || selector === undefined) return undefined;
  const matches: U32Match[] = [];
  for (let at = 16; at + 16 <= selector.length; at += 16)
    matches.push({ mask: selector.readUInt32BE(at), value: selector.readUInt32BE(at + 4), offset: selector.readInt32LE(at + 8) });
  const mirred = listAttributes(options.get(TCA_U32_ACT) ?? none)
    .map(({ value }) => parseAttributes(value))
    .filter((action) => attributeText(action.get(TCA_ACT_KIND) ?? none) === 'mirred')
    .map((action) => parseAttributes(action.get(TCA_ACT_OPTIONS) ?? none).get(TCA_MIRRED_PARMS))
    .find((parameters) => parameters?.readInt32LE(20) === TCA_EGRESS_REDIR);
  if (mirred === undefined) return undefined;
  const classId = options.get(TCA_U32_CLASSID)?.readUInt32LE(0);
  return {
    linkIndex: body.readInt32LE(4),
    parent: body.readUInt32LE(12),
    priority: body.readUInt32LE(16) >>> 16,
    matches: matches.filter(({ mask }) => mask !== 0),
    redirectTo: mirred.readUInt32LE(24),
    ...(classId === undefined ? {} : { classId }),
  };
}
