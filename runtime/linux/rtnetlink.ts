// Owns rtnetlink's message numbers and family headers (rtnetlink(7)): links, addresses, routes. Pure; what to do with them is the caller's.
import { attributeText, type Message, parseAttributes } from './netlink.ts';

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;
export const RTM_NEWROUTE = 24;
export const RTM_GETROUTE = 26;

export const AF_INET = 2;
export const AF_INET6 = 10;

export const IFF_UP = 1;
export const IFLA_ADDRESS = 1;
export const IFLA_IFNAME = 3;
export const IFLA_MTU = 4;
export const IFLA_MASTER = 10;
export const IFLA_LINKINFO = 18;
export const IFLA_IFALIAS = 20;
export const IFLA_STATS64 = 23;
export const IFLA_NET_NS_FD = 28;
export const IFLA_INFO_KIND = 1;
export const IFLA_INFO_DATA = 2;
export const IFLA_INFO_SLAVE_KIND = 4;
export const IFLA_INFO_SLAVE_DATA = 5;
export const VETH_INFO_PEER = 1;
export const IFLA_BRPORT_MODE = 4;

export const IFA_ADDRESS = 1;
export const IFA_LOCAL = 2;
export const IFA_F_NODAD = 2;

export const RTA_DST = 1;
export const RTA_OIF = 4;
export const RTA_GATEWAY = 5;
export const RTA_PRIORITY = 6;
export const RT_TABLE_MAIN = 254;
export const RTPROT_BOOT = 3;
export const RTPROT_RA = 9;
export const RTN_UNICAST = 1;

const IFINFOMSG_BYTES = 16;
const IFADDRMSG_BYTES = 8;
const RTMSG_BYTES = 12;

/** struct ifinfomsg { u8 family, pad; u16 type; s32 index; u32 flags; u32 change; } */
export function linkHeader({ index = 0, flags = 0 }: { readonly index?: number; readonly flags?: number } = {}): Buffer {
  const bytes = Buffer.alloc(IFINFOMSG_BYTES);
  bytes.writeInt32LE(index, 4);
  bytes.writeUInt32LE(flags, 8);
  // Only the flags that are set here are changed.
  bytes.writeUInt32LE(flags, 12);
  return bytes;
}

export interface Link {
  readonly index: number;
  readonly name: string;
  readonly up: boolean;
  readonly mtu: number;
  /** "0a:58:0a:f4:00:05"; empty where a link has none. */
  readonly mac: string;
  /** Index of the bridge that it is a port of; 0 for none. */
  readonly master: number;
  /** "bridge", "veth", …; empty for hardware. */
  readonly kind: string;
}

export function parseLink({ body }: Message): Link {
  const attributes = parseAttributes(body.subarray(IFINFOMSG_BYTES));
  const info = parseAttributes(attributes.get(IFLA_LINKINFO) ?? Buffer.alloc(0));
  return {
    index: body.readInt32LE(4),
    up: (body.readUInt32LE(8) & IFF_UP) !== 0,
    name: attributeText(attributes.get(IFLA_IFNAME) ?? Buffer.alloc(0)),
    mtu: attributes.get(IFLA_MTU)?.readUInt32LE(0) ?? 0,
    mac: [...(attributes.get(IFLA_ADDRESS) ?? [])].map((byte) => byte.toString(16).padStart(2, '0')).join(':'),
    master: attributes.get(IFLA_MASTER)?.readUInt32LE(0) ?? 0,
    kind: attributeText(info.get(IFLA_INFO_KIND) ?? Buffer.alloc(0)),
  };
}

export interface AddressHeader {
  readonly family: number;
  readonly prefixLength: number;
  readonly index: number;
  readonly flags?: number;
}

/** struct ifaddrmsg { u8 family, prefixlen, flags, scope; u32 index; } */
export function addressHeader({ family, prefixLength, index, flags = 0 }: AddressHeader): Buffer {
  const bytes = Buffer.alloc(IFADDRMSG_BYTES);
  bytes[0] = family;
  bytes[1] = prefixLength;
  bytes[2] = flags;
  bytes.writeUInt32LE(index, 4);
  return bytes;
}

export interface LinkTraffic {
  readonly name: string;
  readonly receive: TrafficCounts;
  readonly transmit: TrafficCounts;
}

export interface TrafficCounts {
  readonly bytes: bigint;
  readonly packets: bigint;
  readonly errors: bigint;
  readonly dropped: bigint;
}

/** struct rtnl_link_stats64 { u64 rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errors, tx_errors, rx_dropped, tx_dropped, …; } */
export function parseLinkTraffic({ body }: Message): LinkTraffic | undefined {
  const attributes = parseAttributes(body.subarray(IFINFOMSG_BYTES));
  const counts = attributes.get(IFLA_STATS64);
  if (counts === undefined || counts.length < 64) return undefined;
  const direction = (first: number): TrafficCounts => {
    const [packets = 0n, bytes = 0n, errors = 0n, dropped = 0n] = [0, 16, 32, 48].map((at) => counts.readBigUInt64LE(at + first));
    return { packets, bytes, errors, dropped };
  };
  return { name: attributeText(attributes.get(IFLA_IFNAME) ?? Buffer.alloc(0)), receive: direction(0), transmit: direction(8) };
}

export interface LinkAddress {
  readonly family: number;
  readonly prefixLength: number;
  readonly index: number;
  readonly bytes: Buffer;
}

export function parseLinkAddress({ body }: Message): LinkAddress {
  const attributes = parseAttributes(body.subarray(IFADDRMSG_BYTES));
  return {
    family: body.readUInt8(0),
    prefixLength: body.readUInt8(1),
    index: body.readUInt32LE(4),
    // IFA_ADDRESS is the other end's on a point-to-point link.
    bytes: attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS) ?? Buffer.alloc(0),
  };
}

export interface RouteHeader {
  readonly family: number;
  readonly prefixLength?: number;
  readonly table?: number;
  readonly protocol?: number;
  readonly type?: number;
}

/** struct rtmsg { u8 family, dst_len, src_len, tos, table, protocol, scope, type; u32 flags; } */
export function routeHeader({ family, prefixLength = 0, table = 0, protocol = 0, type = 0 }: RouteHeader): Buffer {
  const bytes = Buffer.alloc(RTMSG_BYTES);
  bytes[0] = family;
  bytes[1] = prefixLength;
  bytes[4] = table;
  bytes[5] = protocol;
  bytes[7] = type;
  return bytes;
}

export interface Route {
  readonly family: number;
  /** Empty for a default route. */
  readonly destination: Buffer;
  readonly prefixLength: number;
  readonly table: number;
  readonly protocol: number;
  /** 0 where the route leads to no link (blackhole) or to several. */
  readonly linkIndex: number;
  readonly priority: number;
}

export function parseRoute({ body }: Message): Route {
  const attributes = parseAttributes(body.subarray(RTMSG_BYTES));
  return {
    family: body.readUInt8(0),
    prefixLength: body.readUInt8(1),
    table: body.readUInt8(4),
    protocol: body.readUInt8(5),
    destination: attributes.get(RTA_DST) ?? Buffer.alloc(0),
    linkIndex: attributes.get(RTA_OIF)?.readUInt32LE(0) ?? 0,
    priority: attributes.get(RTA_PRIORITY)?.readUInt32LE(0) ?? 0,
  };
}
