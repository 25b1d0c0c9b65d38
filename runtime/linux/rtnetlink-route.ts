// Owns rtnetlink's addresses, routes and neighbours as values. Pure. Addresses of the network are bytes here, 4 or 16 of them.
import { attribute, attributeString, attributeText, attributeU32, type Message, nested, parseAttributes } from './netlink.ts';
import { formatMac, parseMac } from './rtnetlink-link.ts';

export const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_INET6 = 10;

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_LABEL = 3;
const IFA_BROADCAST = 4;
const IFA_FLAGS = 8;
export const IFA_F_NODAD = 2;
export const IFA_F_NOPREFIXROUTE = 0x200;

const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_METRICS = 8;
const RTA_TABLE = 15;
const RTAX_MTU = 2;
const RTAX_ADVMSS = 8;
const RTNH_F_ONLINK = 4;
export const RT_TABLE_MAIN = 254;
export const RTPROT_BOOT = 3;
export const RTPROT_RA = 9;
export const RTN_UNICAST = 1;
export const RT_SCOPE_UNIVERSE = 0;
export const RT_SCOPE_LINK = 253;

const NDA_DST = 1;
const NDA_LLADDR = 2;
export const NUD_PERMANENT = 0x80;

const IFADDRMSG_BYTES = 8;
const RTMSG_BYTES = 12;
const NDMSG_BYTES = 12;

const none = Buffer.alloc(0);
const familyOf = (bytes: Uint8Array): number => (bytes.length === 4 ? AF_INET : AF_INET6);
const optional = <T>(value: T | undefined, encode: (value: T) => Buffer): Buffer[] => (value === undefined ? [] : [encode(value)]);

export interface LinkAddress {
  readonly index: number;
  readonly bytes: Buffer;
  readonly prefixLength: number;
  /** The other end's, on a point-to-point link. */
  readonly peer?: Buffer;
  readonly broadcast?: Buffer;
  /** IFA_F_… */
  readonly flags?: number;
  readonly scope?: number;
  /** IPv4 alone: the link's name or that and ":…". */
  readonly label?: string;
}

/** struct ifaddrmsg { u8 family, prefixlen, flags, scope; u32 index; } */
function addressHeader(family: number, prefixLength: number, scope: number, index: number): Buffer {
  const bytes = Buffer.alloc(IFADDRMSG_BYTES);
  bytes[0] = family;
  bytes[1] = prefixLength;
  bytes[3] = scope;
  bytes.writeUInt32LE(index, 4);
  return bytes;
}

/** The body of a dump of addresses, of both families by default. */
export const encodeAddressDump = (family = AF_UNSPEC): Buffer => addressHeader(family, 0, 0, 0);

export function encodeAddress({ index, bytes, prefixLength, peer, broadcast, flags, scope = 0, label }: LinkAddress): Buffer {
  return Buffer.concat([
    addressHeader(familyOf(bytes), prefixLength, scope, index),
    attribute(IFA_LOCAL, bytes),
    attribute(IFA_ADDRESS, peer ?? bytes),
    ...optional(broadcast, (value) => attribute(IFA_BROADCAST, value)),
    ...optional(label, (text) => attributeString(IFA_LABEL, text)),
    ...optional(flags, (value) => attributeU32(IFA_FLAGS, value)),
  ]);
}

export function parseLinkAddress({
  body,
}: Message): LinkAddress & { readonly family: number; readonly flags: number; readonly scope: number } {
  const attributes = parseAttributes(body.subarray(IFADDRMSG_BYTES));
  const address = attributes.get(IFA_ADDRESS);
  const local = attributes.get(IFA_LOCAL) ?? address ?? none;
  const broadcast = attributes.get(IFA_BROADCAST);
  const label = attributes.get(IFA_LABEL);
  return {
    family: body.readUInt8(0),
    prefixLength: body.readUInt8(1),
    scope: body.readUInt8(3),
    index: body.readUInt32LE(4),
    bytes: local,
    flags: attributes.get(IFA_FLAGS)?.readUInt32LE(0) ?? body.readUInt8(2),
    ...(address === undefined || address.equals(local) ? {} : { peer: address }),
    ...(broadcast === undefined ? {} : { broadcast }),
    ...(label === undefined ? {} : { label: attributeText(label) }),
  };
}

/** The body of RTM_GETROUTE that asks for the way to one address. */
export function encodeRouteLookup(destination: Buffer): Buffer {
  return Buffer.concat([routeHeader(familyOf(destination), [destination.length * 8]), attribute(RTA_DST, destination)]);
}

export interface RouteChange {
  readonly family: number;
  /** Empty for a default route. */
  readonly destination: Buffer;
  readonly prefixLength: number;
  readonly gateway?: Buffer;
  /** Preferred source address. */
  readonly source?: Buffer;
  readonly linkIndex?: number;
  readonly table?: number;
  readonly protocol?: number;
  readonly scope?: number;
  readonly type?: number;
  readonly priority?: number;
  readonly mtu?: number;
  readonly advmss?: number;
  /** The gateway is on the link, whatever its addresses say. */
  readonly onLink?: boolean;
}

