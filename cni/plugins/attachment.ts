// Owns what the main plugins (bridge, ptp) have in common: names of the host's end, addressing the container's interface, asking the
// network's IPAM plugin, and looking whether all of it is still there.
import { createHash } from 'node:crypto';
import type { NetlinkSocket } from '../../runtime/linux/netlink-socket.ts';
import type { Link } from '../../runtime/linux/rtnetlink-link.ts';
import { addAddress, listAddresses } from '../address.ts';
import { bitsOf, type Cidr, formatIp, type IpAddress, parseCidr, parseIp } from '../ip.ts';
import { findLink, setLinkUp } from '../link.ts';
import { addRoute, listRoutes } from '../route.ts';
import { type NetworkConfig, objectOf, textField } from '../spec/config.ts';
import { checkFailure, invalidConfig } from '../spec/error.ts';
import type { Attachment, NetworkCall, PluginCall } from '../spec/plugin.ts';
import { parseDns, type Result, type ResultIp, type ResultRoute } from '../spec/result.ts';
import { ipamPlugin } from './ipam.ts';

const hash = (text: string): string => createHash('sha256').update(text).digest('hex');

/** The host's end of a veth: the same for every call about an attachment. */
export function hostVethName({ containerId, ifName, config }: PluginCall): string {
  return `veth${hash(`${config.name} ${containerId} ${ifName}`).slice(0, 8)}`;
}

/** A link's MAC: by CNI_ARGS, the configuration's args, the runtime's capability or the option; undefined: the kernel's choice. */
export function requestedMac({ config, args }: PluginCall): string | undefined {
  const cni = objectOf(objectOf(config.fields.args, 'args').cni, 'args.cni');
  return textField(config.runtimeConfig, 'mac') ?? textField(cni, 'mac') ?? args.get('MAC') ?? textField(config.fields, 'mac');
}

export const hasIpam = ({ fields }: NetworkConfig): boolean => textField(objectOf(fields.ipam, 'ipam'), 'type') !== undefined;

function ipamType({ fields }: NetworkConfig): string {
  const type = textField(objectOf(fields.ipam, 'ipam'), 'type');
  if (type === undefined) throw invalidConfig('ipam has no type');
  return type;
}

export async function ipamAdd(call: PluginCall): Promise<Result> {
  const type = ipamType(call.config);
  const result = await (await ipamPlugin(type, call)).add(call);
  if (result.ips.length === 0) throw new Error(`IPAM plugin ${type} gave no address`);
  return result;
}

export async function ipamDel(call: PluginCall): Promise<void> {
  if (hasIpam(call.config)) await (await ipamPlugin(ipamType(call.config), call)).del(call);
}

export async function ipamCheck(call: PluginCall): Promise<void> {
  if (hasIpam(call.config)) await (await ipamPlugin(ipamType(call.config), call)).check(call);
}

export async function ipamStatus(call: NetworkCall): Promise<void> {
  if (hasIpam(call.config)) await (await ipamPlugin(ipamType(call.config), call)).status?.(call);
}

export async function ipamGc(call: NetworkCall, valid: readonly Attachment[]): Promise<void> {
  if (hasIpam(call.config)) await (await ipamPlugin(ipamType(call.config), call)).gc?.(call, valid);
}

export interface ParsedIp {
  readonly address: IpAddress;
  readonly prefixLength: number;
  readonly gateway: IpAddress | undefined;
  readonly network: Cidr;
}

export function parseResultIp({ address, gateway }: ResultIp): ParsedIp {
  const [ip = '', length = ''] = address.split('/');
  return {
    address: parseIp(ip),
    prefixLength: Number(length),
    gateway: gateway === undefined ? undefined : parseIp(gateway),
    network: parseCidr(address),
  };
}

export const hostCidr = ({ family, value }: IpAddress): Cidr => ({ family, first: value, prefixLength: bitsOf(family) });

/** The request for a route of a result; without a gateway of its own it takes that of the first address of its family. */
export function routeRequest(route: ResultRoute, ips: readonly ParsedIp[], link: Pick<Link, 'index' | 'name'>) {
  const destination = parseCidr(route.dst);
  const gateway = route.gw === undefined ? ips.find(({ address }) => address.family === destination.family)?.gateway : parseIp(route.gw);
  const { mtu, advmss, priority, table, scope } = route;
  return addRoute(destination, scope === 253 ? undefined : gateway, {
    linkIndex: link.index,
    linkName: link.name,
    ...(mtu === undefined ? {} : { mtu }),
    ...(advmss === undefined ? {} : { advmss }),
    ...(priority === undefined ? {} : { priority }),
    ...(table === undefined ? {} : { table }),
    ...(scope === undefined ? {} : { scope }),
  });
}

/** Addresses, then up, then the routes that need both: one datagram. */
export async function configureInterface(
  sandbox: NetlinkSocket,
  link: Link,
  { ips, routes }: Pick<Result, 'ips' | 'routes'>,
): Promise<void> {
  const addresses = ips.map(parseResultIp);
  await sandbox.request(
    ...addresses.map(({ address, prefixLength }) => addAddress({ linkIndex: link.index, linkName: link.name, address, prefixLength })),
    setLinkUp(link.index, link.name),
    ...routes.map((route) => routeRequest(route, addresses, link)),
  );
}

/** The configuration's own word on names wins over the IPAM plugin's. */
export function dnsOf(config: NetworkConfig, ipam: Result) {
  const own = parseDns(config.fields.dns);
  return Object.keys(own).length > 0 ? own : ipam.dns;
}

/** CHECK of the container's side: link, addresses and routes of the previous result. */
export async function checkInterface(sandbox: NetlinkSocket, call: PluginCall): Promise<Link> {
  const { prevResult } = call.config;
  if (prevResult === undefined) throw invalidConfig('CHECK needs prevResult');
  const link = await findLink(sandbox, call.ifName);
  if (link === undefined) throw checkFailure(`interface ${call.ifName} is gone`);
  const entry = prevResult.interfaces.find(({ name, sandbox: inside }) => inside !== undefined && name === call.ifName);
  if (entry?.mac !== undefined && entry.mac !== link.mac)
    throw checkFailure(`interface ${call.ifName} has MAC ${link.mac}, not ${entry.mac}`);
  const addresses = (await listAddresses(sandbox)).filter(({ linkIndex }) => linkIndex === link.index);
  const mine = prevResult.ips.filter((ip) => ip.interface === undefined || prevResult.interfaces[ip.interface]?.name === call.ifName);
  for (const { address, prefixLength } of mine.map(parseResultIp))
    if (!addresses.some((one) => one.address.value === address.value && one.address.family === address.family))
      throw checkFailure(`address ${formatIp(address)}/${prefixLength} of ${call.ifName} is gone`);
  const routes = await listRoutes(sandbox);
  for (const { dst, table } of prevResult.routes) {
    if (table !== undefined && table !== 254) continue;
    const { family, prefixLength, first } = parseCidr(dst);
    const found = routes.some(
      (route) =>
        route.family === (family === 4 ? 2 : 10) &&
        route.prefixLength === prefixLength &&
        (prefixLength === 0 || BigInt(`0x${route.destination.toString('hex')}`) === first),
    );
    if (!found) throw checkFailure(`route ${dst} is gone`);
  }
  return link;
}
