// Owns the sockets that names are asked at: UDP and TCP of one address. Answers for the pods itself and passes the rest on; whoever is
// not of this node is not answered, whichever way the packet came. The address may be one that this machine gets with its first pod.
import dgram from 'node:dgram';
import net from 'node:net';
import { freeBind } from '../../runtime/linux/free-bind.ts';
import type { Forwarder, Transport } from './forwarder.ts';
import {
  type Answer,
  EDNS_BYTES,
  encodeName,
  encodeReply,
  encodeSoa,
  NOERROR,
  NXDOMAIN,
  parseQuery,
  type Query,
  type Reply,
  SERVFAIL,
  TYPE_A,
  TYPE_AAAA,
  TYPE_ANY,
  TYPE_PTR,
} from './message.ts';
import { readFrames, writeFrame } from './tcp-frames.ts';
import type { Zone } from './zone.ts';

/** Pods come and go: as long as cluster DNS has it. */
const TTL_SECONDS = 5;
const MAX_CONNECTIONS = 256;
const IDLE_MS = 10_000;
/** What one connection may ask without having been answered. */
const MAX_PIPELINED = 32;
const TCP_BYTES = 65_535;

export interface DnsServerOptions {
  readonly address: string;
  readonly port: number;
  readonly zone: () => Zone;
  readonly forwarder: Forwarder;
  readonly isClient: (address: string) => boolean;
}

export interface DnsServer {
  readonly address: string;
  close(): Promise<void>;
}

/** Rejects when the address is taken. */
export async function openDnsServer(options: DnsServerOptions): Promise<DnsServer> {
  const udp = await listenUdp(options);
  try {
    const tcp = await listenTcp(options);
    return {
      address: options.address,
      close: async () => {
        await Promise.all([new Promise<void>((resolve) => udp.close(() => resolve())), tcp.close()]);
      },
    };
  } catch (error) {
    udp.close();
    throw error;
  }
}

async function answer(bytes: Buffer, transport: Transport, client: string, options: DnsServerOptions): Promise<Buffer | undefined> {
  const parsed = parseQuery(bytes);
  if (parsed === undefined) return undefined;
  const { query } = parsed;
  const maxBytes = transport === 'tcp' ? TCP_BYTES : Math.min(query.maxBytes, EDNS_BYTES);
  if (parsed.kind === 'wrong') return encodeReply(query, { rcode: parsed.rcode }, maxBytes);
  const known = planReply(query, options.zone(), client);
  if (known !== undefined) return encodeReply(query, known, maxBytes);
  return (await options.forwarder.ask(bytes, transport, client)) ?? encodeReply(query, { rcode: SERVFAIL }, maxBytes);
}

/** Undefined: the host's name servers are to be asked. */
export function planReply({ labels, type }: Query, zone: Zone, client: string): Reply | undefined {
  const found = zone.find(labels, client);
  if (found.kind === 'foreign') return undefined;
  const answers: Answer[] = [];
  if (found.kind === 'name') {
    for (const ip of found.ips) {
      const family = net.isIP(ip) === 6 ? TYPE_AAAA : TYPE_A;
      if (type === family || type === TYPE_ANY) answers.push({ type: family, data: addressBytes(ip) });
    }
    if (type === TYPE_PTR || type === TYPE_ANY)
      answers.push(...found.names.map((name) => ({ type: TYPE_PTR, data: encodeName(name.split('.')) })));
  }
  const rcode = found.kind === 'absent' ? NXDOMAIN : NOERROR;
  if (answers.length > 0) return { rcode, answers: shuffle(answers), ttlSeconds: TTL_SECONDS, authoritative: true };
  const domain = zone.domain.split('.');
  // A name outside of the zone has no zone of ours to name.
  const within = domain.every((label, i) => labels[labels.length - domain.length + i] === label);
  const zoneLabels = within ? domain : labels;
  const soa = { zone: zoneLabels, data: encodeSoa(['ns', 'dns', ...domain], ['hostmaster', ...domain], 1, TTL_SECONDS) };
  return { rcode, soa, ttlSeconds: TTL_SECONDS, authoritative: true };
}

/** Clients take the first: the pods of a subdomain share them. */
function shuffle<T>(values: readonly T[]): T[] {
  return values
    .map((value) => ({ value, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ value }) => value);
}

function addressBytes(ip: string): Buffer {
  if (net.isIP(ip) === 4) return Buffer.from(ip.split('.').map(Number));
  const [head = '', tail] = ip.split('::');
  const [before, after] = [head, tail ?? ''].map((part) => part.split(':').filter((group) => group !== '')) as [string[], string[]];
  const groups = [...before, ...new Array<string>(8 - before.length - after.length).fill('0'), ...after];
  return Buffer.from(groups.map((group) => group.padStart(4, '0')).join(''), 'hex');
}

function listenUdp(options: DnsServerOptions): Promise<dgram.Socket> {
  const { address, port, isClient } = options;
  return new Promise((resolve, reject) => {
    const fd = freeBind('udp', addressBytes(address), port);
    const socket = dgram.createSocket(net.isIP(address) === 6 ? 'udp6' : 'udp4');
    socket.once('error', reject);
    socket.bind({ fd }, () => {
      socket.off('error', reject);
      // A client that is gone says so (ICMP); that is no reason to stop.
      socket.on('error', () => undefined);
      resolve(socket);
    });
    socket.on('message', (message, from) => {
      if (!isClient(from.address)) return;
      void answer(message, 'udp', from.address, options).then((reply) => {
        if (reply === undefined) return;
        try {
          socket.send(reply, from.port, from.address, () => undefined);
        } catch {
          // Closed meanwhile.
        }
      });
    });
  });
}

function listenTcp(options: DnsServerOptions): Promise<{ close(): Promise<void> }> {
  const { address, port, isClient } = options;
  const connections = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    const client = socket.remoteAddress ?? '';
    if (!isClient(client)) return void socket.destroy();
    connections.add(socket);
    socket.on('close', () => connections.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    let waiting = 0;
    readFrames(socket, (message) => {
      if (++waiting > MAX_PIPELINED) return void socket.destroy();
      void answer(message, 'tcp', client, options).then((reply) => {
        waiting--;
        if (reply === undefined) socket.destroy();
        else if (socket.writable) writeFrame(socket, reply);
      });
    });
  });
  server.maxConnections = MAX_CONNECTIONS;
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ fd: freeBind('tcp', addressBytes(address), port) }, () => {
      server.off('error', reject);
      server.on('error', () => undefined);
      resolve({
        close: () =>
          new Promise((done) => {
            for (const socket of connections) socket.destroy();
            server.close(() => done());
          }),
      });
    });
  });
}
