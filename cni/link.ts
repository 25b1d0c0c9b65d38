// Owns links: bridge and veth requests as ip-link(8) names them, and reading links back.
import {
  attribute,
  attributeString,
  attributeU8,
  attributeU32,
  NLM_F_CREATE,
  NLM_F_EXCL,
  nested,
  type Request,
} from '../runtime/linux/netlink.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../runtime/linux/netlink-socket.ts';
import {
  IFF_UP,
  IFLA_ADDRESS,
  IFLA_BRPORT_MODE,
  IFLA_IFALIAS,
  IFLA_IFNAME,
  IFLA_INFO_DATA,
  IFLA_INFO_KIND,
  IFLA_INFO_SLAVE_DATA,
  IFLA_INFO_SLAVE_KIND,
  IFLA_LINKINFO,
  IFLA_MASTER,
  IFLA_MTU,
  IFLA_NET_NS_FD,
  type Link,
  linkHeader,
  parseLink,
  RTM_DELLINK,
  RTM_GETLINK,
  RTM_NEWLINK,
  VETH_INFO_PEER,
} from '../runtime/linux/rtnetlink.ts';

const macBytes = (mac: string): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex');

export interface BridgeLink {
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
}

export function addBridge({ name, mac, mtu }: BridgeLink): Request {
  return {
    type: RTM_NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    what: `add bridge ${name}`,
    body: Buffer.concat([
      linkHeader({ flags: IFF_UP }),
      attributeString(IFLA_IFNAME, name),
      // An address that was set is kept; a bridge without one takes the lowest of its ports', which changes as pods come and go.
      attribute(IFLA_ADDRESS, macBytes(mac)),
      attributeU32(IFLA_MTU, mtu),
      nested(IFLA_LINKINFO, [attributeString(IFLA_INFO_KIND, 'bridge')]),
    ]),
  };
}

export function setLink(name: string, { mtu }: { readonly mtu: number }): Request {
  return {
    type: RTM_NEWLINK,
    flags: 0,
    what: `set link ${name} up with mtu ${mtu}`,
    body: Buffer.concat([linkHeader({ flags: IFF_UP }), attributeString(IFLA_IFNAME, name), attributeU32(IFLA_MTU, mtu)]),
  };
}

export interface VethLink {
  /** The host's end. */
  readonly name: string;
  readonly bridge: string;
  readonly bridgeIndex: number;
  readonly mtu: number;
  /** Shown by `ip link` as the alias of the host's end. */
  readonly alias: string;
  readonly peerName: string;
  readonly peerMac: string;
  /** The peer is created in this namespace under its final name: it never exists on the host. */
  readonly netnsFd: number;
}

/** Two requests for one datagram: the pair, its host end a port of the bridge and up; then hairpin mode on that port. */
export function addVeth(veth: VethLink): Request[] {
  const peer = Buffer.concat([
    linkHeader(),
    attributeString(IFLA_IFNAME, veth.peerName),
    attribute(IFLA_ADDRESS, macBytes(veth.peerMac)),
    attributeU32(IFLA_MTU, veth.mtu),
    attributeU32(IFLA_NET_NS_FD, veth.netnsFd),
  ]);
  const pair: Request = {
    type: RTM_NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    what: `add veth ${veth.name} with peer ${veth.peerName} to ${veth.bridge}`,
    body: Buffer.concat([
      linkHeader({ flags: IFF_UP }),
      attributeString(IFLA_IFNAME, veth.name),
      attributeU32(IFLA_MTU, veth.mtu),
      attributeU32(IFLA_MASTER, veth.bridgeIndex),
      nested(IFLA_LINKINFO, [attributeString(IFLA_INFO_KIND, 'veth'), nested(IFLA_INFO_DATA, [nested(VETH_INFO_PEER, [peer])])]),
    ]),
  };
  return [pair, setPort(veth.name, veth.alias)];
}

/** Hairpin: a pod that connects to its own hostPort is answered through the port that it came in by. */
function setPort(name: string, alias?: string): Request {
  return {
    type: RTM_NEWLINK,
    flags: 0,
    what: `set hairpin mode on ${name}`,
    body: Buffer.concat([
      linkHeader(),
      attributeString(IFLA_IFNAME, name),
      ...(alias === undefined ? [] : [attributeString(IFLA_IFALIAS, alias)]),
      nested(IFLA_LINKINFO, [
        attributeString(IFLA_INFO_SLAVE_KIND, 'bridge'),
        nested(IFLA_INFO_SLAVE_DATA, [attributeU8(IFLA_BRPORT_MODE, 1)]),
      ]),
    ]),
  };
}

/** Two requests for one datagram: makes an existing veth a port of the bridge again. */
export function joinBridge(name: string, bridge: string, bridgeIndex: number): Request[] {
  const join: Request = {
    type: RTM_NEWLINK,
    flags: 0,
    what: `add ${name} to ${bridge}`,
    body: Buffer.concat([linkHeader({ flags: IFF_UP }), attributeString(IFLA_IFNAME, name), attributeU32(IFLA_MASTER, bridgeIndex)]),
  };
  return [join, setPort(name)];
}

export function setLinkUp(index: number, name: string): Request {
  return { type: RTM_NEWLINK, flags: 0, what: `set ${name} up`, body: linkHeader({ index, flags: IFF_UP }) };
}

function getLink(name: string): Request {
  return {
    type: RTM_GETLINK,
    flags: 0,
    what: `get link ${name}`,
    body: Buffer.concat([linkHeader(), attributeString(IFLA_IFNAME, name)]),
  };
}

/** The link of that name, undefined when there is none. */
export async function findLink(socket: NetlinkSocket, name: string): Promise<Link | undefined> {
  const { messages, errors } = await socket.exchange([getLink(name)]);
  const [error] = errors;
  if (error !== undefined) {
    if (error.code === 'ENODEV') return undefined;
    throw error;
  }
  const [message] = messages;
  return message === undefined ? undefined : parseLink(message);
}

export async function listLinks(socket: NetlinkSocket): Promise<Link[]> {
  const messages = await socket.dump({ type: RTM_GETLINK, flags: 0, what: 'list links', body: linkHeader() });
  return messages.map(parseLink);
}

/**
 * Deletes a link of this namespace; absent is success. It takes some 20 ms under the kernel's link lock, so it has a socket of its own
 * for others not to queue behind it.
 */
export async function deleteLink(name: string): Promise<void> {
  const socket = new NetlinkSocket(NETLINK_ROUTE);
  try {
    const body = Buffer.concat([linkHeader(), attributeString(IFLA_IFNAME, name)]);
    await socket.request({ type: RTM_DELLINK, flags: 0, what: `delete link ${name}`, body });
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ENODEV') throw error;
  } finally {
    socket.close();
  }
}
