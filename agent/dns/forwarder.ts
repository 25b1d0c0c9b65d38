// Owns asking the host's name servers what is not known here: the query as it came, with an id and a port of its own. Bounded: how many
// at once, how long. It remembers no answers: the host's own resolver does.
import { randomInt } from 'node:crypto';
import dgram from 'node:dgram';
import net from 'node:net';
import { isAnswerTo, REFUSED, rcodeOf, SERVFAIL, withId } from './message.ts';
import { readFrames, writeFrame } from './tcp-frames.ts';

export type Transport = 'udp' | 'tcp';

export interface Upstream {
  readonly address: string;
  readonly port: number;
}

const MAX_IN_FLIGHT = 512;
/** One client that asks without pause leaves room for the others. */
const MAX_PER_CLIENT = 64;
/** resolv.conf(5)'s client gives up after 5 s: by then the next server must have had its turn. */
const ATTEMPT_MS = { udp: 1500, tcp: 2000 } as const;
const TOTAL_MS = 4500;

export class Forwarder {
  /** Read anew for each query. */
  readonly #upstreams: () => Promise<readonly Upstream[]>;
  readonly #perClient = new Map<string, number>();
  readonly #closing = new AbortController();
  #inFlight = 0;

  constructor(upstreams: () => Promise<readonly Upstream[]>) {
    this.#upstreams = upstreams;
  }

  /** Undefined: nobody answered, or too much is being asked. */
  async ask(query: Buffer, transport: Transport, client: string): Promise<Buffer | undefined> {
    const own = this.#perClient.get(client) ?? 0;
    if (this.#inFlight >= MAX_IN_FLIGHT || own >= MAX_PER_CLIENT) return undefined;
    this.#inFlight++;
    this.#perClient.set(client, own + 1);
    try {
      return await this.#ask(query, transport);
    } finally {
      this.#inFlight--;
      const left = (this.#perClient.get(client) ?? 1) - 1;
      if (left === 0) this.#perClient.delete(client);
      else this.#perClient.set(client, left);
    }
  }

  async #ask(query: Buffer, transport: Transport): Promise<Buffer | undefined> {
    const deadline = performance.now() + TOTAL_MS;
    let refusal: Buffer | undefined;
    const upstreams = await this.#upstreams();
    // A lost packet is asked again, as resolv.conf's "attempts" says.
    for (const upstream of [...upstreams, ...upstreams]) {
      // Whole: a timeout of a fraction is refused.
      const leftMs = Math.floor(Math.min(ATTEMPT_MS[transport], deadline - performance.now()));
      if (leftMs <= 0 || this.#closing.signal.aborted) break;
      const id = randomInt(0x10000);
      const signal = AbortSignal.any([AbortSignal.timeout(leftMs), this.#closing.signal]);
      const answer = await (transport === 'udp' ? askUdp : askTcp)(withId(query, id), id, upstream, signal);
      if (answer === undefined) continue;
      const own = withId(answer, query.readUInt16BE(0));
      // Another server may do better.
      if (![SERVFAIL, REFUSED].includes(rcodeOf(own))) return own;
      refusal ??= own;
    }
    return refusal;
  }

  close(): void {
    this.#closing.abort();
  }
}

function askUdp(query: Buffer, id: number, { address, port }: Upstream, signal: AbortSignal): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = dgram.createSocket(net.isIP(address) === 6 ? 'udp6' : 'udp4');
    let ended = false;
    const end = (answer?: Buffer) => {
      if (ended) return;
      ended = true;
      signal.removeEventListener('abort', giveUp);
      socket.close();
      resolve(answer);
    };
    const giveUp = () => end();
    signal.addEventListener('abort', giveUp, { once: true });
    socket.on('error', giveUp);
    socket.on('message', (message) => {
      if (isAnswerTo(message, query, id)) end(message);
    });
    // Connected: the kernel takes answers of this server alone, and tells when nobody listens there.
    socket.connect(port, address, (error?: Error) => {
      if (error !== undefined) end();
      else if (!ended) socket.send(query, (failure) => failure && end());
    });
  });
}

function askTcp(query: Buffer, id: number, { address, port }: Upstream, signal: AbortSignal): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = net.connect({ host: address, port, signal });
    const end = (answer?: Buffer) => {
      socket.destroy();
      resolve(answer);
    };
    socket.on('error', () => end());
    socket.on('close', () => end());
    readFrames(socket, (message) => {
      if (isAnswerTo(message, query, id)) end(message);
    });
    writeFrame(socket, query);
  });
}
