// Owns addresses on links: requests as ip-address(8) names them, and reading them back.
import { NLM_F_CREATE, NLM_F_EXCL, type Request } from '../runtime/linux/netlink.ts';
import type { NetlinkSocket } from '../runtime/linux/netlink-socket.ts';
import { RTM_DELADDR, RTM_GETADDR, RTM_NEWADDR } from '../runtime/linux/rtnetlink.ts';
import {
  AF_INET,
  AF_INET6,
  encodeAddress,
  encodeAddressDump,
  IFA_F_NODAD,
  IFA_F_NOPREFIXROUTE,
  parseLinkAddress,
} from '../runtime/linux/rtnetlink-route.ts';
import { formatIp, type IpAddress, ipBytes, ipFromBytes } from './ip.ts';

export interface InterfaceAddress {
  readonly linkIndex: number;
  /** For error messages. */
  readonly linkName: string;
  readonly address: IpAddress;
  readonly prefixLength: number;
  /** No route to the others of its prefix by this link. */
  readonly noPrefixRoute?: boolean;
}

function body({ linkIndex, address, prefixLength, noPrefixRoute }: InterfaceAddress): Buffer {
  // Duplicate address detection would hold an IPv6 address back for a second; these come from our own leases.
  const flags = (address.family === 6 ? IFA_F_NODAD : 0) | (noPrefixRoute ? IFA_F_NOPREFIXROUTE : 0);
  return encodeAddress({ index: linkIndex, bytes: ipBytes(address), prefixLength, ...(flags === 0 ? {} : { flags }) });
}

const text = ({ address, prefixLength }: InterfaceAddress): string => `${formatIp(address)}/${prefixLength}`;

export function addAddress(address: InterfaceAddress): Request {
  return {
    type: RTM_NEWADDR,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    what: `add address ${text(address)} to ${address.linkName}`,
    body: body(address),
  };
}

export function deleteAddress(address: InterfaceAddress): Request {
  return { type: RTM_DELADDR, flags: 0, what: `delete address ${text(address)} from ${address.linkName}`, body: body(address) };
}

export async function listAddresses(socket: NetlinkSocket): Promise<Omit<InterfaceAddress, 'linkName'>[]> {
  const messages = await socket.dump({ type: RTM_GETADDR, flags: 0, what: 'list addresses', body: encodeAddressDump() });
  return messages
    .map(parseLinkAddress)
    .filter(({ family }) => family === AF_INET || family === AF_INET6)
    .map(({ index, prefixLength, bytes }) => ({ linkIndex: index, prefixLength, address: ipFromBytes(bytes) }));
}
