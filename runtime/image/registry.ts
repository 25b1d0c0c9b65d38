// Owns pulling by the OCI distribution spec from one repository: manifests and small blobs into memory, layers into what takes them.
import { digestOf } from './digest.ts';
import { type Ingest, openIngest } from './ingest.ts';
import { type Descriptor, indexMediaTypes, manifestMediaTypes } from './manifest.ts';
import { formatReference, type Reference } from './reference.ts';
import { openRegistry, type RegistryOptions } from './registry-client.ts';
import { RegistryError } from './registry-error.ts';
import type { RegistryHost } from './registry-hosts.ts';
import { discard, type HttpAnswer, readBody, readPieces, request } from './registry-http.ts';

/** More than the distribution spec asks registries to take (4 MiB). */
const MANIFEST_LIMIT_BYTES = 8 * 1024 * 1024;
/** The same wrong bytes twice are not the network's doing. */
const WRONG_CONTENTS = 2;
/** Bytes that came are counted as they come; a proxy that compresses on its way would make them others. */
const AS_IT_IS = { 'accept-encoding': 'identity' };

export interface RegistryManifest {
  readonly bytes: Buffer;
  readonly mediaType: string;
  readonly digest: string;
}

export type RemoteBlob = Pick<Descriptor, 'digest' | 'sizeBytes' | 'urls'>;

export interface Repository {
  /** By tag or digest; a digest is verified. */
  manifest(reference: string): Promise<RegistryManifest>;
  /** A small blob, verified. */
  blob(blob: RemoteBlob): Promise<Buffer>;
  /** The rest of a blob into `ingest`, whole and verified when it resolves. Interrupted transfers go on from where they were. */
  download(blob: RemoteBlob, ingest: Ingest): Promise<void>;
}

export function openRepository(reference: Reference, options: RegistryOptions): Repository {
  const client = openRegistry(reference, options);
  const { signal, stallTimeoutMs } = options;

  /** The registry's hosts, then the places that the manifest of a foreign layer names, which get no credentials. */
  async function askForBlob({ digest, urls = [] }: RemoteBlob, from: number): Promise<HttpAnswer & { readonly host?: RegistryHost }> {
    const headers = { ...AS_IT_IS, ...(from > 0 && { range: `bytes=${from}-` }) };
    try {
      return await client.ask(`blobs/${digest}`, 'pull', { headers, isVerified: true });
    } catch (error) {
      signal?.throwIfAborted();
      for (const text of urls) {
        if (!URL.canParse(text) || !/^https?:/.test(text)) continue;
        const answer = await request(new URL(text), { headers, isVerified: true, signal }).catch(() => undefined);
        if (answer?.status === 200 || answer?.status === 206) return answer;
        if (answer !== undefined) discard(answer);
      }
      throw error;
    }
  }

  /** One transfer: as far as it goes. */
  async function transfer(blob: RemoteBlob, ingest: Ingest): Promise<RegistryHost | undefined> {
    const { digest, sizeBytes } = blob;
    const from = ingest.receivedBytes;
    const answer = await askForBlob(blob, from);
    const { status, headers, host, url } = answer;
    const start = status === 206 ? Number(/^bytes (\d+)-/.exec(headers['content-range'] ?? '')?.[1] ?? from) : 0;
    // A registry without ranges begins anew: what is here already is not taken twice, since it may be unpacked by now.
    let skip = from - start;
    const comes = Number(headers['content-length'] ?? Number.NaN);
    try {
      if (skip < 0) throw new RegistryError(`${url.host} gives another part of the blob ${digest} than it was asked for`);
      if (start + comes > sizeBytes) throw tooLong(blob, status);
      for await (const all of readPieces(answer, stallTimeoutMs)) {
        const piece = all.subarray(Math.min(skip, all.length));
        skip -= all.length - piece.length;
        if (ingest.receivedBytes + piece.length > sizeBytes) throw tooLong(blob, status);
        await ingest.append(piece);
        signal?.throwIfAborted();
      }
      await ingest.flush();
      if (ingest.receivedBytes < sizeBytes)
        throw new RegistryError(`the blob ${digest} ends after ${ingest.receivedBytes} of ${sizeBytes} bytes`);
      return host;
    } catch (error) {
      // What came before the break need not come again.
      await ingest.flush().catch(() => undefined);
      if (host !== undefined && error instanceof RegistryError) client.demote(host);
      throw error;
    } finally {
      answer.body.destroy();
    }
  }

  return {
    manifest: (name) =>
      client.persistently(async () => {
        const expected = name.includes(':') ? name : undefined;
        const accept = [...manifestMediaTypes, ...indexMediaTypes].join(', ');
        const answer = await client.ask(`manifests/${name}`, expected === undefined ? 'resolve' : 'pull', {
          headers: { ...AS_IT_IS, accept },
        });
        const bytes = await readBody(answer, MANIFEST_LIMIT_BYTES);
        // Without a digest to go by, the registry's own word tells at least what the way here has spoiled.
        const told = answer.headers['docker-content-digest'];
        const wanted = expected ?? (typeof told === 'string' && told.startsWith('sha256:') ? told : undefined);
        const digest = digestOf(bytes, wanted);
        if (wanted !== undefined && digest !== wanted) {
          client.demote(answer.host);
          throw new RegistryError(`the registry gives a manifest with the digest ${digest} for ${wanted}`, {
            status: answer.status,
            transient: true,
          });
        }
        return { bytes, digest, mediaType: (answer.headers['content-type'] ?? '').split(';')[0]?.trim() ?? '' };
      }),
    blob: (blob) =>
      client.persistently(async () => {
        const answer = await askForBlob(blob, 0);
        const bytes = await readBody(answer, Math.max(blob.sizeBytes, 1));
        const digest = digestOf(bytes, blob.digest);
        if (digest !== blob.digest) {
          if (answer.host !== undefined) client.demote(answer.host);
          throw new RegistryError(`the registry gives content with the digest ${digest} for ${blob.digest}`, {
            status: answer.status,
            transient: true,
          });
        }
        return bytes;
      }),
    download: async (blob, ingest) => {
      let wrong = 0;
      let received = 0;
      let last = ingest.receivedBytes;
      const progress = () => {
        received += Math.max(0, ingest.receivedBytes - last);
        last = ingest.receivedBytes;
        return received;
      };
      await client.persistently(async () => {
        const host = ingest.receivedBytes < blob.sizeBytes ? await transfer(blob, ingest) : undefined;
        const digest = ingest.digest();
        if (digest === blob.digest && ingest.receivedBytes === blob.sizeBytes) return;
        if (host !== undefined) client.demote(host);
        await ingest.restart();
        throw new RegistryError(`the registry gives content with the digest ${digest} for the layer ${blob.digest}`, {
          status: 200,
          transient: ++wrong < WRONG_CONTENTS,
        });
      }, progress);
    },
  };
}

function tooLong({ digest, sizeBytes }: RemoteBlob, status: number): RegistryError {
  return new RegistryError(`the blob ${digest} is longer than the ${sizeBytes} bytes that its manifest says`, { status });
}

/** A blob into a file of its own, for those who need no more than that. */
export async function downloadTo(repository: Repository, blob: RemoteBlob, file: string): Promise<void> {
  const ingest = await openIngest(file, blob);
  try {
    await repository.download(blob, ingest);
  } finally {
    await ingest.close();
  }
}

/** What to ask the registry for: the digest where there is one. */
export function manifestName(reference: Reference): string {
  return reference.digest ?? reference.tag ?? formatReference(reference);
}
