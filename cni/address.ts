// Owns addresses on links: requests as ip-address(8) names them, and reading them back.
import { attribute, NLM_F_CREATE, NLM_F_EXCL, type Request } from '../runtime/linux/netlink.ts';
import type { NetlinkSocket } from '../runtime/linux/netlink-socket.ts';
import {
  AF_INET,
  AF_INET6,
  addressHeader,
  IFA_ADDRESS,
  IFA_F_NODAD,
  IFA_LOCAL,
  parseLinkAddress,
  RTM_DELADDR,
  RTM_GETADDR,
  RTM_NEWADDR,
} from '../runtime/linux/rtnetlink.ts';
import { formatIp, type IpAddress, ipBytes, ipFromBytes } from './ip.ts';

export interface InterfaceAddress {
  readonly linkIndex: number;
  /** For error messages. */
  readonly linkName: string;
  readonly address: IpAddress;
  readonly prefixLength: number;
}

function body({ linkIndex, address, prefixLength }: InterfaceAddress): Buffer {
  // Duplicate address detection would hold an IPv6 address back for a second; these come from our own leases.
  const header = addressHeader({
    family: address.family === 4 ? AF_INET : AF_INET6,
    prefixLength,
    index: linkIndex,
    flags: address.family === 6 ? IFA_F_NODAD : 0,
  });
  const bytes = ipBytes(address);
  return Buffer.concat([header, attribute(IFA_LOCAL, bytes), attribute(IFA_ADDRESS, bytes)]);
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
  const messages = await socket.dump({
    type: RTM_GETADDR,
    flags: 0,
    what: 'list addresses',
    body: addressHeader({ family: 0, prefixLength: 0, index: 0 }),
  });
  return messages
    .map(parseLinkAddress)
    .filter(({ family }) => family === AF_INET || family === AF_INET6)
    .map(({ index, prefixLength, bytes }) => ({ linkIndex: index, prefixLength, address: ipFromBytes(bytes) }));
}
