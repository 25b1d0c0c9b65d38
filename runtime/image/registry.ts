// Owns the client side of the OCI distribution spec for one repository: manifests into memory, blobs into files.
import fs from 'node:fs';
import { BlobWriter } from './blob-writer.ts';
import { digestOf } from './digest.ts';
import { indexMediaTypes, manifestMediaTypes } from './manifest.ts';
import { formatReference, type Reference, repositoryOf } from './reference.ts';
import { authorize, parseChallenges } from './registry-auth.ts';
import { adviceFor, parseErrorBody, RegistryError } from './registry-error.ts';
import { type Capability, planUpstream, type RegistryHost } from './registry-hosts.ts';
import { describeFailure, type HttpAnswer, readBody, request } from './registry-http.ts';
import type { PullAuth } from './store.ts';

const MANIFEST_LIMIT_BYTES = 8 * 1024 * 1024;
const ATTEMPTS = 4;
/** As containerd's image_pull_progress_timeout. */
export const progressTimeoutMs = 5 * 60_000;

export interface RegistryManifest {
  readonly bytes: Buffer;
  readonly mediaType: string;
  readonly digest: string;
}

export interface Repository {
  /** By tag or digest; a digest is verified. */
  manifest(reference: string): Promise<RegistryManifest>;
  /** A small blob, verified. */
  blob(digest: string, sizeBytes: number): Promise<Buffer>;
  /** A blob into a new file. Its size is checked, its digest is the caller's to check. Broken connections are resumed. */
  download(digest: string, sizeBytes: number, file: string, onBytes?: (received: number) => void): Promise<void>;
}

export interface RepositoryOptions {
  readonly auth?: PullAuth | undefined;
  /** Where to ask, in this order; the registry itself by default. */
  readonly hosts?: readonly RegistryHost[];
  readonly signal?: AbortSignal | undefined;
  readonly progressTimeoutMs?: number;
  /** Before the second attempt; grows from there. */
  readonly retryDelayMs?: number;
}