/** struct rtmsg { u8 family, dst_len, src_len, tos, table, protocol, scope, type; u32 flags; } */
function routeHeader(family: number, [prefixLength, table, protocol, scope, type, flags]: readonly number[] = []): Buffer {
  const bytes = Buffer.alloc(RTMSG_BYTES);
  bytes[0] = family;
  bytes[1] = prefixLength ?? 0;
  // The rest of a table's number is in an attribute.
  bytes[4] = (table ?? 0) > 255 ? 0 : (table ?? 0);
  bytes[5] = protocol ?? 0;
  bytes[6] = scope ?? 0;
  bytes[7] = type ?? 0;
  bytes.writeUInt32LE(flags ?? 0, 8);
  return bytes;
}

export const encodeRouteDump = (family: number): Buffer => routeHeader(family);

export function encodeRoute(route: RouteChange): Buffer {
  const { family, destination, prefixLength, table = RT_TABLE_MAIN, protocol = RTPROT_BOOT, type = RTN_UNICAST } = route;
  // As ip-route(8) has it: what needs no gateway is on the link. IPv6 knows no such scope.
  const scope = route.scope ?? (family === AF_INET && route.gateway === undefined ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE);
  const metrics = [
    ...optional(route.mtu, (bytes) => attributeU32(RTAX_MTU, bytes)),
    ...optional(route.advmss, (bytes) => attributeU32(RTAX_ADVMSS, bytes)),
  ];
  return Buffer.concat([
    routeHeader(family, [prefixLength, table, protocol, scope, type, route.onLink ? RTNH_F_ONLINK : 0]),
    ...(prefixLength === 0 ? [] : [attribute(RTA_DST, destination)]),
    ...optional(route.gateway, (bytes) => attribute(RTA_GATEWAY, bytes)),
    ...optional(route.source, (bytes) => attribute(RTA_PREFSRC, bytes)),
    ...optional(route.linkIndex, (index) => attributeU32(RTA_OIF, index)),
    ...optional(route.priority, (value) => attributeU32(RTA_PRIORITY, value)),
    ...(table > 255 ? [attributeU32(RTA_TABLE, table)] : []),
    ...(metrics.length === 0 ? [] : [nested(RTA_METRICS, metrics)]),
  ]);
}

export interface Route extends RouteChange {
  readonly table: number;
  readonly protocol: number;
  readonly scope: number;
  readonly type: number;
  readonly priority: number;
  /** 0 where the route leads to no link (blackhole) or to several. */
  readonly linkIndex: number;
}

export function parseRoute({ body }: Message): Route {
  const attributes = parseAttributes(body.subarray(RTMSG_BYTES));
  const metrics = parseAttributes(attributes.get(RTA_METRICS) ?? none);
  const gateway = attributes.get(RTA_GATEWAY);
  const source = attributes.get(RTA_PREFSRC);
  const mtu = metrics.get(RTAX_MTU)?.readUInt32LE(0);
  const advmss = metrics.get(RTAX_ADVMSS)?.readUInt32LE(0);
  return {
    family: body.readUInt8(0),
    prefixLength: body.readUInt8(1),
    table: attributes.get(RTA_TABLE)?.readUInt32LE(0) ?? body.readUInt8(4),
    protocol: body.readUInt8(5),
    scope: body.readUInt8(6),
    type: body.readUInt8(7),
    destination: attributes.get(RTA_DST) ?? none,
    linkIndex: attributes.get(RTA_OIF)?.readUInt32LE(0) ?? 0,
    priority: attributes.get(RTA_PRIORITY)?.readUInt32LE(0) ?? 0,
    ...(gateway === undefined ? {} : { gateway }),
    ...(source === undefined ? {} : { source }),
    ...(mtu === undefined ? {} : { mtu }),
    ...(advmss === undefined ? {} : { advmss }),
    ...((body.readUInt32LE(8) & RTNH_F_ONLINK) === 0 ? {} : { onLink: true }),
  };
}

export interface Neighbour {
  readonly linkIndex: number;
  readonly bytes: Buffer;
  /** Empty while the kernel looks for it. */
  readonly mac: string;
  /** NUD_… */
  readonly state: number;
}

/** struct ndmsg { u8 family, pad1; u16 pad2; s32 ifindex; u16 state; u8 flags, type; } */
function neighbourHeader(family: number, linkIndex: number, state: number): Buffer {
  const bytes = Buffer.alloc(NDMSG_BYTES);
  bytes[0] = family;
  bytes.writeInt32LE(linkIndex, 4);
  bytes.writeUInt16LE(state, 8);
  return bytes;
}

export const encodeNeighbourDump = (): Buffer => neighbourHeader(AF_UNSPEC, 0, 0);

export function encodeNeighbour({ linkIndex, bytes, mac, state }: Neighbour): Buffer {
  return Buffer.concat([
    neighbourHeader(familyOf(bytes), linkIndex, state),
    attribute(NDA_DST, bytes),
    ...(mac === '' ? [] : [attribute(NDA_LLADDR, parseMac(mac))]),
  ]);
}

export function parseNeighbour({ body }: Message): Neighbour {
  const attributes = parseAttributes(body.subarray(NDMSG_BYTES));
  return {
    linkIndex: body.readInt32LE(4),
    state: body.readUInt16LE(8),
    bytes: attributes.get(NDA_DST) ?? none,
    mac: formatMac(attributes.get(NDA_LLADDR) ?? none),
  };
}
