// Owns the client side of the OCI distribution spec for one repository: manifests into memory, blobs into files.
import fs from 'node:fs';
import { digestOf } from './digest.ts';
import { indexMediaTypes, manifestMediaTypes } from './manifest.ts';
import { formatReference, type Reference, repositoryOf } from './reference.ts';
import { authorize, parseChallenges } from './registry-auth.ts';
import { adviceFor, parseErrorBody, RegistryError } from './registry-error.ts';
import { describeFailure, type HttpAnswer, isPlainHttp, readBody, request } from './registry-http.ts';
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
  download(digest: string, sizeBytes: number, file: string): Promise<void>;
}

export interface RepositoryOptions {
  readonly auth?: PullAuth | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly progressTimeoutMs?: number;
  /** Before the second attempt; grows from there. */
  readonly retryDelayMs?: number;
}

function baseUrl({ domain }: Reference): string {
  // Docker Hub's registry does not live under its name.
  if (domain === 'docker.io') return 'https://registry-1.docker.io';
  return `${isPlainHttp(domain) ? 'http' : 'https'}://${domain}`;
}

export function openRepository(reference: Reference, options: RepositoryOptions): Repository {
  const { auth = {}, signal } = options;
  const base = `${baseUrl(reference)}/v2/${reference.path}`;
  const scope = `repository:${reference.path}:pull`;
  let authorization: string | undefined;

  async function get(path: string, headers: Record<string, string>): Promise<HttpAnswer> {
    for (let asked = false; ; asked = true) {
      const answer = await request(new URL(`${base}/${path}`), {
        headers: { ...headers, ...(authorization !== undefined && { authorization }) },
        signal,
        progressTimeoutMs: options.progressTimeoutMs ?? progressTimeoutMs,
      });
      if (answer.status === 200 || answer.status === 206) return answer;
      const challenges = parseChallenges(answer.headers['www-authenticate'] ?? '');
      if (answer.status !== 401 || asked || challenges.length === 0) throw await refusal(answer);
      answer.body.destroy();
      authorization = await authorize(challenges, scope, auth, signal);
    }
  }

  async function refusal(answer: HttpAnswer): Promise<RegistryError> {
    const body = await readBody(answer, 64 * 1024).catch(() => Buffer.alloc(0));
    const { code, message } = parseErrorBody(body.toString('utf8'));
    const { status } = answer;
    const reason = message === '' ? '' : ` ${message}`;
    if (status === 404)
      return new RegistryError(`${repositoryOf(reference)} is not in the registry (404${reason}); ${adviceFor(404)}`, { status, code });
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
        const answer = await get(`manifests/${name}`, { accept: [...manifestMediaTypes, ...indexMediaTypes].join(', ') });
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
        const answer = await get(`blobs/${digest}`, {});
        const bytes = await readBody(answer, Math.max(sizeBytes, 1));
        if (digestOf(bytes, digest) !== digest) {
          throw new RegistryError(`the registry gives content with the digest ${digestOf(bytes, digest)} for ${digest}`, {
            status: answer.status,
          });
        }
        return bytes;
      }),
    download: async (digest, sizeBytes, file) => {
      const handle = await fs.promises.open(file, 'wx', 0o600);
      try {
        let done = 0;
        await persistently(async () => {
          if (done === sizeBytes && done > 0) return;
          const answer = await get(`blobs/${digest}`, done > 0 ? { range: `bytes=${done}-` } : {});
          // A registry without ranges begins anew.
          if (answer.status === 200) done = 0;
          try {
            for await (const piece of answer.body as AsyncIterable<Buffer>) {
              if (done + piece.length > sizeBytes) {
                throw new RegistryError(`the blob ${digest} is longer than the ${sizeBytes} bytes that its manifest says`, {
                  status: answer.status,
                });
              }
              await handle.write(piece, 0, piece.length, done);
              done += piece.length;
            }
          } catch (cause) {
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
