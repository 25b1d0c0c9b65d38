// Owns who has which hostPort: claims of sandboxes, conflicts between them, and what they mean for the table. Pure.
import type { PortMapping } from './client.ts';
import { type Family, type IpAddress, parseIp } from './ip.ts';
import type { HostPort } from './nft-table.ts';

export interface HostPortClaim {
  readonly sandboxId: string;
  readonly namespace: string;
  readonly name: string;
  readonly portMappings: readonly PortMapping[];
}

/** Which host addresses a mapping is for: of these families, or the one address. */
export interface Scope {
  readonly families: readonly Family[];
  readonly address?: IpAddress;
}

export function scopeOf({ hostIp = '' }: PortMapping): Scope {
  if (hostIp === '') return { families: [4, 6] };
  const address = parseIp(hostIp);
  return address.value === 0n ? { families: [address.family] } : { families: [address.family], address };
}

/** "hostPort 8080/tcp", "hostPort 127.0.0.1:8080/tcp", "hostPort [::1]:8080/tcp" */
export function describeHostPort({ protocol, hostPort, hostIp = '' }: PortMapping): string {
  if (hostIp === '') return `hostPort ${hostPort}/${protocol}`;
  return `hostPort ${hostIp.includes(':') ? `[${hostIp}]` : hostIp}:${hostPort}/${protocol}`;
}

function conflict(a: PortMapping, b: PortMapping): boolean {
  if (a.protocol !== b.protocol || a.hostPort !== b.hostPort) return false;
  const [one, other] = [scopeOf(a), scopeOf(b)];
  if (!one.families.some((family) => other.families.includes(family))) return false;
  return one.address === undefined || other.address === undefined || one.address.value === other.address.value;
}

/** Why a sandbox cannot have its hostPorts beside these claims; undefined when it can. */
export function findConflict(wanted: HostPortClaim, claims: Iterable<HostPortClaim>): string | undefined {
  for (const [i, mapping] of wanted.portMappings.entries()) {
    if (wanted.portMappings.slice(0, i).some((other) => conflict(mapping, other))) return `${describeHostPort(mapping)} is asked for twice`;
    for (const claim of claims) {
      if (claim.sandboxId === wanted.sandboxId || !claim.portMappings.some((other) => conflict(mapping, other))) continue;
      return `${describeHostPort(mapping)} is taken by sandbox ${claim.sandboxId.slice(0, 12)} (${claim.namespace}/${claim.name})`;
    }
  }
  return undefined;
}

/** What the table needs for the mappings of a sandbox with these addresses. */
export function planHostPorts(portMappings: readonly PortMapping[], addresses: readonly IpAddress[]): HostPort[] {
  return portMappings.flatMap((mapping) => {
    const { families, address: hostIp } = scopeOf(mapping);
    const targets = addresses.filter(({ family }) => families.includes(family));
    if (targets.length === 0) throw new Error(`${describeHostPort(mapping)}: the sandbox has no IPv${families.join(' or IPv')} address`);
    const { protocol, hostPort, containerPort } = mapping;
    return targets.map((address) => ({ protocol, hostPort, ...(hostIp === undefined ? {} : { hostIp }), address, containerPort }));
  });
}

/** Refuses mappings that no table could hold. */
export function checkPortMappings(portMappings: readonly PortMapping[]): void {
  for (const mapping of portMappings) {
    for (const port of [mapping.hostPort, mapping.containerPort])
      if (!Number.isInteger(port) || port < 1 || port > 65535) throw new Error(`${describeHostPort(mapping)}: ${port} is no port number`);
    if (!['tcp', 'udp', 'sctp'].includes(mapping.protocol)) throw new Error(`"${String(mapping.protocol)}" is no protocol of a hostPort`);
    if (mapping.hostIp) parseIp(mapping.hostIp);
  }
}
