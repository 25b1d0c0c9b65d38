// Owns the sockets that names are asked at: UDP and TCP of one address. Answers for the pods itself and passes the rest on; whoever is
// not of this node is not answered, whichever way the packet came. The address may be one that this machine gets with its first pod.
import dgram from 'node:dgram';
import net from 'node:net';
import { freeBind } from '../../runtime/linux/ip-socket.ts';
import type { Forwarder, Transport } from './forwarder.ts';
import {
  type Answer,
  EDNS_BYTES,
  encodeName,
  encodeReply,
  encodeSoa,
  encodeTruncated,
  NOERROR,
  NXDOMAIN,
  parseQuery,
  type Query,
  type Reply,
  rcodeOf,
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
const MAX_CONNECTIONS_PER_CLIENT = 32;
/** What one connection is worked for before it takes the answers. */
const MAX_PIPELINED = 32;
/** A name has 255 bytes, and options are few. */
const MAX_QUESTION_BYTES = 4096;
const TCP_BYTES = 65_535;

export interface DnsServerOptions {
  readonly address: string;
  readonly port: number;
  readonly zone: () => Zone;
  readonly forwarder: Forwarder;
  readonly isClient: (address: string) => boolean;
  /** What went wrong with a question that should have been answered; the next one may go well. */
  readonly onFailure: (error: unknown) => void;
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

/** Never rejects: no question ends the node. */
async function answer(bytes: Buffer, transport: Transport, client: string, options: DnsServerOptions): Promise<Buffer | undefined> {
  try {
    return await findAnswer(bytes, transport, client, options);
  } catch (error) {
    options.onFailure(error);
    return undefined;
  }
}

async function findAnswer(bytes: Buffer, transport: Transport, client: string, options: DnsServerOptions): Promise<Buffer | undefined> {
  const parsed = parseQuery(bytes);
  if (parsed === undefined) return undefined;
  const { query } = parsed;
  const maxBytes = transport === 'tcp' ? TCP_BYTES : Math.min(query.maxBytes, EDNS_BYTES);
  if (parsed.kind === 'wrong') return encodeReply(query, { rcode: parsed.rcode }, maxBytes);
  const known = planReply(query, options.zone(), client);
  if (known !== undefined) return encodeReply(query, known, maxBytes);
  const told = await options.forwarder.ask(bytes, transport, client);
  if (told === undefined) return encodeReply(query, { rcode: SERVFAIL }, maxBytes);
  // Not every server knows what a client takes without EDNS.
  return transport === 'udp' && told.length > query.maxBytes ? encodeTruncated(query, rcodeOf(told)) : told;
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
    const own = [...connections].filter(({ remoteAddress }) => remoteAddress === client).length;
    if (!isClient(client) || own >= MAX_CONNECTIONS_PER_CLIENT) return void socket.destroy();
    connections.add(socket);
    socket.on('close', () => connections.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    const onMessage = async (message: Buffer) => {
      const reply = await answer(message, 'tcp', client, options);
      if (reply === undefined) socket.destroy();
      else if (socket.writable) await new Promise<void>((resolve) => writeFrame(socket, reply, resolve));
    };
    readFrames(socket, onMessage, { atOnce: MAX_PIPELINED, maxBytes: MAX_QUESTION_BYTES });
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
