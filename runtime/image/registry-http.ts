// Owns one HTTP request to a registry: proxies, redirects, timeouts, and errors that say which host did what. Bodies are streams.
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import tls from 'node:tls';
import { RegistryError } from './registry-error.ts';
import type { HostTls } from './registry-hosts.ts';
import { connectThrough, planProxy, proxyHeaders } from './registry-proxy.ts';
import { trustFor } from './registry-tls.ts';

const REDIRECT_LIMIT = 5;
/** As containerd's dialer and its response header timeout. */
const CONNECT_TIMEOUT_MS = 30_000;
const ANSWER_TIMEOUT_MS = 30_000;
/** A body that stands still so long is asked for anew, from where it stopped. */
export const STALL_TIMEOUT_MS = 30_000;
const DISCARD_LIMIT_BYTES = 64 * 1024;

export interface HttpRequest {
  readonly method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | RequestStream;
  readonly signal?: AbortSignal | undefined;
  /** For the first host; one that it redirects to is trusted as usual. */
  readonly tls?: HostTls | undefined;
  readonly connectTimeoutMs?: number | undefined;
  /** From the end of the request to the head of the answer. */
  readonly answerTimeoutMs?: number | undefined;
  /** The content is verified by its digest, so it may come from anywhere, unencrypted too. */
  readonly isVerified?: boolean;
  /** The body is for the first host's eyes only: a redirect that leads elsewhere is not followed. */
  readonly isSecret?: boolean;
}

/** A body that is not in memory: opened anew for each place that a redirect leads to. */
export interface RequestStream {
  readonly sizeBytes: number;
  open(): Readable;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: http.IncomingMessage;
  /** Where the answer came from, after redirects. */
  readonly url: URL;
}

/** "127.0.0.1:5000" speaks plain HTTP: the loopback addresses of this host, any port but HTTPS' own. Everything else speaks HTTPS. */
export function isPlainHttp(domain: string): boolean {
  if (domain.endsWith(':443')) return false;
  return /^(127(\.\d{1,3}){3}|localhost|\[::1\])(:\d+)?$/.test(domain);
}

const words: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ENOTFOUND: 'its name is not known to DNS',
  EAI_AGAIN: 'DNS does not answer',
  ECONNRESET: 'connection reset',
  ENETUNREACH: 'network unreachable',
  EHOSTUNREACH: 'host unreachable',
  ETIMEDOUT: 'connection timed out',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is self-signed; name its CA as ca in hosts.toml',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is from a CA that is not trusted here; name that as ca in hosts.toml',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is from a CA that is not trusted here; name that as ca in hosts.toml',
  CERT_HAS_EXPIRED: 'its certificate has expired',
};

/** One side does not take the other's certificate: that stays so. */
function isTlsRefusal(error: unknown): boolean {
  return /^(CERT_|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_|ERR_TLS_|ERR_SSL_|EPROTO$)/.test((error as NodeJS.ErrnoException).code ?? '');
}

const NO_TLS = 'it does not speak TLS; if that shall be so, write server = "http://…" in its hosts.toml';

/** What OpenSSL says: as a property, or in the middle of its own line, "…:SSL routines:<function>:<reason>:…". */
function tlsProblem({ code, message, ...more }: NodeJS.ErrnoException & { reason?: unknown }): string | undefined {
  if (code?.startsWith('ERR_SSL_') && typeof more.reason === 'string') return more.reason;
  return code === 'EPROTO' ? (/:SSL routines:[^:]*:([^:]+):/.exec(message)?.[1] ?? message) : undefined;
}

