// Owns the network of a pod as text: the way of a packet from the pod's interface to the machine's, each part with what it counts and
// the command that shows it by hand. Pure.

import type { ExplainedLink, ExplainedNat, ExplainedNetwork, ExplainedTraffic } from '../../cri-proto/explained-network.ts';

export interface ExplainedNet {
  readonly namespace: string;
  readonly pod: string;
  readonly dns: { readonly servers: readonly string[]; readonly searches: readonly string[]; readonly options: readonly string[] };
  /** Where this node answers for its pods, or why it does not; undefined where a cluster does. */
  readonly names: { readonly servers: readonly string[]; readonly problem?: string } | undefined;
  /** As the runtime tells it. */
  readonly network: ExplainedNetwork;
}

const RULE_WIDTH = 104;

export function renderExplainedNet({ namespace, pod, dns, names: node, network }: ExplainedNet): string {
  const { netns, ips, host, nat } = network;
  const { port, bridge, uplink } = host;
  const sections = [
    ...network.pod.map((link) => renderLink(link, "in the pod's network namespace")),
    ...(port === undefined ? [] : [join('a veth pair: what enters one end comes out of the other'), renderLink(port, describePort(port))]),
    ...(bridge === undefined ? [] : [join(''), renderLink(bridge, describeBridge(bridge, dns.servers))]),
    join(''),
    nat === undefined ? renderNoNat(network.confList) : renderNat(nat),
    join(''),
    uplink === undefined ? '  no way out: this machine has no default route\n' : renderLink(uplink, "the machine's way out"),
  ];
  const names = [
    `  names: resolv.conf says nameserver ${dns.servers.join(', ') || 'nothing'}${dns.searches.length > 0 ? `, search ${dns.searches.join(' ')}` : ''}${dns.options.length > 0 ? `, options ${dns.options.join(' ')}` : ''}\n`,
    ...renderNode(node, dns.servers),
    ...(dns.servers[0] === undefined ? [] : [command(`nsenter --net=${netns} dig @${dns.servers[0]} ${pod}.${namespace}`)]),
  ];
  return `pod ${namespace}/${pod}: ${ips.join(' and ')}\n\n${sections.join('')}\n${names.join('')}`;
}

/** Where a pod is not told this node's server, or there is none. */
function renderNode(node: ExplainedNet['names'], told: readonly string[]): string[] {
  if (node?.problem !== undefined) return [`    other pods are not found by name: ${node.problem}\n`];
  if (node === undefined || node.servers.length === 0 || node.servers.some((server) => told.includes(server))) return [];
  return [`    other pods are not found by name: this pod is not told ${node.servers.join(' or ')}, where this node answers\n`];
}

const join = (words: string): string => `   │${words === '' ? '' : `  ${words}`}\n`;
const command = (text: string): string => `      $ ${text}\n`;

function describePort({ port }: ExplainedLink): string {
  if (port === undefined) return 'its other end, on the machine';
  const isolated = port.isolated ? ', isolated from other pods' : '';
  return `its other end, on the machine: a port of ${port.bridge}${port.hairpin ? ', hairpin on' : ''}${isolated}`;
}

function describeBridge({ ports = 0, addresses }: ExplainedLink, servers: readonly string[]): string {
  const names = addresses.some((address) => servers.includes(address.split('/')[0] ?? '')) ? ' and name server' : '';
  return `the bridge, with ${ports} ${ports === 1 ? 'port' : 'ports'}: the pods' gateway${names}`;
}

function renderLink(link: ExplainedLink, what: string): string {
  const { name, index, peer, addresses, mac, mtu, up, routes, received, sent } = link;
  const facts = [...addresses, ...(mac === '' ? [] : [`MAC ${mac}`]), `MTU ${mtu}`, up ? 'up' : 'down'];
  const lines = [
    // As ip-link(8) has them: the number behind @if is the other end's before the colon.
    `  ${index}: ${name}${peer === 0 ? '' : `@if${peer}`}   ${what}`,
    `    ${facts.join(', ')}`,
    `    received ${renderTraffic(received)}; sent ${renderTraffic(sent)}`,
    ...routes.map((route) => `    route ${route}`),
  ];
  return `${lines.map((line) => `${line}\n`).join('')}${link.commands.map(command).join('')}`;
}

function renderNoNat(confList: string | undefined): string {
  if (confList === undefined) return '  no nftables table: pods reach no other network, and have no hostPorts\n';
  return `  network ${confList}   of a configuration list: its plugins translate addresses in their way\n${command('nft list ruleset')}`;
}

function renderNat({ table, hostPorts, rules, commands }: ExplainedNat): string {
  const lines = [
    `  nftables table inet ${table}   translates addresses, and counts connections by their first packets`,
    ...hostPorts.map(({ map, element }) => `    map ${map}: ${element}`),
    ...rules.map(({ chain, text, comment }) => `    ${`${chain.padEnd(11)} ${text}`.padEnd(RULE_WIDTH)}  # ${comment}`),
  ];
  const maps = [...new Set(hostPorts.map((hostPort) => hostPort.command))];
  return `${lines.map((line) => `${line}\n`).join('')}${[...maps, ...commands].map(command).join('')}`;
}

function renderTraffic({ packets, bytes, errors, dropped }: ExplainedTraffic): string {
  const lost = [
    [errors, 'errors'],
    [dropped, 'dropped'],
  ].flatMap(([count, word]) => (count === 0 ? [] : [`, ${count} ${word}`]));
  return `${packets} ${packets === 1 ? 'packet' : 'packets'} (${renderBytes(bytes)})${lost.join('')}`;
}

function renderBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const exponent = Math.min(Math.floor(Math.log10(bytes) / 3), 4);
  return `${(bytes / 1000 ** exponent).toFixed(1)} ${['', 'kB', 'MB', 'GB', 'TB'][exponent]}`;
}
