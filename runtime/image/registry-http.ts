// Owns one HTTP request to a registry: redirects, timeouts, and errors that say which host did what. Bodies are streams.
import http from 'node:http';
import https from 'node:https';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { RegistryError } from './registry-error.ts';
import type { HostTls } from './registry-hosts.ts';

const REDIRECT_LIMIT = 5;
const ANSWER_TIMEOUT_MS = 30_000;

export interface HttpRequest {
  readonly method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | RequestStream;
  readonly signal?: AbortSignal | undefined;
  /** For the first host; one that it redirects to is trusted as usual. */
  readonly tls?: HostTls | undefined;
  /** How long the registry may be silent before it answers; a while longer for what makes it work. */
  readonly answerTimeoutMs?: number;
  /** Ends the transfer when nothing has come for so long. */
  readonly progressTimeoutMs?: number;
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

/** "127.0.0.1:5000" speaks plain HTTP: the loopback addresses of this host, any port. Everything else speaks HTTPS. */
export function isPlainHttp(domain: string): boolean {
  return /^(127(\.\d{1,3}){3}|localhost|\[::1\])(:\d+)?$/.test(domain);
}

/** "ECONNREFUSED" and the like in words. */
export function describeFailure(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const words: Record<string, string> = {
    ECONNREFUSED: 'connection refused',
    ENOTFOUND: 'its name is not known to DNS',
    EAI_AGAIN: 'DNS does not answer',
    ECONNRESET: 'connection reset',
    ENETUNREACH: 'network unreachable',
    EHOSTUNREACH: 'host unreachable',
    ETIMEDOUT: 'connection timed out',
    EPROTO: 'it does not speak TLS',
  };
  // Several addresses were tried: the first failure stands for all.
  const nested = error instanceof AggregateError ? error.errors[0] : undefined;
  if (nested instanceof Error && words[code ?? ''] === undefined) return describeFailure(nested);
  return words[code ?? ''] ?? message;
}

function send(url: URL, { method = 'GET', headers = {}, body, signal, tls, ...timeouts }: HttpRequest): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const { answerTimeoutMs = ANSWER_TIMEOUT_MS, progressTimeoutMs } = timeouts;
    const client = url.protocol === 'http:' ? http : https;
    const request = client.request(url, {
      method,
      headers: { 'user-agent': 'tskubelet', ...lengthOf(body), ...headers },
      timeout: answerTimeoutMs,
      ...(signal && { signal }),
      ...(tls && { rejectUnauthorized: !tls.skipVerify, ca: tls.ca, cert: tls.certs, key: tls.keys }),
    });
    request.on('timeout', () =>
      request.destroy(new Error(`no bytes for ${Math.round((request.socket?.timeout ?? answerTimeoutMs) / 1000)} s`)),
    );
    request.on('error', reject);
    request.on('response', (answer) => {
      if (progressTimeoutMs !== undefined) answer.socket.setTimeout(progressTimeoutMs);
      resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: answer, url });
    });
    // An answer may come before the whole body is sent, a refusal: the broken stream is then no news.
    if (typeof body === 'object' && 'open' in body) pipeline(body.open(), request).catch((error: Error) => request.destroy(error));
    else request.end(body);
  });
}

function lengthOf(body: HttpRequest['body']): Record<string, string> {
  if (body === undefined) return {};
  const bytes = typeof body === 'string' ? Buffer.byteLength(body) : 'open' in body ? body.sizeBytes : body.length;
  return { 'content-length': String(bytes) };
}

/** Sends a request and follows redirects; credentials go to the first host only. */
export async function request(url: URL, options: HttpRequest): Promise<HttpAnswer> {
  let target = url;
  let { headers = {}, tls } = options;
  for (let redirects = 0; ; redirects++) {
    let answer: HttpAnswer;
    try {
      answer = await send(target, { ...options, headers, tls });
    } catch (cause) {
      options.signal?.throwIfAborted();
      throw new RegistryError(`${target.host} does not answer (${describeFailure(cause)})`, { cause });
    }
    const { location } = answer.headers;
    if (![301, 302, 303, 307, 308].includes(answer.status) || location === undefined) return answer;
    answer.body.destroy();
    if (redirects === REDIRECT_LIMIT)
      throw new RegistryError(`${url.host} redirects more than ${REDIRECT_LIMIT} times`, { status: answer.status });
    const next = new URL(location, target);
    if (!/^https?:$/.test(next.protocol) || (target.protocol === 'https:' && next.protocol === 'http:')) {
      throw new RegistryError(`${target.host} redirects to ${next.protocol}//${next.host}, which is not safe to follow`, {
        status: answer.status,
      });
    }
    if (next.host !== target.host) {
      tls = undefined;
      headers = Object.fromEntries(Object.entries(headers).filter(([name]) => name.toLowerCase() !== 'authorization'));
    }
    target = next;
  }
}

/** The whole body, up to a limit. */
export async function readBody(answer: HttpAnswer, limitBytes: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let length = 0;
  try {
    for await (const piece of answer.body as AsyncIterable<Buffer>) {
      length += piece.length;
      if (length > limitBytes)
        throw new RegistryError(`${answer.url.host} answers with more than ${limitBytes} bytes`, { status: answer.status });
      pieces.push(piece);
    }
  } catch (cause) {
    if (cause instanceof RegistryError) throw cause;
    throw new RegistryError(`${answer.url.host} breaks off its answer (${describeFailure(cause)})`, { cause });
  } finally {
    answer.body.destroy();
  }
  return Buffer.concat(pieces);
}
