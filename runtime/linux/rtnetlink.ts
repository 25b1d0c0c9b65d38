// Owns rtnetlink's message numbers, the link's header, and the traffic counts of links (rtnetlink(7)). Pure; rtnetlink-link.ts,
// rtnetlink-route.ts and rtnetlink-traffic.ts own what messages say.
import { attributeText, type Message, parseAttributes } from './netlink.ts';

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_SETLINK = 19;
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;
export const RTM_NEWNEIGH = 28;
export const RTM_GETNEIGH = 30;
export const RTM_NEWQDISC = 36;
export const RTM_DELQDISC = 37;
export const RTM_GETQDISC = 38;
export const RTM_NEWTFILTER = 44;
export const RTM_GETTFILTER = 46;

const IFLA_IFNAME = 3;
const IFLA_STATS64 = 23;
export const IFINFOMSG_BYTES = 16;

interface LinkHeader {
  readonly family?: number;
  readonly index?: number;
  readonly flags?: number;
  /** Which of the flags are told; the others stay. */
  readonly mask?: number;
}

/** struct ifinfomsg { u8 family, pad; u16 type; s32 index; u32 flags; u32 change; } */
export function linkHeader({ family = 0, index = 0, flags = 0, mask = flags }: LinkHeader = {}): Buffer {
  const bytes = Buffer.alloc(IFINFOMSG_BYTES);
  bytes[0] = family;
  bytes.writeInt32LE(index, 4);
  bytes.writeUInt32LE(flags, 8);
  bytes.writeUInt32LE(mask, 12);
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
