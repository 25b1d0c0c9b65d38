// Owns plain HTTP: listening, matching routes, and the one place where an error becomes an HTTP status.
import fs from 'node:fs';
import http from 'node:http';
import type { Logger } from '../../runtime/logger.ts';
import { describeError } from '../error.ts';
import { renderJson } from './json.ts';

/** The request cannot be served: its sentence is the body. */
export class HttpError extends Error {
  override readonly name = 'HttpError';
  readonly status: number;

  constructor(status: number, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.status = status;
  }
}

export interface Exchange {
  readonly request: http.IncomingMessage;
  readonly response: http.ServerResponse;
  /** The path's variables by name, decoded. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** Aborted when the client goes away, or the server closes. */
  readonly signal: AbortSignal;
}

export interface Route {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** "/containerLogs/{namespace}/{pod}/{container}" */
  readonly path: string;
  readonly serve: (exchange: Exchange) => Promise<void> | void;
}

export interface Listener {
  readonly server: http.Server;
  close(): Promise<void>;
}

export type Where =
  | { readonly socketPath: string }
  /** flag: named when the address cannot be had. */
  | { readonly address: string; readonly port: number; readonly flag: string };

const MAX_BODY_BYTES = 16 << 20;

export async function listen(where: Where, routes: readonly Route[], logger: Logger): Promise<Listener> {
  const closing = new AbortController();
  const server = http.createServer((request, response) => void answer(request, response, { routes, logger, closing: closing.signal }));
  await ('socketPath' in where ? listenSocket(server, where.socketPath) : listenPort(server, where));
  return {
    server,
    async close() {
      closing.abort();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      // Streams end by the signal; who does not read them is cut off.
      const cut = setTimeout(() => server.closeAllConnections(), 1_000);
      await closed;
      clearTimeout(cut);
    },
  };
}

async function listenSocket(server: http.Server, socketPath: string): Promise<void> {
  // Whoever holds the root-dir's lock owns the run-dir: a socket that is there is a dead one's.
  fs.rmSync(socketPath, { force: true });
  const umask = process.umask(0o177);
  try {
    await bound(server, () => server.listen(socketPath));
  } catch (error) {
    throw new Error(`listen on ${socketPath}`, { cause: error });
  } finally {
    process.umask(umask);
  }
  fs.chmodSync(socketPath, 0o600);
}

async function listenPort(server: http.Server, { address, port, flag }: Extract<Where, { port: number }>): Promise<void> {
  try {
    await bound(server, () => server.listen(port, address));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE') throw new Error(`${address} port ${port} is in use: choose another with --${flag}, or 0 to do without`);
    throw new Error(`listen on ${address} port ${port} (--${flag})`, { cause: error });
  }
}

function bound(server: http.Server, start: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.once('listening', () => {
      server.off('error', reject);
      resolve();
    });
    start();
  });
}

interface Answering {
  readonly routes: readonly Route[];
  readonly logger: Logger;
  readonly closing: AbortSignal;
}

async function answer(request: http.IncomingMessage, response: http.ServerResponse, { routes, logger, closing }: Answering): Promise<void> {
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  response.on('error', () => gone.abort());
  try {
    const url = new URL(request.url ?? '/', 'http://node');
    const matches = routes.flatMap((route) => {
      const params = matchPath(route.path, url.pathname);
      return params === undefined ? [] : [{ route, params }];
    });
    const match = matches.find(({ route }) => route.method === request.method);
    if (match === undefined)
      return refuse(request, response, matches.length > 0 ? matches.map(({ route }) => route.method) : allowed(routes));
    const signal = AbortSignal.any([gone.signal, closing]);
    await match.route.serve({ request, response, params: match.params, query: url.searchParams, signal });
  } catch (error) {
    if (gone.signal.aborted) return;
    const status = error instanceof HttpError ? error.status : 500;
    if (status === 500) logger.error({ err: error }, `answer ${request.method} ${request.url}`);
    // Half an answer cannot become an error any more; the cut connection says it.
    if (response.headersSent) response.destroy();
    else sendText(response, `${describeError(error)}\n`, status);
  }
}

const allowed = (routes: readonly Route[]) => [...new Set(routes.map(({ method }) => method))];

function refuse(request: http.IncomingMessage, response: http.ServerResponse, methods: readonly string[]): void {
  if (methods.includes(request.method ?? '')) {
    sendText(response, `no such path: ${request.url}\n`, 404);
    return;
  }
  response.setHeader('allow', methods.join(', '));
  sendText(response, `method ${request.method} is not served here, only ${methods.join(', ')}\n`, 405);
}

/** undefined: another path. A variable is one path segment. */
export function matchPath(pattern: string, pathname: string): Readonly<Record<string, string>> | undefined {
  const names = pattern.split('/');
  const parts = pathname.split('/');
  if (names.length !== parts.length) return undefined;
  const params: Record<string, string> = {};
  for (const [index, name] of names.entries()) {
    const part = parts[index] ?? '';
    if (!name.startsWith('{')) {
      if (name !== part) return undefined;
      continue;
    }
    if (part === '') return undefined;
    try {
      params[name.slice(1, -1)] = decodeURIComponent(part);
    } catch {
      return undefined;
    }
  }
  return params;
}

export function sendText(response: http.ServerResponse, text: string, status = 200, type = 'text/plain; charset=utf-8'): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(text), 'x-content-type-options': 'nosniff' });
  response.end(text);
}

export function sendJson(response: http.ServerResponse, value: unknown): void {
  sendText(response, `${renderJson(value)}\n`, 200, 'application/json');
}

export async function readBody(request: http.IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    length += (chunk as Buffer).length;
    if (length > MAX_BODY_BYTES) throw new HttpError(413, `the request's body exceeds ${MAX_BODY_BYTES >> 20} MiB`);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}
