// Owns the host's side of the pod network: which ranges are free, forwarding, the bridge. Run at start and whenever something is missing.
import fs from 'node:fs';
import type { NetlinkSocket } from '../runtime/linux/netlink-socket.ts';
import type { AttachmentRecord } from './attachment.ts';
import { type BridgePort, ensureBridge, repairPorts } from './bridge.ts';
import { type Cidr, contains, type Family, formatCidr, parseCidr, parseIp } from './ip.ts';
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

/** Why pods get no IPv6 here; undefined when they do. */
function missingIpv6(): string | undefined {
  if (!fs.existsSync('/proc/net/if_inet6')) return 'this kernel has no IPv6';
  const off = fs.readFileSync('/proc/sys/net/ipv6/conf/all/disable_ipv6', 'utf8').trim() === '1';
  return off ? 'IPv6 is switched off on this machine (net.ipv6.conf.all.disable_ipv6 is 1)' : undefined;
}

/** A range that is no longer configured is served until its last address is released. */
function rangesInUse(podCidrs: readonly Cidr[], records: readonly AttachmentRecord[]): Cidr[] {
  const ranges = [...podCidrs];
  for (const { address, prefixLength } of records.flatMap(({ addresses }) => addresses))
    if (!ranges.some((cidr) => contains(cidr, parseIp(address)))) ranges.push(parseCidr(`${address}/${prefixLength}`));
  return ranges;
}

export async function ensureHost(socket: NetlinkSocket, { bridge, podCidrs, records, onNotice }: HostConfig): Promise<HostNetwork> {
  if (podCidrs.length === 0) throw new Error(`${missingIpv6() ?? 'pods have no range'}: give an IPv4 range with --pod-cidr`);
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
    if (changed.length > 0)
      onNotice(`${changed.map(renderSysctl).join(', ')} set on this machine, to stay, so that pods reach other networks`);
  } catch (error) {
    const { message, cause } = error as Error;
    onNotice(`${message}: ${(cause as Error).message}; pods reach each other and this machine only`);
  }
  return { port: { name: bridge, index, mtu }, cidrs };
}

/** Drops IPv6 ranges where there is no IPv6. */
export function usableCidrs(cidrs: readonly Cidr[], onNotice: (sentence: string) => void): Cidr[] {
  const reason = missingIpv6();
  const dropped = cidrs.filter(({ family }) => family === 6);
  if (reason === undefined || dropped.length === 0) return [...cidrs];
  onNotice(`${reason}: pods get no address of ${dropped.map(formatCidr).join(', ')}`);
  return cidrs.filter(({ family }) => family === 4);
}

/** Families whose rules see what a bridge forwards by itself: br_netfilter's business, which others may have loaded. */
export function bridgeFilter(): Family[] {
  const isOn = (file: string): boolean => fs.existsSync(file) && fs.readFileSync(file, 'utf8').trim() === '1';
  const directory = '/proc/sys/net/bridge/bridge-nf-call-';
  return [...(isOn(`${directory}iptables`) ? [4 as const] : []), ...(isOn(`${directory}ip6tables`) ? [6 as const] : [])];
}

export async function bridgeExists(socket: NetlinkSocket, { name, index }: BridgePort): Promise<boolean> {
  return (await findLink(socket, name))?.index === index;
}
