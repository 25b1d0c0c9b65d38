// Owns whether a program of this host has a port that a hostPort would take away from it: its table of sockets, and who holds one.
// A hostPort is no socket: nothing but a look would tell.
import fs from 'node:fs/promises';
import path from 'node:path';
import { hasCode } from '../runtime/linux/errno.ts';
import { isPortFree } from '../runtime/linux/ip-socket.ts';
import { AF_INET, AF_INET6 } from '../runtime/linux/rtnetlink-route.ts';
import { listBoundSockets } from '../runtime/linux/sock-diag.ts';
import type { PortMapping } from './client.ts';
import { describeHostPort, type Scope, scopeOf } from './host-port.ts';
import { type Family, type IpAddress, ipBytes, ipFromBytes } from './ip.ts';

export interface Listener {
  readonly family: Family;
  /** Value 0: every address. */
  readonly address: IpAddress;
  readonly port: number;
  readonly inode: string;
}

/** net/tcp_states.h: what waits for clients. UDP has no states: a socket without a peer shows as closed. */
const LISTENING = { tcp: '0A', udp: '07' } as const;

/** /proc/net/{tcp,tcp6,udp,udp6}: addresses as words in host order, in hex. */
export function parseListeners(text: string, protocol: 'tcp' | 'udp', family: Family): Listener[] {
  return text
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .flatMap(([, local = '', , state, , , , , , inode = '']) => {
      if (state !== LISTENING[protocol]) return [];
      const [address = '', port = ''] = local.split(':');
      const bytes = Buffer.from(address, 'hex');
      for (let at = 0; at < bytes.length; at += 4) bytes.subarray(at, at + 4).reverse();
      return [{ family, address: ipFromBytes(bytes), port: Number.parseInt(port, 16), inode }];
    });
}

/** A socket on [::] takes IPv4 too, unless it said otherwise, which is not shown: then the look at IPv4 tells as little as nothing. */
export function listensFor({ family, address, port }: Listener, { hostPort }: PortMapping, scope: Scope): boolean {
  if (port !== hostPort) return false;
  const families: readonly Family[] = family === 6 && address.value === 0n ? [6, 4] : [family];
  if (!families.some((one) => scope.families.includes(one))) return false;
  return address.value === 0n || scope.address === undefined || scope.address.value === address.value;
}

/** Throws who has the port. Who that is takes a look at all sockets, so only at a port that something has. SCTP has no such table. */
export async function refuseListeners(portMappings: readonly PortMapping[]): Promise<void> {
  for (const protocol of ['tcp', 'udp'] as const) {
    const mappings = portMappings.filter((mapping) => mapping.protocol === protocol && !isFree(mapping, protocol));
    if (mappings.length === 0) continue;
    const listeners = (await Promise.all([readListeners(protocol, 4), readListeners(protocol, 6)])).flat();
    for (const mapping of mappings) {
      const taken = listeners.find((listener) => listensFor(listener, mapping, scopeOf(mapping)));
      if (taken === undefined) continue;
      const owner = (await findHolder(taken.inode)) ?? 'a program of this machine';
      throw new Error(`${describeHostPort(mapping)} is taken by ${owner}, which listens on it: stop that, or choose another hostPort`);
    }
  }
}

function isFree(mapping: PortMapping, protocol: 'tcp' | 'udp'): boolean {
  const { families, address = families.length === 1 ? anyAddress(families[0]) : undefined } = scopeOf(mapping);
  return isPortFree({ protocol, port: mapping.hostPort, ...(address === undefined ? {} : { address: ipBytes(address) }) });
}

const anyAddress = (family: Family = 4): IpAddress => ({ family, value: 0n });

async function readListeners(protocol: 'tcp' | 'udp', family: Family): Promise<Listener[]> {
  try {
    const sockets = await listBoundSockets(protocol, family === 4 ? AF_INET : AF_INET6);
    return sockets.map(({ address, port, inode }) => ({ family, address: ipFromBytes(address), port, inode: String(inode) }));
  } catch (error) {
    // A kernel built without sock_diag for this protocol.
    if (!hasCode(error, 'ENOENT', 'EOPNOTSUPP', 'EPROTONOSUPPORT')) throw error;
  }
  const file = `/proc/self/net/${protocol}${family === 6 ? '6' : ''}`;
  // A kernel without IPv6 has no table of it.
  return parseListeners(await fs.readFile(file, 'utf8').catch(() => ''), protocol, family);
}

/** "nginx (pid 42)": whoever has the socket open. */
async function findHolder(inode: string): Promise<string | undefined> {
  const link = `socket:[${inode}]`;
  for (const pid of (await fs.readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const directory = `/proc/${pid}/fd`;
    for (const fd of await fs.readdir(directory).catch(() => [])) {
      if ((await fs.readlink(`${directory}/${fd}`).catch(() => '')) !== link) continue;
      if (Number(pid) === process.pid) return 'tskubelet itself';
      // The file rather than comm, which is a thread's.
      const program = await fs.readlink(`/proc/${pid}/exe`).catch(() => 'a kernel thread');
      return `${path.basename(program)} (pid ${pid})`;
    }
  }
  return undefined;
}
