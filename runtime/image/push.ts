// Owns pushing: from an image of the store to a tag of a registry. What the registry has is not sent again, the manifest goes last.
import path from 'node:path';
import type { Credentials } from '../credentials/docker-config.ts';
import type { ImageRecord } from './image-index.ts';
import { findOriginal, type OutgoingImage, type OutgoingLayer, originsOf, packImage } from './outgoing.ts';
import { withIngestDir } from './parts.ts';
import { formatReference, type Reference } from './reference.ts';
import { downloadTo, openRepository, type Repository } from './registry.ts';
import type { RegistryOptions } from './registry-client.ts';
import { RegistryError } from './registry-error.ts';
import { findHosts, type RegistryHost } from './registry-hosts.ts';
import { openUploads, type UploadContent, type UploadRepository } from './registry-upload.ts';

/** present: the registry has it. mounted: taken over from another repository there. fetching: from where the image came from. */
export type PushState = 'waiting' | 'packing' | 'fetching' | 'uploading' | 'done' | 'present' | 'mounted';

export interface PushedLayer {
  readonly digest: string;
  readonly totalBytes: number;
  readonly sentBytes: number;
  readonly state: PushState;
}

export interface PushResult {
  /** "registry.example/app:1" */
  readonly reference: string;
  /** Of the manifest. */
  readonly digest: string;
  /** The pushed image's id; another one than the image's where its layers had to be packed anew. */
  readonly id: string;
}

export interface PushRequest {
  readonly record: ImageRecord;
  readonly target: Reference;
  readonly auth?: Credentials | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (layers: readonly PushedLayer[]) => void;
}

export interface PushParts {
  readonly ingestDir: string;
  readonly registryConfigDir: string | undefined;
  /** For the repositories that the image came from. */
  readonly findCredentials: RegistryOptions['findCredentials'];
  read(digest: string): Promise<Buffer>;
  /** Directories of the layers, bottom first, each holding its own changes. */
  layerDirs(record: ImageRecord): readonly string[];
}

const AT_ONCE = 3;

export async function pushImage(parts: PushParts, push: PushRequest): Promise<PushResult> {
  const { record, target, signal } = push;
  const { tag } = target;
  if (tag === undefined) throw new RegistryError(`push to ${formatReference(target)}: name a tag, not a digest`, { status: 400 });
  try {
    const host = await pushHost(parts, target);
    const uploads = openUploads(target, { host, auth: push.auth, signal });
    return await withIngestDir(parts.ingestDir, async (dir) => {
      const original = await findOriginal(record, parts.read);
      const sent = original !== undefined && (await sendOriginal(parts, uploads, { image: original, dir, push })) ? original : undefined;
      const image = sent ?? (await sendPacked(parts, uploads, dir, push));
      await sendBlob(uploads, { digest: image.config.digest, sizeBytes: image.config.bytes.length }, { bytes: image.config.bytes });
      await uploads.putManifest(tag, image.manifest.mediaType, image.manifest.bytes);
      return { reference: formatReference(target), digest: image.manifest.digest, id: image.id };
    });
  } catch (cause) {
    signal?.throwIfAborted();
    const subject = `image cannot be pushed to ${formatReference(target)}`;
    if (!(cause instanceof RegistryError)) throw new Error(subject, { cause });
    const { status, code } = cause;
    throw new RegistryError(`${subject}: ${cause.message}`, { ...(status !== undefined && { status }), code, cause: cause.cause });
  }
}

/** The last one that takes pushes: the registry itself stands behind its mirrors. */
async function pushHost({ registryConfigDir }: PushParts, target: Reference): Promise<RegistryHost> {
  const hosts = await findHosts(registryConfigDir, target.domain);
  const host = hosts.findLast(({ capabilities }) => capabilities.has('push'));
  if (host === undefined) throw new RegistryError(`no host configured for ${target.domain} has the capability push`, { status: 400 });
  return host;
}

class Progress {
  readonly #layers: PushedLayer[];
  readonly #tell: PushRequest['onProgress'];

  constructor(layers: readonly OutgoingLayer[], tell: PushRequest['onProgress']) {
    this.#layers = layers.map(({ digest, sizeBytes }) => ({ digest, totalBytes: sizeBytes, sentBytes: 0, state: 'waiting' }));
    this.#tell = tell;
    this.#tell?.(this.#layers);
  }

  set(index: number, fields: Partial<PushedLayer>): void {
    const layer = this.#layers[index];
    if (layer === undefined) return;
    this.#layers[index] = { ...layer, ...fields };
    this.#tell?.([...this.#layers]);
  }
}

