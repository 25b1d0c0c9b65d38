// Owns which names the pods of a node without a cluster have, and what is known of a name. Pure.
//
//   <pod>.<namespace>.svc.<domain>                       the pod
//   <hostname>.<subdomain>.<namespace>.svc.<domain>      the pod with this spec.hostname and spec.subdomain
//   <subdomain>.<namespace>.svc.<domain>                 all pods of the subdomain, as a headless Service has them
//   <a-b-c-d>.<namespace>.pod.<domain>                   the pod with this address
//   <pod>, <pod>.<namespace>, <hostname>.<subdomain>.<namespace>   the same, when they are asked for as they stand
import net from 'node:net';

export interface ZonePod {
  readonly namespace: string;
  readonly name: string;
  readonly hostname: string;
  readonly subdomain: string;
  readonly ips: readonly string[];
  /** Its addresses are the node's, and are not named after it. */
  readonly hostNetwork: boolean;
}

export interface ZoneConfig {
  /** cluster.local */
  readonly domain: string;
  readonly pods: readonly ZonePod[];
  /** Whose addresses are nobody else's. */
  readonly podCidrs: readonly string[];
}

export type Found =
  /** `ips` of any family, `names` for PTR. */
  | { readonly kind: 'name'; readonly ips: readonly string[]; readonly names: readonly string[] }
  | { readonly kind: 'absent' }
  /** Not ours to know. */
  | { readonly kind: 'foreign' };

export interface Zone {
  /** The zone that a negative answer is of. */
  readonly domain: string;
  /** Labels in lower case; `client`: who asks, whose namespace completes a name without one. */
  find(labels: readonly string[], client: string): Found;
}

const EMPTY: Found = { kind: 'name', ips: [], names: [] };
const ABSENT: Found = { kind: 'absent' };
const FOREIGN: Found = { kind: 'foreign' };

export function buildZone({ domain, pods, podCidrs }: ZoneConfig): Zone {
  const domainLabels = domain.split('.');
  const names = new Map<string, string[]>();
  const put = (name: string, ips: readonly string[]) => names.set(name, [...(names.get(name) ?? []), ...ips]);
  for (const { namespace, name, ips } of pods) put(`${name}.${namespace}`, ips);
  // A pod's own name goes first; what a subdomain adds never hides one.
  const own = new Set(names.keys());
  for (const { namespace, hostname, subdomain, ips } of pods) {
    if (subdomain === '') continue;
    for (const name of [`${hostname}.${subdomain}.${namespace}`, `${subdomain}.${namespace}`]) if (!own.has(name)) put(name, ips);
  }
  // Names on the way to another exist, without records (RFC 8020).
  const above = new Set([...names.keys()].flatMap((name) => suffixesOf(name)));
  const namespaces = new Set(pods.map(({ namespace }) => namespace));

  const byAddress = new Map<string, ZonePod>();
  for (const pod of pods) if (!pod.hostNetwork) for (const ip of pod.ips) byAddress.set(normalizeIp(ip), pod);
  const ranges = new net.BlockList();
  for (const cidr of podCidrs) addRange(ranges, cidr);

  const lookUp = (labels: readonly string[]): readonly string[] | undefined =>
    labels.some((label) => label.includes('.')) ? undefined : names.get(labels.join('.'));

  const findService = (labels: readonly string[]): Found => {
    const ips = lookUp(labels);
    if (ips !== undefined) return { kind: 'name', ips, names: [] };
    return labels.length === 0 || above.has(labels.join('.')) ? EMPTY : ABSENT;
  };

  const findAddress = (labels: readonly string[]): Found => {
    const [namespace, dashed, ...more] = labels.toReversed();
    if (namespace === undefined) return EMPTY;
    if (dashed === undefined) return namespaces.has(namespace) ? EMPTY : ABSENT;
    const ip = [dashed.replaceAll('-', '.'), dashed.replaceAll('-', ':')].find((text) => net.isIP(text) !== 0);
    const pod = ip === undefined ? undefined : byAddress.get(normalizeIp(ip));
    if (more.length > 0 || ip === undefined || pod?.namespace !== namespace) return ABSENT;
    return { kind: 'name', ips: [normalizeIp(ip)], names: [] };
  };

  const findReverse = (ip: string): Found => {
    const pod = byAddress.get(ip);
    if (pod !== undefined) return { kind: 'name', ips: [], names: [`${nameOf(pod)}.svc.${domain}`].filter(isName) };
    return ranges.check(ip, net.isIP(ip) === 6 ? 'ipv6' : 'ipv4') ? ABSENT : FOREIGN;
  };

  return {
    domain,
    find(labels, client) {
      const below = labels.length - domainLabels.length;
      if (below >= 0 && domainLabels.every((label, i) => labels[below + i] === label)) {
        if (below === 0) return EMPTY;
        const rest = labels.slice(0, below - 1);
        if (labels[below - 1] === 'svc') return findService(rest);
        return labels[below - 1] === 'pod' ? findAddress(rest) : ABSENT;
      }
      const ip = parseReverse(labels);
      if (ip !== undefined) return findReverse(ip);
      const namespace = byAddress.get(normalizeIp(client))?.namespace ?? 'default';
      const ips = labels.length === 1 ? lookUp([...labels, namespace]) : lookUp(labels);
      return ips === undefined ? FOREIGN : { kind: 'name', ips, names: [] };
    },
  };
}

const nameOf = ({ name, namespace, hostname, subdomain }: ZonePod): string =>
  subdomain === '' ? `${name}.${namespace}` : `${hostname}.${subdomain}.${namespace}`;

/** A pod may be called longer than DNS can say. */
const isName = (name: string): boolean => name.length <= 253 && name.split('.').every((label) => label.length <= 63);

/** "a.b.c" gives "b.c" and "c". */
function suffixesOf(name: string): string[] {
  const labels = name.split('.');
  return labels.slice(1).map((_, i) => labels.slice(i + 1).join('.'));
}

/** One text for each address. */
export function normalizeIp(ip: string): string {
  if (net.isIP(ip) !== 6) return ip;
  const { address } = new net.SocketAddress({ address: ip, family: 'ipv6' });
  return address.startsWith('::ffff:') && net.isIP(address.slice(7)) === 4 ? address.slice(7) : address;
}

export function addRange(list: net.BlockList, cidr: string): void {
  const [address = '', length = ''] = cidr.split('/');
  list.addSubnet(address, Number(length), net.isIP(address) === 6 ? 'ipv6' : 'ipv4');
}

/** The address of a whole name below in-addr.arpa or ip6.arpa. */
function parseReverse(labels: readonly string[]): string | undefined {
  const parts = labels.toReversed();
  if (parts[0] !== 'arpa') return undefined;
  const digits = parts.slice(2);
  if (parts[1] === 'in-addr' && digits.length === 4) {
    const ip = digits.join('.');
    return net.isIP(ip) === 4 ? ip : undefined;
  }
  if (parts[1] !== 'ip6' || digits.length !== 32 || !digits.every((digit) => /^[0-9a-f]$/.test(digit))) return undefined;
  return normalizeIp(digits.join('').replace(/(.{4})(?=.)/g, '$1:'));
}
