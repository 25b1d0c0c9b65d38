// Owns the pushing half of the OCI distribution spec for one repository (spec, "Push"): is it there, can it be taken over from another
// repository, else upload it whole, else in pieces; manifests last.
import fs from 'node:fs';
import type { Credentials } from '../credentials/docker-config.ts';
import { type Reference, repositoryOf } from './reference.ts';
import { authorize, parseChallenges } from './registry-auth.ts';
import { adviceFor, parseErrorBody, parseRetryAfter, RegistryError } from './registry-error.ts';
import type { RegistryHost } from './registry-hosts.ts';
import { type HttpAnswer, type HttpRequest, isUnreachable, type RequestStream, readBody, request } from './registry-http.ts';
import { pause, retryDelayMs } from './registry-retry.ts';

const ATTEMPTS = 4;
const PIECE_BYTES = 16 * 1024 * 1024;
/** A registry may hash or copy what it got before it answers. */
const ANSWER_TIMEOUT_MS = 5 * 60_000;

/** A blob to be pushed: in memory, or a file. */
export type UploadContent = { readonly bytes: Buffer } | { readonly file: string };

export interface UploadRepository {
  has(digest: string): Promise<boolean>;
  /** Takes a blob over from another repository of the same registry; false where that is not possible. */
  mount(digest: string, from: string): Promise<boolean>;
  /** `sent`: bytes that have left, all together. */
  upload(digest: string, sizeBytes: number, content: UploadContent, sent?: (bytes: number) => void): Promise<void>;
  putManifest(tag: string, mediaType: string, bytes: Buffer): Promise<void>;
}

export interface UploadOptions {
  readonly host: RegistryHost;
  readonly auth?: Credentials | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly retryDelayMs?: number;
  /** Size of the pieces where one request is refused. */
  readonly pieceBytes?: number;
}

