// Owns what the agent must know of its machine: addresses, memory; and which of its name servers a pod can ask.
import fs from 'node:fs/promises';
import os from 'node:os';
import type { ResolvConf } from '../pod/dns.ts';

export interface HostFacts {
  /** The address of the interface that the default route leaves by, first. */
  readonly hostIps: readonly string[];
  readonly memoryBytes: bigint;
  /** Owners in a tmpfs can be mapped. */
  readonly mapsTmpfs: boolean;
}

/** Since Linux 6.3. `release`: "6.1.0-13-amd64". */
export function canMapTmpfs(release: string): boolean {
  const [major = 0, minor = 0] = release.split('.').map((part) => Number.parseInt(part, 10));
  return major > 6 || (major === 6 && minor >= 3);
}

/** The interface of the default IPv4 route: /proc/net/route has destination and mask in hex. */
export function parseDefaultInterface(routes: string): string | undefined {
  const defaults = routes
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter(([, destination, , , , , , mask]) => destination === '00000000' && mask === '00000000');
  // The lowest metric wins, as in the kernel.
  return defaults.sort((a, b) => Number(a[6]) - Number(b[6]))[0]?.[0];
}

type Interfaces = NodeJS.Dict<os.NetworkInterfaceInfo[]>;

/** One IPv4 and one IPv6 address; loopback where there is nothing else. */
export function chooseHostIps(interfaces: Interfaces, preferred: string | undefined): readonly string[] {
  const ordered = [...(interfaces[preferred ?? ''] ?? []), ...Object.values(interfaces).flatMap((addresses) => addresses ?? [])];
  const usable = ordered.filter(({ internal, address }) => !internal && !address.startsWith('fe80:') && !address.startsWith('169.254.'));
  const v4 = usable.find(({ family }) => family === 'IPv4')?.address;
  const v6 = usable.find(({ family }) => family === 'IPv6')?.address;
  const found = [v4, v6].filter((address) => address !== undefined);
  return found.length > 0 ? found : ['127.0.0.1'];
}

/** A name server on loopback (systemd-resolved's stub) cannot be reached from a pod: what it asks itself can. */
export function chooseResolvConf(host: ResolvConf, upstream: ResolvConf): ResolvConf {
  const loopback = host.servers.every((server) => server.startsWith('127.') || server === '::1');
  return host.servers.length > 0 && loopback && upstream.servers.length > 0 ? upstream : host;
}

export async function readHost(): Promise<HostFacts> {
  const routes = await fs.readFile('/proc/net/route', 'utf8').catch(() => '');
  return {
    hostIps: chooseHostIps(os.networkInterfaces(), parseDefaultInterface(routes)),
    memoryBytes: BigInt(os.totalmem()),
    mapsTmpfs: canMapTmpfs(os.release()),
  };
}
