// The streaming server: HTTP on an address of its own, one path per call, each request upgraded to SPDY/3.1 or WebSocket. Nothing is
// served without a token that the CRI socket gave out.
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { createWebSocketStream, type WebSocket, WebSocketServer } from 'ws';
import type { AttachRequest, ExecRequest, PortForwardRequest } from '../../cri-proto/gen/api.ts';
import { unavailable } from '../errors.ts';
import type { Logger } from '../logger.ts';
import { type Channels, serveChannels, type Wanted } from './channels.ts';
import {
  SPDY_PORT_FORWARD_PROTOCOL,
  serveSpdyPortForward,
  serveWebSocketPortForward,
  TUNNEL_PROTOCOL,
  WEBSOCKET_PORT_FORWARD_PROTOCOLS,
} from './port-forward.ts';
import type { StreamHandlers, StreamSession } from './session.ts';
import { openSpdyChannels, SPDY_COMMAND_PROTOCOLS } from './spdy-channels.ts';
import type { StreamTimes } from './times.ts';
import { createTokens } from './tokens.ts';
import { ChannelSocket, MAX_MESSAGE_BYTES, openWebSocketChannels, WEBSOCKET_COMMAND_PROTOCOLS } from './websocket-channels.ts';

/** The first two are the kubelet's own. */
const TIMES: StreamTimes = { idleMs: 4 * 3600 * 1000, creationMs: 30_000, probeMs: 2000 };
const MAX_SESSIONS = 1000;
/** Those that have not shown a token yet come on top. */
const MAX_CONNECTIONS = 1500;
/** How long a refused client may take to read why. */
const REFUSAL_MS = 5000;
/** How long clients may take to be told that the server closes. */
const GOODBYE_MS = 2000;
/** How long commands may take to be gone when the server closes. */
const END_MS = 5000;

export type StreamRequest =
  | { readonly kind: 'exec'; readonly request: ExecRequest }
  | { readonly kind: 'attach'; readonly request: AttachRequest }
  | { readonly kind: 'portforward'; readonly request: PortForwardRequest };

export interface StreamingListen {
  /** 127.0.0.1 unless said otherwise. */
  readonly address?: string;
  /** A free one unless said otherwise. */
  readonly port?: number;
  /** PEM files. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string };
  /** A connection on which nothing comes or goes for so long is ended; 4 h unless said otherwise. */
  readonly idleMs?: number;
}

export interface StreamingOptions extends StreamingListen {
  readonly handlers: StreamHandlers;
  readonly logger: Logger;
  readonly times?: Partial<StreamTimes>;
}

export interface StreamingServer {
  /** A URL that works once, within a minute. */
  url(request: StreamRequest): string;
  /** Sessions that are open. */
  readonly sessions: number;
  close(): Promise<void>;
}