/** "ECONNREFUSED" and the like in words. */
export function describeFailure(error: unknown): string {
  const { code, message, cause } = error as NodeJS.ErrnoException;
  // Several addresses were tried: the first failure stands for all.
  const nested = error instanceof AggregateError ? error.errors[0] : undefined;
  if (nested instanceof Error && words[code ?? ''] === undefined) return describeFailure(nested);
  // Which of these it says depends on the version of TLS.
  if (/ALERT_(BAD_CERTIFICATE|CERTIFICATE_REQUIRED|CERTIFICATE_UNKNOWN)$/.test(code ?? ''))
    return 'it wants a client certificate that it trusts; name one as client in hosts.toml';
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const names = (error as { cert?: { subjectaltname?: string } }).cert?.subjectaltname?.replace(/\b(DNS|IP Address):/g, '');
    return `its certificate is for ${names ?? 'another name'}`;
  }
  const problem = tlsProblem(error as NodeJS.ErrnoException);
  if (problem !== undefined) return /wrong version|too long/.test(problem) ? NO_TLS : problem;
  if (code?.startsWith('HPE_')) return 'it does not speak HTTP';
  return words[code ?? ''] ?? (cause instanceof Error ? `${message}: ${describeFailure(cause)}` : message);
}

const NO_CONNECTION = 'ERR_NO_CONNECTION';

/** Nothing listens, or there is no such name or no way there: asking again at once does not help. */
export function isUnreachable({ cause }: RegistryError): boolean {
  const { code = '' } = (cause ?? {}) as NodeJS.ErrnoException;
  return [NO_CONNECTION, 'ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'ENETUNREACH', 'EHOSTUNREACH', 'ETIMEDOUT'].includes(code);
}

async function send(url: URL, options: HttpRequest): Promise<HttpAnswer> {
  const { method = 'GET', body, signal, connectTimeoutMs = CONNECT_TIMEOUT_MS, answerTimeoutMs = ANSWER_TIMEOUT_MS } = options;
  const late = new AbortController();
  const after = (ms: number, what: string, code?: string) =>
    setTimeout(() => late.abort(Object.assign(new Error(`${what} for ${Math.ceil(ms / 1000)} s`), { code })), ms);
  let timer = after(connectTimeoutMs, 'no connection', NO_CONNECTION);
  const stop = signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]);
  try {
    const headers = { 'user-agent': 'tskubelet', ...lengthOf(body), ...options.headers };
    const proxy = planProxy(url, process.env);
    let request: http.ClientRequest;
    if (proxy === undefined && url.protocol === 'http:') request = http.request(url, { method, headers });
    else if (proxy === undefined) request = https.request(url, { method, headers, agent: (await trustFor(options.tls)).agent });
    else if (url.protocol === 'http:') {
      const { protocol, hostname, port } = proxy;
      const all = { ...headers, host: url.host, ...proxyHeaders(proxy) };
      request = (protocol === 'http:' ? http : https).request({ protocol, hostname, port, method, path: url.href, headers: all });
    } else {
      const trust = await trustFor(options.tls);
      const socket = await connectThrough(proxy, url, { signal: stop });
      const host = url.hostname.replace(/^\[|\]$/g, '');
      const servername = net.isIP(host) === 0 ? host : '';
      request = https.request(url, {
        method,
        headers,
        // Without an agent, or that one would connect by itself.
        createConnection: () => tls.connect({ socket, host, servername, ...trust.options }),
      });
    }
    return await new Promise<HttpAnswer>((resolve, reject) => {
      const aborted = () => request.destroy(stop.reason instanceof Error ? stop.reason : new Error('aborted'));
      stop.addEventListener('abort', aborted, { once: true });
      let isAnswered = false;
      request.on('error', reject);
      request.on('socket', (socket) => {
        const connected = () => {
          clearTimeout(timer);
          const sent = () => {
            // An answer may come before the whole body is sent.
            if (!isAnswered) timer = after(answerTimeoutMs, 'no answer');
          };
          if (request.writableFinished) sent();
          else request.once('finish', sent);
        };
        if (!socket.connecting) connected();
        else socket.once(socket instanceof tls.TLSSocket ? 'secureConnect' : 'connect', connected);
      });
      request.on('response', (answer) => {
        isAnswered = true;
        // From here on, an abort is the reader's: it destroys the body.
        if (signal !== undefined) answer.once('close', () => stop.removeEventListener('abort', aborted));
        resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: answer, url });
      });
      if (stop.aborted) aborted();
      // An answer may come before the whole body is sent, a refusal: the broken stream is then no news.
      else if (typeof body === 'object' && 'open' in body) pipeline(body.open(), request).catch((error: Error) => request.destroy(error));
      else request.end(body);
    });
  } catch (error) {
    throw late.signal.aborted ? late.signal.reason : error;
  } finally {
    clearTimeout(timer);
  }
}

