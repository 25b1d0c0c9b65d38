// Owns the bridge: the link with its addresses on the host, and the step that connects a sandbox to it by a veth pair.
import crypto from 'node:crypto';
import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { NetlinkSocket } from '../runtime/linux/netlink-socket.ts';
import { type Link, parseLink } from '../runtime/linux/rtnetlink-link.ts';
import { addAddress, deleteAddress, listAddresses } from './address.ts';
import type { AttachmentRecord, PodAddress } from './attachment.ts';
import { type Cidr, formatIp, gatewayOf, type IpAddress, ipBytes, parseIp } from './ip.ts';
import { addBridge, addVeth, askLink, deleteLink, findLink, joinBridge, listLinks, setLink, setLinkUp } from './link.ts';
import type { Plugin } from './plugin.ts';
import { addDefaultRoute } from './route.ts';
import { applySysctls, bridgeSysctls } from './sysctl.ts';

export const POD_INTERFACE = 'eth0';

/** The kernel gives every network namespace its lo as the first link. */
export const LOOPBACK_INDEX = 1;

/** How long the kernel may take to end a network namespace, with its veth, after its last process. */
const NETNS_END_MS = 500;
const POLL_MS = 10;

const hash = (text: string): string => crypto.hash('sha256', text);

/** Stable, so that pods' neighbour entries stay right when the bridge is made again; 02 marks it as locally administered. */
function bridgeMac(bridge: string): string {
  return ['02', ...(hash(`bridge ${bridge}`).match(/../g) ?? []).slice(0, 5)].join(':');
}

/** The host's end of a sandbox's veth: "veth" and 11 hex digits fill the 15 characters that IFNAMSIZ leaves. */
export function vethName(bridge: string, sandboxId: string): string {
  return `veth${hash(`${bridge} ${sandboxId}`).slice(0, 11)}`;
}