export async function openStreamingServer(options: StreamingOptions): Promise<StreamingServer> {
  const { handlers, logger } = options;
  const times: StreamTimes = { ...TIMES, ...(options.idleMs === undefined ? {} : { idleMs: options.idleMs }), ...options.times };
  const tokens = createTokens<StreamRequest>();
  const sockets = new Set<Duplex>();
  const sessions = new Set<Promise<void>>();
  const commands = new Set<Promise<unknown>>();
  const stopping = new AbortController();
  const webSockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    maxPayload: MAX_MESSAGE_BYTES,
    perMessageDeflate: false,
    // The last bytes wait for a client that takes its time to read them.
    // (Not in the types yet.)
    ...{ closeTimeout: times.idleMs },
  });
  // ws accepts only tokens as protocols (RFC 6455), and the tunnel's name has a slash: the choice is made, and told, without it.
  const chosen = new WeakMap<http.IncomingMessage, string>();
  webSockets.on('headers', (headers, request) => {
    const protocol = chosen.get(request);
    if (protocol !== undefined) headers.push(`Sec-WebSocket-Protocol: ${protocol}`);
  });
  const server = createServer(options.tls);
  server.on('request', (request: http.IncomingMessage, response: http.ServerResponse) => {
    const known = pathOf(request) !== undefined;
    response.writeHead(known ? 400 : 404, { 'content-type': 'text/plain' });
    response.end(known ? 'this address wants an upgrade to SPDY/3.1 or websocket\n' : 'not found\n');
  });
  server.on('connection', (socket: Socket) => socket.setNoDelay(true).on('error', () => undefined));
  server.maxConnections = MAX_CONNECTIONS;
  server.on('clientError', (_error, socket) => socket.destroy());
  server.on('upgrade', (request: http.IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => undefined);
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    const path = pathOf(request);
    const wanted = path === undefined ? undefined : tokens.take(path.token);
    if (wanted === undefined || wanted.kind !== path?.kind) return refuse(socket, '404 Not Found', 'not found');
    if (sessions.size >= MAX_SESSIONS) return refuse(socket, '503 Service Unavailable', `${MAX_SESSIONS} sessions are open`);
    const session = serve(request, socket, head, wanted)
      .catch((error: unknown) => {
        logger.warn({ err: error }, `${wanted.kind} session ended early`);
        socket.destroy();
      })
      .finally(() => sessions.delete(session));
    sessions.add(session);
  });

  async function serve(request: http.IncomingMessage, socket: Duplex, head: Buffer, wanted: StreamRequest): Promise<void> {
    const webSocket = /^websocket$/i.test(request.headers.upgrade ?? '');
    const offered = webSocket
      ? splitList(request.headers['sec-websocket-protocol'])
      : splitList(request.headersDistinct['x-stream-protocol-version']?.join(','));
    const supported = protocolsOf(wanted, webSocket);
    const protocol = offered.length === 0 ? supported.fallback : supported.names.find((name) => offered.includes(name));
    if (protocol === undefined)
      return refuse(
        socket,
        '403 Forbidden',
        `unable to upgrade: unsupported protocols [${offered.join(' ')}], server supports [${supported.names.join(' ')}]`,
        { 'X-Accepted-Stream-Protocol-Versions': supported.names.join(', ') },
      );
    if (webSocket) {
      if (offered.length > 0) chosen.set(request, protocol);
      delete request.headers['sec-websocket-protocol'];
      const accepted = await new Promise<WebSocket>((resolve) => webSockets.handleUpgrade(request, socket, head, resolve));
      return runWebSocket(accepted, protocol, wanted);
    }
    if (!/^spdy\/3\.1$/i.test(request.headers.upgrade ?? ''))
      return refuse(socket, '400 Bad Request', 'this address wants an upgrade to SPDY/3.1 or websocket');
    socket.write(
      [
        'HTTP/1.1 101 Switching Protocols',
        'Connection: Upgrade',
        'Upgrade: SPDY/3.1',
        `X-Stream-Protocol-Version: ${protocol}`,
        '',
        '',
      ].join('\r\n'),
    );
    if (head.length > 0) socket.unshift(head);
    if (wanted.kind === 'portforward') return serveSpdyPortForward(socket, dialer(wanted.request), times);
    return runCommand(wanted, await openSpdyChannels(socket, protocol as never, streamsOf(wanted.request), times));
  }

  async function runWebSocket(socket: WebSocket, protocol: string, wanted: StreamRequest): Promise<void> {
    if (wanted.kind !== 'portforward') return runCommand(wanted, openWebSocketChannels(socket, protocol, streamsOf(wanted.request), times));
    if (protocol === TUNNEL_PROTOCOL) return serveSpdyPortForward(createWebSocketStream(socket), dialer(wanted.request), times);
    const channels = new ChannelSocket(socket, protocol, times);
    return serveWebSocketPortForward(channels, wanted.request.port, dialer(wanted.request));
  }

  const dialer = (request: PortForwardRequest) => (port: number, signal: AbortSignal) =>
    handlers.portForward(request.podSandboxId, port, signal);

  async function runCommand(wanted: Exclude<StreamRequest, { kind: 'portforward' }>, channels: Channels): Promise<void> {
    const run = async (session: StreamSession) => {
      if (wanted.kind === 'exec') return handlers.exec(wanted.request, session);
      await handlers.attach(wanted.request, session);
      return 0;
    };
    const told = serveChannels(channels, run, stopping.signal);
    commands.add(told);
    const ending = await told;
    commands.delete(told);
    if ('error' in ending && !channels.signal.aborted && !stopping.signal.aborted)
      logger.info({ err: ending.error }, `${wanted.kind} session failed`);
  }

  const base = renderBase(options.tls !== undefined, await listenAt(server, options));
  return {
    url: (request) => `${base}/${request.kind}/${tokens.issue(request)}`,
    get sessions() {
      return sessions.size;
    },
    close: async () => {
      tokens.clear();
      const unbound = new Promise<void>((resolve) => server.close(() => resolve()));
      stopping.abort(unavailable('the runtime is stopping: a command ends with it, an attached container runs on'));
      await Promise.race([Promise.all(commands), delay(GOODBYE_MS, undefined, { ref: false })]);
      server.closeAllConnections();
      for (const socket of sockets) socket.destroy();
      await unbound;
      await Promise.race([Promise.all(sessions), delay(END_MS, undefined, { ref: false })]);
    },
  };
}