export function openRepository(reference: Reference, options: RepositoryOptions): Repository {
  const { auth = {}, signal } = options;
  const hosts = options.hosts ?? [planUpstream(reference.domain)];
  const scope = `repository:${reference.path}:pull`;
  const authorizations = new Map<RegistryHost, string>();

  /** Asks one host after the other: what a mirror lacks, or cannot tell, the next one may have. */
  async function get(path: string, headers: Record<string, string>, needed: Capability): Promise<HttpAnswer> {
    const able = hosts.filter(({ capabilities }) => capabilities.has(needed));
    const failures: RegistryError[] = [];
    for (const host of able) {
      try {
        return await getFrom(host, path, headers);
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof RegistryError)) throw error;
        failures.push(error);
      }
    }
    throw summarize(failures, needed);
  }

  async function getFrom(host: RegistryHost, path: string, headers: Record<string, string>): Promise<HttpAnswer> {
    const url = new URL(`${host.base}/${reference.path}/${path}`);
    if (host.namespace !== undefined) url.searchParams.set('ns', host.namespace);
    for (let asked = false; ; asked = true) {
      const authorization = authorizations.get(host);
      const answer = await request(url, {
        headers: { ...host.headers, ...headers, ...(authorization !== undefined && { authorization }) },
        signal,
        tls: host.tls,
        progressTimeoutMs: options.progressTimeoutMs ?? progressTimeoutMs,
      });
      if (answer.status === 200 || answer.status === 206) return answer;
      const challenges = parseChallenges(answer.headers['www-authenticate'] ?? '');
      if (answer.status !== 401 || asked || challenges.length === 0) throw await refusal(host, answer);
      answer.body.destroy();
      authorizations.set(host, await authorize(challenges, scope, credentialsFor(host, auth), signal));
    }
  }

  /** The last host's word counts: it is the registry itself, or stands in for it. What the mirrors said is told with it. */
  function summarize(failures: readonly RegistryError[], needed: Capability): RegistryError {
    const last = failures.at(-1);
    if (last === undefined)
      return new RegistryError(`no host configured for ${reference.domain} has the capability ${needed}`, { status: 400 });
    if (failures.length === 1) return last;
    const mirrors = failures.slice(0, -1).map(({ message }) => message.replace(/; .*$/, ''));
    const { status, code, cause } = last;
    return new RegistryError(`${last.message}; before that: ${mirrors.join(', ')}`, {
      ...(status !== undefined && { status }),
      code,
      cause,
    });
  }

  async function refusal({ namespace }: RegistryHost, answer: HttpAnswer): Promise<RegistryError> {
    const body = await readBody(answer, 64 * 1024).catch(() => Buffer.alloc(0));
    const { code, message } = parseErrorBody(body.toString('utf8'));
    const { status } = answer;
    const reason = message === '' ? '' : ` ${message}`;
    if (status === 404)
      return new RegistryError(
        `${repositoryOf(reference)} is not in ${namespace === undefined ? 'the registry' : `the mirror ${answer.url.host}`} (404${reason}); ${adviceFor(404)}`,
        { status, code },
      );
    return new RegistryError(`${answer.url.host} answers ${status}${reason}; ${adviceFor(status)}`, { status, code });
  }

  /** Asks again where that may help; each attempt may go on from where the last one stopped. */
  async function persistently<T>(attempt: () => Promise<T>): Promise<T> {
    for (let attempts = 1; ; attempts++) {
      try {
        return await attempt();
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof RegistryError) || !error.isTransient || attempts === ATTEMPTS || isHopeless(error)) throw error;
        await delay((options.retryDelayMs ?? 500) * 2 ** (attempts - 1), signal);
      }
    }
  }

  return {
    manifest: (name) =>
      persistently(async () => {
        const answer = await get(
          `manifests/${name}`,
          { accept: [...manifestMediaTypes, ...indexMediaTypes].join(', ') },
          name.includes(':') ? 'pull' : 'resolve',
        );
        const bytes = await readBody(answer, MANIFEST_LIMIT_BYTES);
        const expected = name.includes(':') ? name : undefined;
        const digest = digestOf(bytes, expected);
        if (expected !== undefined && digest !== expected) {
          throw new RegistryError(`the registry gives a manifest with the digest ${digest} for ${expected}`, { status: answer.status });
        }
        return { bytes, digest, mediaType: (answer.headers['content-type'] ?? '').split(';')[0]?.trim() ?? '' };
      }),
    blob: (digest, sizeBytes) =>
      persistently(async () => {
        const answer = await get(`blobs/${digest}`, {}, 'pull');
        const bytes = await readBody(answer, Math.max(sizeBytes, 1));
        if (digestOf(bytes, digest) !== digest) {
          throw new RegistryError(`the registry gives content with the digest ${digestOf(bytes, digest)} for ${digest}`, {
            status: answer.status,
          });
        }
        return bytes;
      }),
    download: async (digest, sizeBytes, file, onBytes) => {
      const handle = await fs.promises.open(file, 'wx', 0o600);
      try {
        let done = 0;
        await persistently(async () => {
          if (done === sizeBytes && done > 0) return;
          const answer = await get(`blobs/${digest}`, done > 0 ? { range: `bytes=${done}-` } : {}, 'pull');
          // A registry without ranges begins anew.
          if (answer.status === 200) done = 0;
          const writer = new BlobWriter(handle, done, (bytes) => {
            done = bytes;
            onBytes?.(done);
          });
          try {
            for await (const piece of answer.body as AsyncIterable<Buffer>) {
              if (writer.endBytes + piece.length > sizeBytes) {
                throw new RegistryError(`the blob ${digest} is longer than the ${sizeBytes} bytes that its manifest says`, {
                  status: answer.status,
                });
              }
              await writer.push(piece);
            }
            await writer.flush();
          } catch (cause) {
            // What came before the break need not come again.
            await writer.flush().catch(() => undefined);
            if (cause instanceof RegistryError || (cause as NodeJS.ErrnoException).code === 'ENOSPC') throw cause;
            throw new RegistryError(`${answer.url.host} breaks off in the middle of a layer (${describeFailure(cause)})`, { cause });
          } finally {
            answer.body.destroy();
          }
          if (done < sizeBytes) throw new RegistryError(`the blob ${digest} ends after ${done} of ${sizeBytes} bytes`);
        });
        await handle.truncate(done);
      } finally {
        await handle.close();
      }
    },
  };

  function isHopeless({ cause }: RegistryError): boolean {
    // Nothing listens, or there is no such name: the caller's own back-off is the better place to wait.
    return cause instanceof Error && /ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ENETUNREACH/.test((cause as NodeJS.ErrnoException).code ?? '');
  }
}

/** Credentials that name their host are not told to a mirror that is another. */
function credentialsFor({ base, namespace }: RegistryHost, auth: PullAuth): PullAuth {
  const { serverAddress = '' } = auth;
  if (namespace === undefined || serverAddress === '') return auth;
  const owner = serverAddress.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
  return owner === new URL(base).host ? auth : {};
}

/** What to ask the registry for: the digest where there is one. */
export function manifestName(reference: Reference): string {
  return reference.digest ?? reference.tag ?? formatReference(reference);
}

function delay(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    signal?.addEventListener('abort', stop, { once: true });
  });
}
