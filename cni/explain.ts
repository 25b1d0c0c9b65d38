// Owns what there is between a pod and the world, read from the kernel: links, addresses, routes, counters, and the rules that translate.
// For people who want to see how it works: each part has the command that shows it by hand.
import fs from 'node:fs';
import type {
  ExplainedCount,
  ExplainedLink,
  ExplainedNat,
  ExplainedNetwork,
  ExplainedRule,
  ExplainedTraffic,
} from '../cri-proto/explained-network.ts';
import type { NetlinkSocket } from '../runtime/linux/netlink-socket.ts';
import { NETLINK_ROUTE, NetlinkSocket as Socket } from '../runtime/linux/netlink-socket.ts';
import { type LinkTraffic, linkHeader, parseLinkTraffic, RTM_GETLINK } from '../runtime/linux/rtnetlink.ts';
import { type Link, parseLink } from '../runtime/linux/rtnetlink-link.ts';
import type { Route } from '../runtime/linux/rtnetlink-route.ts';
import { listAddresses } from './address.ts';
import type { AttachmentRecord } from './attachment.ts';
import { planHostPorts } from './host-port.ts';
import { formatCidr, formatIp, type IpAddress, ipFromBytes, parseIp } from './ip.ts';
import type { Counted } from './nat.ts';
import { type Count, formatCount } from './nft-counter.ts';
import { type HostPort, hostPortPlace, planRules, ruleKey, type TableConfig } from './nft-table.ts';
import { defaultLinkIndex, listRoutes } from './route.ts';

export interface ExplainInput {
  readonly netnsPath: string;
  readonly ips: readonly string[];
  /** The veth's end on the machine; "" when there is none. */
  readonly hostInterface: string;
  /** rtnetlink of the machine. */
  readonly socket: NetlinkSocket;
  readonly nat?: ExplainedNat;
  /** Name of the configuration list that the pod was attached by. */
  readonly confList?: string;
}

export async function explainNetwork(input: ExplainInput): Promise<ExplainedNetwork> {
  const { netnsPath, ips, hostInterface, socket, nat, confList } = input;
  const host = await readNamespace(socket);
  const uplink = defaultLinkIndex(host.routes);
  const find = (matches: (link: Link) => boolean, commands: (name: string) => readonly string[]): ExplainedLink | undefined => {
    const link = host.links.find(matches);
    return link === undefined ? undefined : explainLink(link, host, commands(link.name));
  };
  const port = find(
    ({ name }) => name === hostInterface,
    (name) => [`ip -d -s link show dev ${name}`],
  );
  const bridgeLink = find(
    ({ name }) => name === port?.port?.bridge,
    (name) => [`ip -s addr show dev ${name}`, `ip link show master ${name}`, `bridge fdb show br ${name}`],
  );
  const out = find(
    ({ index }) => index === uplink,
    (name) => [`ip -s addr show dev ${name}`, 'ip route', 'ip -6 route'],
  );
  return {
    ...{ netns: netnsPath, ips },
    pod: await explainPod(netnsPath),
    host: {
      ...(port === undefined ? {} : { port }),
      ...(bridgeLink === undefined ? {} : { bridge: bridgeLink }),
      ...(out === undefined ? {} : { uplink: out }),
    },
    ...(nat === undefined ? {} : { nat }),
    ...(confList === undefined ? {} : { confList }),
  };
}

async function explainPod(netnsPath: string): Promise<readonly ExplainedLink[]> {
  const netns = fs.openSync(netnsPath, 'r');
  let socket: NetlinkSocket;
  try {
    socket = new Socket(NETLINK_ROUTE, netns);
  } finally {
    fs.closeSync(netns);
  }
  try {
    const namespace = await readNamespace(socket);
    const enter = `nsenter --net=${netnsPath}`;
    return namespace.links
      .filter(({ name }) => name !== 'lo')
      .map((link) => {
        const commands = [`${enter} ip -s addr show dev ${link.name}`, `${enter} ip route`, `${enter} ip -6 route`];
        return explainLink(link, namespace, commands);
      });
  } finally {
    socket.close();
  }
}

interface Namespace {
  readonly links: readonly Link[];
  readonly traffic: ReadonlyMap<string, LinkTraffic>;
  readonly addresses: readonly { readonly linkIndex: number; readonly prefixLength: number; readonly address: IpAddress }[];
  readonly routes: readonly Route[];
}