function createServer(tls: StreamingListen['tls']): http.Server | https.Server {
  if (tls === undefined) return http.createServer();
  try {
    return https.createServer({ cert: fs.readFileSync(tls.certFile), key: fs.readFileSync(tls.keyFile), minVersion: 'TLSv1.2' });
  } catch (cause) {
    throw new Error(`serve streams over TLS with certificate ${tls.certFile} and key ${tls.keyFile}`, { cause });
  }
}

async function listenAt(server: http.Server, { address = '127.0.0.1', port = 0 }: StreamingListen): Promise<AddressInfo> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'EADDRINUSE')
        reject(new Error(`${address} port ${port} is in use: choose another with --streaming-port, or 0 for a free one`));
      else if (cause.code === 'EADDRNOTAVAIL')
        reject(new Error(`${address} is no address of this machine: choose another with --streaming-address`));
      else reject(new Error(`serve streams on ${address} port ${port}`, { cause }));
    });
    server.listen(port, address, resolve);
  });
  return server.address() as AddressInfo;
}

/** Where all addresses are listened on, clients get the loopback one: they have the CRI socket, so they are on this machine. */
function renderBase(tls: boolean, { address, port, family }: AddressInfo): string {
  const named = address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address;
  return `${tls ? 'https' : 'http'}://${family === 'IPv6' ? `[${named}]` : named}:${port}`;
}

function pathOf(request: http.IncomingMessage): { readonly kind: StreamRequest['kind']; readonly token: string } | undefined {
  const [, kind, token] = /^\/(exec|attach|portforward)\/([\w-]+)(?:\?|$)/.exec(request.url ?? '') ?? [];
  return kind === undefined || token === undefined ? undefined : { kind: kind as StreamRequest['kind'], token };
}

function streamsOf({ stdin, stdout, stderr, tty }: ExecRequest | AttachRequest): Wanted {
  return { stdin, stdout, stderr, tty };
}

function splitList(header: string | undefined): string[] {
  return (header ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
}

/** `fallback`: what a client that offers nothing means. */
function protocolsOf({ kind }: StreamRequest, webSocket: boolean): { names: readonly string[]; fallback: string | undefined } {
  if (kind === 'portforward')
    return webSocket
      ? { names: WEBSOCKET_PORT_FORWARD_PROTOCOLS, fallback: 'v4.channel.k8s.io' }
      : { names: [SPDY_PORT_FORWARD_PROTOCOL], fallback: undefined };
  return webSocket
    ? { names: WEBSOCKET_COMMAND_PROTOCOLS, fallback: 'channel.k8s.io' }
    : { names: SPDY_COMMAND_PROTOCOLS, fallback: 'channel.k8s.io' };
}

function refuse(socket: Duplex, status: string, sentence: string, headers: Record<string, string> = {}): void {
  const lines = [`HTTP/1.1 ${status}`, 'Connection: close', 'Content-Type: text/plain'];
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
  lines.push(`Content-Length: ${Buffer.byteLength(sentence) + 1}`, '', `${sentence}\n`);
  socket.end(lines.join('\r\n'));
  socket.resume();
  const late = setTimeout(() => socket.destroy(), REFUSAL_MS);
  socket.once('close', () => clearTimeout(late));
}