/** Derived from the address: whoever remembers the last holder of an address has the right MAC for the next one. */
function podMac(address: IpAddress): string {
  return ['0a', '58', ...[...ipBytes(address).subarray(-4)].map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}

export interface BridgeConfig {
  readonly name: string;
  readonly mtu: number;
  readonly cidrs: readonly Cidr[];
}

/** Makes the bridge what it should be; gives its link. What already is right is left alone. */
export async function ensureBridge(socket: NetlinkSocket, { name, mtu, cidrs }: BridgeConfig): Promise<Link> {
  let link = await findLink(socket, name);
  if (link !== undefined && link.kind !== 'bridge') throw new Error(`link ${name} is in the way: it is no bridge`);
  if (link === undefined) {
    await socket.request(addBridge({ name, mac: bridgeMac(name), mtu }));
    link = await findLink(socket, name);
    if (link === undefined) throw new Error(`bridge ${name} went away while it was set up`);
  } else if (!link.up || link.mtu !== mtu) await socket.request(setLink({ name, mtu, up: true }, `set link ${name} up with mtu ${mtu}`));
  const ipv6 = cidrs.some(({ family }) => family === 6);
  await applySysctls(bridgeSysctls(name, { ipv6, kernelIpv6: fs.existsSync('/proc/sys/net/ipv6') }));

  const { index } = link;
  const wanted = cidrs.map((cidr) => ({ linkIndex: index, linkName: name, address: gatewayOf(cidr), prefixLength: cidr.prefixLength }));
  const present = (await listAddresses(socket)).filter(({ linkIndex, address }) => linkIndex === index && !isLinkLocal(address));
  const same = (a: { address: IpAddress; prefixLength: number }) => (b: { address: IpAddress; prefixLength: number }) =>
    a.address.family === b.address.family && a.address.value === b.address.value && a.prefixLength === b.prefixLength;
  const changes = [
    ...present.filter((one) => !wanted.some(same(one))).map((one) => deleteAddress({ ...one, linkName: name })),
    ...wanted.filter((one) => !present.some(same(one))).map(addAddress),
  ];
  if (changes.length > 0) await socket.request(...changes);
  return { ...link, up: true, mtu };
}

const isLinkLocal = ({ family, value }: IpAddress): boolean => family === 6 && value >> 118n === 0x3fan;

/** Puts back the ports that lost their bridge, and gives the names of ports that no record knows. */
export async function repairPorts(
  socket: NetlinkSocket,
  { index, name }: { readonly index: number; readonly name: string },
  records: readonly AttachmentRecord[],
): Promise<string[]> {
  const known = new Set(records.map(({ hostInterface }) => hostInterface));
  const links = await listLinks(socket);
  for (const link of links) if (known.has(link.name) && link.master !== index) await socket.request(...joinBridge(link.name, name, index));
  return links.filter((link) => link.master === index && link.kind === 'veth' && !known.has(link.name)).map((link) => link.name);
}

export interface BridgePort {
  readonly name: string;
  readonly index: number;
  readonly mtu: number;
}

/** The step between a sandbox and the bridge. `bridge` gives what ensureBridge found last. */
export function bridgePlugin(socket: NetlinkSocket, bridge: () => BridgePort): Plugin {
  return {
    type: 'bridge',
    add: async (record, { netnsFd, sandbox }) => {
      const { name, index, mtu } = bridge();
      const [primary] = record.addresses;
      if (primary === undefined) throw new Error(`sandbox ${record.sandboxId} has no address`);
      const mac = podMac(parseIp(primary.address));
      const [answer] = await socket.request(
        ...addVeth({
          name: record.hostInterface,
          bridge: name,
          bridgeIndex: index,
          mtu,
          alias: record.sandboxId,
          peerName: record.interfaceName,
          peerMac: mac,
          netnsFd,
        }),
        askLink(record.hostInterface),
      );
      if (answer === undefined) throw new Error(`${record.hostInterface} went away while it was set up`);
      await sandbox.request(...configureSandbox(peerIndex(parseLink(answer)), record.interfaceName, record.addresses));
      return { ...record, mac };
    },
    del: async ({ hostInterface, netnsPath, netnsId }) => {
      if (!isNetns(netnsPath, netnsId) && (await vanishes(socket, hostInterface))) return;
      await deleteLink(hostInterface);
    },
  };
}

/** A veth whose peer happens to have the same index in its namespace names no other. */
const peerIndex = ({ index, parent }: Link): number => (parent === 0 ? index : parent);

/** lo, in case whoever made the namespace did not see to it; addresses, then up, then the routes that need both: one datagram. */
function configureSandbox(index: number, name: string, addresses: readonly PodAddress[]) {
  return [
    setLinkUp(LOOPBACK_INDEX, 'lo'),
    ...addresses.map(({ address, prefixLength }) =>
      addAddress({ linkIndex: index, linkName: name, address: parseIp(address), prefixLength }),
    ),
    setLinkUp(index, name),
    ...addresses.map(({ gateway }) => addDefaultRoute(parseIp(gateway), index, name)),
  ];
}

/** Identity of a network namespace from a path to it or an open descriptor. */
export function netnsIdOf(netns: string | number): string {
  const { dev, ino } = typeof netns === 'number' ? fs.fstatSync(netns) : fs.statSync(netns);
  return `${dev}:${ino}`;
}

function isNetns(netnsPath: string, netnsId: string): boolean {
  try {
    return netnsIdOf(netnsPath) === netnsId;
  } catch {
    return false;
  }
}

/** Waits for the kernel to end a namespace and its veth with it: many at once cost it no more than one, unlike deletions. */
async function vanishes(socket: NetlinkSocket, name: string): Promise<boolean> {
  const deadline = Date.now() + NETNS_END_MS;
  while ((await findLink(socket, name)) !== undefined) {
    if (Date.now() > deadline) return false;
    await delay(POLL_MS);
  }
  return true;
}

/** What a sandbox is given of a range: the address, and the bridge as its gateway. */
export function podAddress(cidr: Cidr, address: IpAddress): PodAddress {
  return { address: formatIp(address), prefixLength: cidr.prefixLength, gateway: formatIp(gatewayOf(cidr)) };
}