async function readNamespace(socket: NetlinkSocket): Promise<Namespace> {
  const messages = await socket.dump({ type: RTM_GETLINK, flags: 0, what: 'list links with their counters', body: linkHeader() });
  const traffic = messages.map(parseLinkTraffic).filter((one) => one !== undefined);
  return {
    links: messages.map(parseLink),
    traffic: new Map(traffic.map((one) => [one.name, one])),
    addresses: await listAddresses(socket),
    routes: await listRoutes(socket),
  };
}

function explainLink(link: Link, { links, traffic, addresses, routes }: Namespace, commands: readonly string[]): ExplainedLink {
  const counts = traffic.get(link.name);
  const { name, kind, index, mac, mtu, up, parent } = link;
  return {
    ...{ name, kind, index, mac, mtu, up, commands },
    peer: kind === 'veth' ? parent : 0,
    addresses: addresses
      .filter(({ linkIndex }) => linkIndex === index)
      .map(({ address, prefixLength }) => `${formatIp(address)}/${prefixLength}`),
    routes: routes.filter(({ linkIndex }) => linkIndex === index).map(renderRoute),
    received: explainTraffic(counts?.receive),
    sent: explainTraffic(counts?.transmit),
    ...(kind === 'bridge' ? { ports: links.filter(({ master }) => master === index).length } : {}),
    ...(link.port === undefined ? {} : { port: { bridge: links.find((one) => one.index === link.master)?.name ?? '', ...link.port } }),
  };
}

const explainTraffic = (counts: LinkTraffic['receive'] | undefined): ExplainedTraffic => ({
  packets: Number(counts?.packets ?? 0),
  bytes: Number(counts?.bytes ?? 0),
  errors: Number(counts?.errors ?? 0),
  dropped: Number(counts?.dropped ?? 0),
});

function renderRoute({ destination, prefixLength, gateway, source }: Route): string {
  const to = prefixLength === 0 ? 'default' : formatPrefix(destination, prefixLength);
  const via = gateway === undefined ? '' : ` via ${formatIp(ipFromBytes(gateway))}`;
  return `${to}${via}${source === undefined ? '' : ` src ${formatIp(ipFromBytes(source))}`}`;
}

function formatPrefix(bytes: Buffer, prefixLength: number): string {
  const { family, value } = ipFromBytes(bytes);
  return formatCidr({ family, first: value, prefixLength });
}

/** What of the table concerns this pod: rules of its families, those of hostPorts when it has any. */
export function explainNat(record: AttachmentRecord, config: TableConfig, counted: Counted): ExplainedNat {
  const addresses = record.addresses.map(({ address }) => parseIp(address));
  const hostPorts = planHostPorts(record.portMappings, addresses);
  const families = new Set(addresses.map(({ family }) => family));
  const list = (what: string, name: string) => `nft list ${what} inet ${config.table}${name === '' ? '' : ` ${name}`}`;
  const concerns = ({ text, comment }: Pick<ExplainedRule, 'text' | 'comment'>): boolean => {
    if (!families.has(6) && /\bip6\b|ipv6/.test(text)) return false;
    if (!families.has(4) && /\bip\b|ipv4/.test(text)) return false;
    return hostPorts.length > 0 || !/hostPort|to an address of this host/.test(comment);
  };
  return {
    table: config.table,
    hostPorts: hostPorts.map((hostPort) => {
      const { set: map, element } = hostPortPlace(hostPort);
      const count = counted.elements.get(map)?.get(element.key.toString('hex'))?.count;
      return { map, element: renderElement(hostPort, count), ...explainCount(count), command: list('map', map) };
    }),
    rules: planRules(config)
      .filter(concerns)
      .map((rule) => {
        const count = counted.rules.get(ruleKey(rule));
        const text = count === undefined ? rule.text : rule.text.replace(/\bcounter\b/, formatCount(count));
        return { chain: rule.chain, text, comment: rule.comment, ...explainCount(count) };
      }),
    commands: [list('table', ''), `conntrack -L --orig-src ${record.addresses[0]?.address ?? ''}`],
  };
}

const explainCount = (count: Count | undefined): { readonly count?: ExplainedCount } =>
  count === undefined ? {} : { count: { packets: Number(count.packets), bytes: Number(count.bytes) } };

function renderElement({ protocol, hostPort, hostIp, address, containerPort }: HostPort, count: Count | undefined): string {
  const key = `${hostIp === undefined ? '' : `${formatIp(hostIp)} . `}${protocol} . ${hostPort}`;
  return `${key}${count === undefined ? '' : ` ${formatCount(count)}`} : ${formatIp(address)} . ${containerPort}`;
}