function lengthOf(body: HttpRequest['body']): Record<string, string> {
  if (body === undefined) return {};
  const bytes = typeof body === 'string' ? Buffer.byteLength(body) : 'open' in body ? body.sizeBytes : body.length;
  return { 'content-length': String(bytes) };
}

/** Lets go of an answer; a short one is read to its end, so that the connection can serve the next request. */
export function discard({ body, headers }: HttpAnswer): void {
  body.on('error', () => {});
  const length = Number(headers['content-length'] ?? Number.POSITIVE_INFINITY);
  if (length <= DISCARD_LIMIT_BYTES) body.resume();
  else body.destroy();
}

/** Headers that another host may see: nothing that was meant for the first one alone. */
function publicHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  const known = ['accept', 'accept-encoding', 'range', 'content-type', 'content-length'];
  return Object.fromEntries(Object.entries(headers).filter(([name]) => known.includes(name.toLowerCase())));
}

/** Sends a request and follows redirects; credentials and configured headers go to the first host only. */
export async function request(url: URL, options: HttpRequest): Promise<HttpAnswer> {
  let target = url;
  let { headers = {}, tls: security } = options;
  for (let redirects = 0; ; redirects++) {
    let answer: HttpAnswer;
    try {
      answer = await send(target, { ...options, headers, tls: security });
    } catch (cause) {
      options.signal?.throwIfAborted();
      throw new RegistryError(`${target.host} does not answer (${describeFailure(cause)})`, { cause, transient: !isTlsRefusal(cause) });
    }
    const { location } = answer.headers;
    if (![301, 302, 303, 307, 308].includes(answer.status) || location === undefined) return answer;
    discard(answer);
    if (redirects === REDIRECT_LIMIT)
      throw new RegistryError(`${url.host} redirects more than ${REDIRECT_LIMIT} times`, { status: answer.status });
    if (!URL.canParse(location, target.href))
      throw new RegistryError(`${target.host} redirects to ${JSON.stringify(location)}, which is no URL`, { status: answer.status });
    const next = new URL(location, target);
    const lessSafe = target.protocol === 'https:' && next.protocol === 'http:' && options.isVerified !== true;
    if (!/^https?:$/.test(next.protocol) || lessSafe) {
      throw new RegistryError(`${target.host} redirects to ${next.protocol}//${next.host}, which is not safe to follow`, {
        status: answer.status,
      });
    }
    if (next.origin !== target.origin) {
      if (options.isSecret === true)
        throw new RegistryError(`${target.host} redirects to ${next.origin}, which is not told what was meant for ${target.host} alone`, {
          status: answer.status,
        });
      security = undefined;
      headers = publicHeaders(headers);
    }
    target = next;
  }
}

/** The pieces of a body. Throws a RegistryError when it breaks off or stands still; the time that the reader takes does not count. */
export async function* readPieces(answer: HttpAnswer, stallTimeoutMs = STALL_TIMEOUT_MS): AsyncGenerator<Buffer> {
  const { body, url } = answer;
  const stalled = () => body.destroy(new Error(`no bytes for ${Math.ceil(stallTimeoutMs / 1000)} s`));
  let timer = setTimeout(stalled, stallTimeoutMs);
  const pieces = body[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  try {
    for (;;) {
      let piece: IteratorResult<Buffer>;
      try {
        piece = await pieces.next();
      } catch (cause) {
        throw new RegistryError(`${url.host} breaks off its answer (${describeFailure(cause)})`, { cause });
      }
      if (piece.done === true) return;
      clearTimeout(timer);
      yield piece.value;
      timer = setTimeout(stalled, stallTimeoutMs);
    }
  } finally {
    clearTimeout(timer);
    body.destroy();
  }
}

/** The whole body, up to a limit. */
export async function readBody(answer: HttpAnswer, limitBytes: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of readPieces(answer)) {
    length += piece.length;
    if (length > limitBytes)
      throw new RegistryError(`${answer.url.host} answers with more than ${limitBytes} bytes`, { status: answer.status });
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
