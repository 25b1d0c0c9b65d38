// Owns which addresses of this machine the pods of a configuration list reach it at: where names can be asked for. What a result says, and
// what a list whose first pod is still to come will say.
import type { NetlinkSocket } from '../runtime/linux/netlink-socket.ts';
import type { Link } from '../runtime/linux/rtnetlink-link.ts';
import { listAddresses } from './address.ts';
import type { ConfList } from './conf-list.ts';
import { contains, formatCidr, formatIp, parseCidr, parseIp } from './ip.ts';
import { parseRangeSets } from './plugins/range.ts';
import { type Fields, listField, objectOf } from './spec/config.ts';
import type { Result, ResultIp } from './spec/result.ts';

export interface Gateways {
  /** The primary family's first. */
  readonly addresses: readonly string[];
  /** Of the pods that reach them, in CIDR notation. */
  readonly ranges: readonly string[];
}

/** An address of a link of this machine. */
export interface HostAddress {
  readonly link: string;
  readonly address: string;
}

export const unique = (values: readonly string[]): string[] => [...new Set(values)];

/** The gateways of a pod's addresses that are this machine's, and addresses of its own interfaces that share a network with the pod. */
export function localGateways(ips: readonly ResultIp[], { interfaces }: Result, host: readonly HostAddress[]): Gateways {
  const links = new Set(interfaces.flatMap(({ name, sandbox }) => (sandbox === undefined ? [name] : [])));
  const found = ips.flatMap((ip) => {
    const network = parseCidr(ip.address);
    const own = host.filter(({ link, address }) => links.has(link) && contains(network, parseIp(address))).map(({ address }) => address);
    const gateway = ip.gateway === undefined ? undefined : formatIp(parseIp(ip.gateway));
    const addresses = gateway !== undefined && host.some(({ address }) => address === gateway) ? [gateway] : own;
    return addresses.length === 0 ? [] : [{ addresses, range: formatCidr(network) }];
  });
  return { addresses: unique(found.flatMap(({ addresses }) => addresses)), ranges: unique(found.map(({ range }) => range)) };
}

export async function readHostAddresses(host: NetlinkSocket, links: readonly Link[]): Promise<readonly HostAddress[]> {
  const names = new Map(links.map(({ index, name }) => [index, name]));
  return (await listAddresses(host)).map(({ linkIndex, address }) => ({ link: names.get(linkIndex) ?? '', address: formatIp(address) }));
}

/** Of the plugins that give this machine the gateway of what host-local hands out; nothing where the configuration does not tell. */
export function plannedGateways({ plugins }: ConfList, capabilityArgs: Fields): Gateways {
  const plugin = plugins.find(
    ({ type, isGateway, isDefaultGateway }) => type === 'ptp' || (type === 'bridge' && (isGateway || isDefaultGateway)),
  );
  const ipam = (plugin?.ipam ?? {}) as Fields;
  if (plugin === undefined || ipam.type !== 'host-local') return { addresses: [], ranges: [] };
  try {
    const told = objectOf(plugin.capabilities, 'capabilities').ipRanges === true ? listField(capabilityArgs, 'ipRanges') : [];
    const ranges = parseRangeSets(ipam, told).flatMap(([first]) => (first === undefined ? [] : [first]));
    return {
      addresses: unique(ranges.map(({ gateway }) => formatIp(gateway))),
      ranges: unique(ranges.map(({ subnet }) => formatCidr(subnet))),
    };
  } catch {
    // ADD will say what is wrong with it.
    return { addresses: [], ranges: [] };
  }
}
