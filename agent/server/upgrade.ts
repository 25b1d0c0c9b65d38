// Owns requests that leave HTTP behind (Upgrade: websocket, SPDY/3.1): matched to their route here, then carried byte by byte to whoever
// speaks the protocol.
import http from 'node:http';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import tls from 'node:tls';
import type { Logger } from '../../runtime/logger.ts';
import { describeError } from '../error.ts';
import { HttpError, matchPath } from './http.ts';

export interface Upgrade {
  readonly request: http.IncomingMessage;
  /** The path's variables by name, decoded. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
}

export interface UpgradeRoute {
  /** "/exec/{namespace}/{pod}/{container}" */
  readonly path: string;
  /** Where the connection goes; an HttpError refuses it. */
  readonly target: (upgrade: Upgrade) => Promise<URL>;
}

const CONNECT_MS = 10_000;

/** Serves `routes` on `server`; gives the end of every connection that is open. */
export function serveUpgrades(server: http.Server, routes: readonly UpgradeRoute[], logger: Logger): () => void {
  const open = new Set<Duplex>();
  server.on('upgrade', (request: http.IncomingMessage, socket: Duplex, head: Buffer) => {
    open.add(socket);
    socket.on('error', () => undefined).on('close', () => open.delete(socket));
    findTarget(request, routes)
      .then((target) => carry(request, socket, head, target))
      .catch((error: unknown) => {
        const status = error instanceof HttpError ? error.status : 500;
        if (status === 500) logger.error({ err: error }, `upgrade ${request.url?.split('?')[0]}`);
        refuse(socket, status, describeError(error));
      });
  });
  return () => {
    for (const socket of open) socket.destroy();
  };
}

async function findTarget(request: http.IncomingMessage, routes: readonly UpgradeRoute[]): Promise<URL> {
  const url = new URL(request.url ?? '/', 'http://node');
  for (const { path, target } of routes) {
    const params = matchPath(path, url.pathname);
    if (params !== undefined) return target({ request, params, query: url.searchParams });
  }
  throw new HttpError(404, `no such path for an upgrade: ${url.pathname}`);
}

function refuse(socket: Duplex, status: number, sentence: string): void {
  if (socket.destroyed) return;
  const body = `${sentence}\n`;
  const head = [
    `HTTP/1.1 ${status} ${http.STATUS_CODES[status] ?? ''}`,
    'Connection: close',
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

/** Sends the request on to `target` with its own headers; from then on both sides talk to each other. */
async function carry(request: http.IncomingMessage, socket: Duplex, head: Buffer, target: URL): Promise<void> {
  const other = await connect(target);
  other.on('error', () => undefined);
  if (socket.destroyed) {
    other.destroy();
    return;
  }
  other.write(renderRequest(request, target));
  if (head.length > 0) other.write(head);
  socket.pipe(other);
  other.pipe(socket);
  // The client has what was said to it before its connection goes; what the client still says is for nobody.
  other.on('close', () => {
    socket.unpipe();
    socket.end(() => socket.destroy());
  });
  socket.on('close', () => other.destroy());
  if (socket.destroyed) other.destroy();
}

/** The address came over the runtime's own socket and carries a token: a certificate that nobody signed tells no less. */
async function connect(target: URL): Promise<net.Socket> {
  const secure = target.protocol === 'https:';
  const host = target.hostname.replace(/^\[(.*)\]$/, '$1');
  const port = Number(target.port) || (secure ? 443 : 80);
  const socket = secure ? tls.connect({ host, port, rejectUnauthorized: false }) : net.connect({ host, port });
  const timer = setTimeout(() => socket.destroy(new Error(`no answer within ${CONNECT_MS / 1000} s`)), CONNECT_MS);
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once(secure ? 'secureConnect' : 'connect', () => resolve());
      socket.once('error', reject);
    });
  } catch (error) {
    throw new HttpError(502, `connect to the runtime's streaming server at ${target.host}`, error);
  } finally {
    clearTimeout(timer);
  }
  return socket.setNoDelay(true);
}

export function renderRequest({ method, rawHeaders }: Pick<http.IncomingMessage, 'method' | 'rawHeaders'>, target: URL): string {
  const lines = [`${method} ${target.pathname}${target.search} HTTP/1.1`, `Host: ${target.host}`];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2)
    if (rawHeaders[i]?.toLowerCase() !== 'host') lines.push(`${rawHeaders[i]}: ${rawHeaders[i + 1]}`);
  return `${lines.join('\r\n')}\r\n\r\n`;
}
