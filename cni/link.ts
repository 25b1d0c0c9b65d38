// Owns links: requests as ip-link(8) names them, and reading links back.
import { hasCode } from '../runtime/linux/errno.ts';
import { NLM_F_CREATE, NLM_F_EXCL, type Request } from '../runtime/linux/netlink.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../runtime/linux/netlink-socket.ts';
import { RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK, RTM_SETLINK } from '../runtime/linux/rtnetlink.ts';
import {
  encodeLink,
  encodePortVlan,
  encodePortVlanDump,
  type Link,
  type LinkChange,
  type LinkDetails,
  type PortVlan,
  parseLink,
  parsePortVlans,
} from '../runtime/linux/rtnetlink-link.ts';

/** `what` tells more than the kind and the name, for errors. */
export function addLink(
  change: LinkChange & { readonly details: LinkDetails },
  what = `add ${change.details.kind} ${change.name}`,
): Request {
  return { type: RTM_NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL, what, body: encodeLink(change) };
}

export function setLink(change: LinkChange, what: string): Request {
  return { type: RTM_NEWLINK, flags: 0, what, body: encodeLink(change) };
}

export function setLinkUp(index: number, name: string): Request {
  return setLink({ index, up: true }, `set ${name} up`);
}

export interface BridgeLink {
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
}

/** A MAC that was set is kept; a bridge without one takes the lowest of its ports', which changes as pods come and go. */
export function addBridge({ name, mac, mtu }: BridgeLink): Request {
  return addLink({ name, mac, mtu, up: true, details: { kind: 'bridge' } });
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
export function addVeth({ name, bridge, bridgeIndex, mtu, alias, peerName, peerMac, netnsFd }: VethLink): Request[] {
  const peer: LinkChange = { name: peerName, mac: peerMac, mtu, netnsFd };
  const pair: LinkChange & { details: LinkDetails } = { name, mtu, master: bridgeIndex, up: true, details: { kind: 'veth', peer } };
  return [addLink(pair, `add veth ${name} with peer ${peerName} to ${bridge}`), setHairpin(name, alias)];
}

/** A pod that connects to its own hostPort is answered through the port that it came in by. */
function setHairpin(name: string, alias?: string): Request {
  return setLink({ name, ...(alias === undefined ? {} : { alias }), port: { hairpin: true } }, `set hairpin mode on ${name}`);
}

/** Two requests for one datagram: makes an existing veth a port of the bridge again. */
export function joinBridge(name: string, bridge: string, bridgeIndex: number): Request[] {
  return [setLink({ name, up: true, master: bridgeIndex }, `add ${name} to ${bridge}`), setHairpin(name)];
}

/** As `bridge vlan add dev NAME vid ID [pvid] [untagged]`. */
export function addPortVlan(index: number, name: string, vlan: PortVlan, self = false): Request {
  return { type: RTM_SETLINK, flags: 0, what: `add VLAN ${vlan.id} to ${name}`, body: encodePortVlan(index, vlan, self) };
}

export function deletePortVlan(index: number, name: string, id: number): Request {
  const body = encodePortVlan(index, { id, pvid: false, untagged: false });
  return { type: RTM_DELLINK, flags: 0, what: `delete VLAN ${id} from ${name}`, body };
}

/** VLANs by the index of the bridge or port. */
export async function listPortVlans(socket: NetlinkSocket): Promise<Map<number, readonly PortVlan[]>> {
  const messages = await socket.dump({ type: RTM_GETLINK, flags: 0, what: 'list VLANs of bridges', body: encodePortVlanDump() });
  return new Map(messages.map(parsePortVlans).map(({ index, vlans }) => [index, vlans]));
}

/** Asks for one link: the answer comes as a message for parseLink. */
export function askLink(name: string): Request {
  return { type: RTM_GETLINK, flags: 0, what: `get link ${name}`, body: encodeLink({ name }) };
}

/** The link of that name, undefined when there is none. */
export async function findLink(socket: NetlinkSocket, name: string): Promise<Link | undefined> {
  const { messages, errors } = await socket.exchange([askLink(name)]);
  const [error] = errors;
  if (error !== undefined) {
    if (error.code === 'ENODEV') return undefined;
    throw error;
  }
  const [message] = messages;
  return message === undefined ? undefined : parseLink(message);
}

/** The link of that name; an error when there is none. */
export async function getLink(socket: NetlinkSocket, name: string): Promise<Link> {
  const link = await findLink(socket, name);
  if (link === undefined) throw Object.assign(new Error(`there is no link ${name}`), { code: 'ENODEV' });
  return link;
}

export async function listLinks(socket: NetlinkSocket): Promise<Link[]> {
  const messages = await socket.dump({ type: RTM_GETLINK, flags: 0, what: 'list links', body: encodeLink({}) });
  return messages.map(parseLink);
}

/**
 * Deletes a link of this namespace, or of that of `netnsFd`; absent is success. It takes some 20 ms under the kernel's link lock, so it
 * has a socket of its own for others not to queue behind it.
 */
export async function deleteLink(name: string, netnsFd?: number): Promise<void> {
  const socket = new NetlinkSocket(NETLINK_ROUTE, netnsFd);
  try {
    await socket.request({ type: RTM_DELLINK, flags: 0, what: `delete link ${name}`, body: encodeLink({ name }) });
  } catch (error) {
    if (!hasCode(error, 'ENODEV')) throw error;
  } finally {
    socket.close();
  }
}