export function openUploads(reference: Reference, options: UploadOptions): UploadRepository {
  const { host, auth = {}, signal, retryDelayMs: firstDelayMs = 500, pieceBytes = PIECE_BYTES } = options;
  const base = `${host.base}/${reference.path}`;
  const authorizations = new Map<string, string>();

  /** Reading and writing are two rights with a token for each: a token that one request got may not do for the next. */
  async function send(
    method: NonNullable<HttpRequest['method']>,
    url: URL,
    more: Pick<HttpRequest, 'headers' | 'body'> = {},
  ): Promise<HttpAnswer> {
    const right = method === 'HEAD' || method === 'GET' ? 'pull' : 'pull,push';
    // The scheme counts: what TLS protects is not said without it.
    const sameHost = url.origin === new URL(host.base).origin;
    if (host.namespace !== undefined && !url.searchParams.has('ns')) url.searchParams.set('ns', host.namespace);
    for (let asked = false; ; asked = true) {
      const authorization = sameHost ? authorizations.get(right) : undefined;
      const answer = await request(url, {
        ...{ method, signal, tls: sameHost ? host.tls : undefined, answerTimeoutMs: ANSWER_TIMEOUT_MS },
        ...(more.body === undefined ? {} : { body: more.body }),
        headers: { ...(sameHost ? host.headers : {}), ...more.headers, ...(authorization !== undefined && { authorization }) },
      });
      const challenges = parseChallenges(answer.headers['www-authenticate'] ?? '');
      if (answer.status !== 401 || asked || challenges.length === 0) return answer;
      answer.body.destroy();
      authorizations.set(
        right,
        await authorize(challenges, { scope: `repository:${reference.path}:${right}`, auth, host, signal, purpose: 'push' }),
      );
    }
  }

  async function refusal(answer: HttpAnswer, what: string): Promise<RegistryError> {
    const body = await readBody(answer, 64 * 1024).catch(() => Buffer.alloc(0));
    const { code, message } = parseErrorBody(body.toString('utf8'));
    const { status } = answer;
    const reason = message === '' ? '' : ` ${message}`;
    const advice = status === 405 ? adviceFor(404, 'push') : adviceFor(status, 'push');
    return new RegistryError(`${answer.url.host} answers ${status}${reason} to ${what} for ${repositoryOf(reference)}; ${advice}`, {
      status,
      code,
      retryAfterMs: parseRetryAfter(answer.headers['retry-after'], Date.now()),
    });
  }

  async function persistently<T>(attempt: (attempts: number) => Promise<T>): Promise<T> {
    for (let attempts = 1; ; attempts++) {
      try {
        return await attempt(attempts);
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof RegistryError) || !error.isTransient || attempts === ATTEMPTS || isUnreachable(error)) throw error;
        const waitMs = retryDelayMs(error, attempts, firstDelayMs);
        if (waitMs === undefined) throw error;
        await pause(waitMs, signal);
      }
    }
  }

  /** Where to send the blob to: each upload gets a place of its own. Undefined: the registry has the blob by now. */
  async function begin(query = ''): Promise<URL | undefined> {
    const answer = await send('POST', new URL(`${base}/blobs/uploads/${query}`), { headers: { 'content-length': '0' } });
    if (answer.status !== 202 && answer.status !== 201) throw await refusal(answer, 'a new upload');
    answer.body.destroy();
    return answer.status === 201 ? undefined : locationOf(answer);
  }

  async function abandon(location: URL): Promise<void> {
    // A registry drops what nobody finishes; one that is told does it at once.
    const answer = await send('DELETE', location).catch(() => undefined);
    answer?.body.destroy();
  }

  return {
    has: (digest) =>
      persistently(async () => {
        const answer = await send('HEAD', new URL(`${base}/blobs/${digest}`));
        // Whoever may push but not read is told 401 or 403 here: the upload itself says more.
        const isThere = answer.status === 200;
        if (!isThere && ![401, 403, 404].includes(answer.status)) throw await refusal(answer, 'the question for a blob');
        answer.body.destroy();
        return isThere;
      }),
    mount: async (digest, from) => {
      const location = await begin(`?${new URLSearchParams({ mount: digest, from })}`);
      if (location === undefined) return true;
      await abandon(location);
      return false;
    },
    upload: (digest, sizeBytes, content, sent) =>
      persistently(async (attempts) => {
        const location = await begin();
        if (location === undefined) return;
        // The first attempts in one piece; a registry or a proxy that refuses large requests gets small ones.
        const whole = attempts === 1;
        const put = (at: URL, body: RequestStream | Buffer) => {
          at.searchParams.set('digest', digest);
          return send('PUT', at, { body, headers: { 'content-type': 'application/octet-stream' } });
        };
        if (whole) {
          const done = await put(location, piece(content, 0, sizeBytes, sent));
          if (done.status === 201) return void done.body.destroy();
          if (![404, 405, 411, 413, 416, 501].includes(done.status) && done.status < 500) throw await refusal(done, 'an upload');
          done.body.destroy();
          throw new RegistryError(
            `${done.url.host} answers ${done.status} to an upload for ${repositoryOf(reference)}; ${adviceFor(done.status)}`,
          );
        }
        let at = location;
        for (let start = 0; start < sizeBytes; start += pieceBytes) {
          const length = Math.min(pieceBytes, sizeBytes - start);
          const part = await send('PATCH', at, {
            body: piece(content, start, length, sent),
            headers: { 'content-type': 'application/octet-stream', 'content-range': `${start}-${start + length - 1}` },
          });
          if (part.status !== 202) throw await refusal(part, 'a piece of an upload');
          part.body.destroy();
          at = locationOf(part);
        }
        const done = await put(at, Buffer.alloc(0));
        if (done.status !== 201) throw await refusal(done, 'the end of an upload');
        done.body.destroy();
      }),
    putManifest: (tag, mediaType, bytes) =>
      persistently(async () => {
        const answer = await send('PUT', new URL(`${base}/manifests/${tag}`), { body: bytes, headers: { 'content-type': mediaType } });
        if (answer.status !== 201) throw await refusal(answer, 'the manifest');
        answer.body.destroy();
      }),
  };
}

function locationOf(answer: HttpAnswer): URL {
  const { location } = answer.headers;
  if (location === undefined || !URL.canParse(location, answer.url.href))
    throw new RegistryError(`${answer.url.host} names no place to upload to`, { status: answer.status });
  const url = new URL(location, answer.url);
  if (!/^https?:$/.test(url.protocol) || (answer.url.protocol === 'https:' && url.protocol === 'http:'))
    throw new RegistryError(
      `${answer.url.host} is asked with TLS and names ${url.origin} to upload to; the proxy before it must tell it X-Forwarded-Proto: https`,
      { status: answer.status },
    );
  return url;
}

function piece(content: UploadContent, start: number, length: number, sent: ((bytes: number) => void) | undefined): RequestStream | Buffer {
  if ('bytes' in content) return content.bytes.subarray(start, start + length);
  return {
    sizeBytes: length,
    open: () => {
      const stream = fs.createReadStream(content.file, { start, end: start + length - 1, highWaterMark: 1 << 17 });
      stream.on('data', () => sent?.(start + stream.bytesRead));
      return stream;
    },
  };
}