/** False where a layer can be had nowhere: then the image must be packed anew. */
async function sendOriginal(
  parts: PushParts,
  uploads: UploadRepository,
  { image, dir, push }: { readonly image: OutgoingImage; readonly dir: string; readonly push: PushRequest },
): Promise<boolean> {
  const { record, target } = push;
  const origins = originsOf(record);
  const progress = new Progress(image.layers, push.onProgress);
  const sendOne = async (layer: OutgoingLayer, index: number): Promise<boolean> => {
    if (await uploads.has(layer.digest)) {
      progress.set(index, { state: 'present', sentBytes: layer.sizeBytes });
      return true;
    }
    for (const origin of origins.filter(({ domain, path: name }) => domain === target.domain && name !== target.path))
      if (await uploads.mount(layer.digest, origin.path)) {
        progress.set(index, { state: 'mounted', sentBytes: layer.sizeBytes });
        return true;
      }
    progress.set(index, { state: 'fetching' });
    const file = await fetchLayer(parts, origins, layer, { file: path.join(dir, `fetched-${index}`), push });
    if (file === undefined) return false;
    progress.set(index, { state: 'uploading' });
    await uploads.upload(layer.digest, layer.sizeBytes, { file }, (sentBytes) => progress.set(index, { sentBytes }));
    progress.set(index, { state: 'done', sentBytes: layer.sizeBytes });
    return true;
  };
  const sent = await atMost(AT_ONCE, image.layers, sendOne);
  return sent.every(Boolean);
}

/** A repository that an image came from, by what this machine knows of its registry. */
export async function openOrigin(
  { registryConfigDir, findCredentials }: PushParts,
  origin: Reference,
  options: Pick<RegistryOptions, 'auth' | 'signal'>,
): Promise<Repository> {
  return openRepository(origin, { ...options, findCredentials, hosts: await findHosts(registryConfigDir, origin.domain) });
}

/** A layer from one of the repositories that the image came from; undefined when none gives it. */
async function fetchLayer(
  parts: PushParts,
  origins: readonly Reference[],
  layer: OutgoingLayer,
  { file, push }: { readonly file: string; readonly push: PushRequest },
): Promise<string | undefined> {
  for (const origin of origins) {
    try {
      // The credentials are for where it goes to.
      const auth = origin.domain === push.target.domain ? push.auth : undefined;
      await downloadTo(await openOrigin(parts, origin, { auth, signal: push.signal }), layer, file);
      return file;
    } catch {
      push.signal?.throwIfAborted();
    }
  }
  return undefined;
}

async function sendPacked(parts: PushParts, uploads: UploadRepository, dir: string, push: PushRequest): Promise<OutgoingImage> {
  const { record, signal, onProgress } = push;
  const dirs = parts.layerDirs(record);
  const packing = new Progress(
    dirs.map((_, index) => ({ digest: record.diffIds[index] ?? record.id, sizeBytes: 0 })),
    onProgress,
  );
  const image = await packImage(await parts.read(record.id), dirs, dir, {
    signal,
    onLayer: (index) => packing.set(index, { state: 'packing' }),
  });
  const progress = new Progress(image.layers, onProgress);
  await atMost(AT_ONCE, image.layers, async (layer, index) => {
    progress.set(index, { state: 'uploading' });
    const file = image.files.get(layer.digest);
    if (file === undefined) throw new Error(`the packed layer ${layer.digest} has no file`);
    const isNew = await sendBlob(uploads, layer, { file }, (sentBytes) => progress.set(index, { sentBytes }));
    progress.set(index, { state: isNew ? 'done' : 'present', sentBytes: layer.sizeBytes });
  });
  return image;
}

/** False when the registry had it. */
async function sendBlob(
  uploads: UploadRepository,
  { digest, sizeBytes }: OutgoingLayer,
  content: UploadContent,
  sent?: (bytes: number) => void,
): Promise<boolean> {
  if (await uploads.has(digest)) return false;
  await uploads.upload(digest, sizeBytes, content, sent);
  return true;
}

/** All of them, a few at a time; the first failure ends it once what is under way has ended. */
async function atMost<T, R>(limit: number, items: readonly T[], work: (item: T, index: number) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const rest = [...items.entries()];
  const lane = async () => {
    for (let next = rest.shift(); next !== undefined; next = rest.shift()) {
      try {
        results[next[0]] = await work(next[1], next[0]);
      } catch (error) {
        rest.length = 0;
        throw error;
      }
    }
  };
  const failed = (await Promise.allSettled(Array.from({ length: limit }, lane))).find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  return results;
}
