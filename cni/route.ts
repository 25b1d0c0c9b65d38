// Owns routes: requests as ip-route(8) names them, reading the host's main table, and what may be concluded from it.
import { NLM_F_CREATE, NLM_F_EXCL, type Request } from '../runtime/linux/netlink.ts';
import type { NetlinkSocket } from '../runtime/linux/netlink-socket.ts';
import { RTM_GETROUTE, RTM_NEWROUTE } from '../runtime/linux/rtnetlink.ts';
import {
  AF_INET,
  AF_INET6,
  encodeRoute,
  encodeRouteDump,
  encodeRouteLookup,
  parseRoute,
  type Route,
  type RouteChange,
  RT_TABLE_MAIN,
  RTPROT_RA,
} from '../runtime/linux/rtnetlink-route.ts';
import { type Cidr, formatCidr, formatIp, type IpAddress, ipBytes, ipFromBytes, overlaps } from './ip.ts';

/** What a route says beside where it leads; its link is named for errors. */
export interface RouteOptions extends Omit<RouteChange, 'family' | 'destination' | 'prefixLength' | 'gateway'> {
  readonly linkName: string;
}

export function addRoute(destination: Cidr, gateway: IpAddress | undefined, { linkName, ...options }: RouteOptions): Request {
  const { family, first, prefixLength } = destination;
  const via = gateway === undefined ? '' : ` via ${formatIp(gateway)}`;
  return {
    type: RTM_NEWROUTE,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    what: `add route ${prefixLength === 0 ? 'default' : formatCidr(destination)}${via} dev ${linkName}`,
    body: encodeRoute({
      ...options,
      family: family === 4 ? AF_INET : AF_INET6,
      destination: ipBytes({ family, value: first }),
      prefixLength,
      ...(gateway === undefined ? {} : { gateway: ipBytes(gateway) }),
    }),
  };
}

export function addDefaultRoute(gateway: IpAddress, linkIndex: number, linkName: string): Request {
  return addRoute({ family: gateway.family, first: 0n, prefixLength: 0 }, gateway, { linkIndex, linkName });
}

/** The main routing tables of both families. */
export async function listRoutes(socket: NetlinkSocket): Promise<Route[]> {
  const messages = [];
  for (const family of [AF_INET, AF_INET6])
    messages.push(...(await socket.dump({ type: RTM_GETROUTE, flags: 0, what: 'list routes', body: encodeRouteDump(family) })));
  return messages.map(parseRoute).filter(({ table }) => table === RT_TABLE_MAIN);
}

/** Index of the link by which an address is reached; 0 when there is no way. */
export async function linkIndexTowards(socket: NetlinkSocket, address: IpAddress): Promise<number> {
  const { messages } = await socket.exchange([
    { type: RTM_GETROUTE, flags: 0, what: `look up the route to ${formatIp(address)}`, body: encodeRouteLookup(ipBytes(address)) },
  ]);
  const [message] = messages;
  return message === undefined ? 0 : parseRoute(message).linkIndex;
}

/** The link that the host reaches the world by: of the default routes the one with the lowest metric, IPv4 before IPv6. */
export function defaultLinkIndex(routes: readonly Route[]): number | undefined {
  const [best] = routes
    .filter(({ prefixLength, linkIndex }) => prefixLength === 0 && linkIndex !== 0)
    .sort((a, b) => a.family - b.family || a.priority - b.priority);
  return best?.linkIndex;
}

/** Links whose IPv6 default route was learnt from router advertisements. */
export function advertisedLinkIndexes(routes: readonly Route[]): number[] {
  return [...new Set(routes.filter(({ protocol, prefixLength }) => protocol === RTPROT_RA && prefixLength === 0).map((r) => r.linkIndex))];
}

/** The first route of another link than ours that a pod network would hide or be hidden by, in words. */
export function findClash(
  cidrs: readonly Cidr[],
  routes: readonly Route[],
  ownLinkIndex: number,
  linkName: (index: number) => string,
): string | undefined {
  for (const route of routes) {
    // A default route is meant to lead everywhere else.
    if (route.prefixLength === 0 || route.linkIndex === ownLinkIndex) continue;
    const { family, value: first } = ipFromBytes(route.destination);
    const destination: Cidr = { family, first, prefixLength: route.prefixLength };
    const cidr = cidrs.find((one) => overlaps(one, destination));
    if (cidr !== undefined) {
      const device = route.linkIndex === 0 ? '' : ` dev ${linkName(route.linkIndex)}`;
      return `pod CIDR ${formatCidr(cidr)} overlaps the host's route ${formatCidr(destination)}${device}: choose another with --pod-cidr`;
    }
  }
  return undefined;
}
