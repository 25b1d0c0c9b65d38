// Owns the host's side of the pod network: which ranges are free, forwarding, the bridge. Run at start and whenever something is missing.
import fs from 'node:fs';
import type { NetlinkSocket } from '../runtime/linux/netlink-socket.ts';
import type { AttachmentRecord } from './attachment.ts';
import { type BridgePort, ensureBridge, repairPorts } from './bridge.ts';
import { type Cidr, contains, formatCidr, parseCidr, parseIp } from './ip.ts';
import { deleteLink, findLink, listLinks } from './link.ts';
import { advertisedLinkIndexes, defaultLinkIndex, findClash, listRoutes } from './route.ts';
import { applySysctls, hostSysctls, renderSysctl } from './sysctl.ts';

const DEFAULT_MTU = 1500;

export interface HostConfig {
  readonly bridge: string;
  readonly podCidrs: readonly Cidr[];
  readonly records: readonly AttachmentRecord[];
  readonly onNotice: (sentence: string) => void;
}

export interface HostNetwork {
  readonly port: BridgePort;
  /** Ranges that the bridge serves: the configured ones, and those that sandboxes still have addresses of. */
  readonly cidrs: readonly Cidr[];
}

const hasIpv6 = (): boolean => fs.existsSync('/proc/net/if_inet6');

/** A range that is no longer configured is served until its last address is released. */
function rangesInUse(podCidrs: readonly Cidr[], records: readonly AttachmentRecord[]): Cidr[] {
  const ranges = [...podCidrs];
  for (const { address, prefixLength } of records.flatMap(({ addresses }) => addresses))
    if (!ranges.some((cidr) => contains(cidr, parseIp(address)))) ranges.push(parseCidr(`${address}/${prefixLength}`));
  return ranges;
}

export async function ensureHost(socket: NetlinkSocket, { bridge, podCidrs, records, onNotice }: HostConfig): Promise<HostNetwork> {
  const cidrs = rangesInUse(podCidrs, records);
  const routes = await listRoutes(socket);
  const links = await listLinks(socket);
  const nameOf = (index: number) => links.find((link) => link.index === index)?.name ?? `link ${index}`;
  const clash = findClash(cidrs, routes, links.find((link) => link.name === bridge)?.index ?? -1, nameOf);
  if (clash !== undefined) throw new Error(clash);

  const outward = defaultLinkIndex(routes);
  const mtu = links.find((link) => link.index === outward)?.mtu ?? DEFAULT_MTU;
  const { index } = await ensureBridge(socket, { name: bridge, mtu, cidrs });
  for (const stray of await repairPorts(socket, { index, name: bridge }, records)) await deleteLink(stray);

  const ipv6 = cidrs.some(({ family }) => family === 6);
  try {
    const changed = await applySysctls(hostSysctls(ipv6, advertisedLinkIndexes(routes).map(nameOf)));
    if (changed.length > 0) onNotice(`set ${changed.map(renderSysctl).join(', ')} so that pods reach other networks`);
  } catch (error) {
    const { message, cause } = error as Error;
    onNotice(`${message}: ${(cause as Error).message}; pods reach each other and this machine only`);
  }
  return { port: { name: bridge, index, mtu }, cidrs };
}

/** Drops IPv6 ranges where the kernel has no IPv6. */
export function usableCidrs(cidrs: readonly Cidr[], onNotice: (sentence: string) => void): Cidr[] {
  if (hasIpv6()) return [...cidrs];
  const dropped = cidrs.filter(({ family }) => family === 6);
  if (dropped.length > 0) onNotice(`this kernel has no IPv6: pods get no address of ${dropped.map(formatCidr).join(', ')}`);
  return cidrs.filter(({ family }) => family === 4);
}

export async function bridgeExists(socket: NetlinkSocket, { name, index }: BridgePort): Promise<boolean> {
  return (await findLink(socket, name))?.index === index;
}
