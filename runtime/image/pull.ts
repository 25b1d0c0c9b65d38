// Owns pulling: from a reference to layers on disk. The manifest decides; nothing of an image is visible before all of it is verified.
import fs from 'node:fs';
import path from 'node:path';
import { renderError } from '../errors.ts';
import { BlobProgress } from './blob-feed.ts';
import { chainIds } from './digest.ts';
import { choosePlatform, type Descriptor, type Manifest, parseConfig, parseManifest } from './manifest.ts';
import { type ImageParts, type LayerBlob, unpackLayers, withIngestDir } from './parts.ts';
import type { PullReport } from './pull-progress.ts';
import { formatReference, type Reference, repositoryOf } from './reference.ts';
import { manifestName, openRepository, type Repository } from './registry.ts';
import { RegistryError } from './registry-error.ts';
import { findHosts } from './registry-hosts.ts';
import type { PullAuth } from './store.ts';

const DOWNLOADS_AT_ONCE = 3;
const OFFERED_AT_MOST = 5;

export interface PullRequest {
  /** As the user wrote it. */
  readonly text: string;
  readonly reference: Reference;
  readonly auth: PullAuth | undefined;
  /** hosts.toml directories, if there are any. */
  readonly registryConfigDir: string | undefined;
  readonly signal: AbortSignal;
  /** Images that need no registry, for the sentence when there is none. */
  usableOffline(): readonly string[];
  readonly report: PullReport;
}

/** Pulls an image and gives its id. */
export async function pullImage(parts: ImageParts, pull: PullRequest): Promise<string> {
  const { text, reference, auth, signal, report } = pull;
  try {
    const hosts = await findHosts(pull.registryConfigDir, reference.domain);
    const repository = openRepository(reference, { auth, signal, hosts });
    const id = await pullFrom(parts, repository, pull);
    report.end();
    return id;
  } catch (cause) {
    const error = signal.aborted ? signal.reason : explain(pull, text, cause);
    report.end(renderError(error));
    throw error;
  }
}

function explain({ reference, usableOffline }: PullRequest, text: string, cause: unknown): Error {
  const subject = `image ${JSON.stringify(text)} cannot be pulled`;
  if (!(cause instanceof RegistryError)) return new Error(subject, { cause });
  const { status, code } = cause;
  if (status !== undefined) return new RegistryError(`${subject}: ${cause.message}`, { status, code, cause: cause.cause });
  const message = cause.message.replace(/^registry-1\.docker\.io /, 'docker.io ');
  const images = usableOffline();
  const more = images.length > OFFERED_AT_MOST ? ', …' : '';
  const offer = `usable without a registry: ${images.slice(0, OFFERED_AT_MOST).join(', ')}${more}`;
  const host = message.includes(reference.domain) ? '' : `${reference.domain}: `;
  // The cause's own text is in the message already.
  return new RegistryError(`${subject}: ${host}${message}; ${offer}`);
}

async function pullFrom(parts: ImageParts, repository: Repository, { reference, signal, report }: PullRequest): Promise<string> {
  const documents = new Map<string, Uint8Array>();
  const top = await repository.manifest(manifestName(reference));
  documents.set(top.digest, top.bytes);
  const manifest = await chooseManifest(repository, top, documents);
  const id = manifest.config.digest;
  const bytes = await repository.blob(id, manifest.config.sizeBytes);
  documents.set(id, bytes);
  const { config, diffIds } = parseConfig(bytes);
  if (diffIds.length !== manifest.layers.length) {
    throw new Error(`the image config lists ${diffIds.length} layers and the manifest ${manifest.layers.length}`);
  }
  report.layers(manifest.layers);
  const release = parts.layers.lease(chainIds(diffIds));
  try {
    const sizeBytes = await withIngestDir(parts.ingestDir, (dir) => {
      const download = createDownloads(repository, dir, report);
      return unpackLayers(parts, diffIds, (index) => download(manifest.layers[index], index), { signal, report });
    });
    signal.throwIfAborted();
    await parts.commit({
      id,
      repoTags: reference.digest === undefined ? [formatReference(reference)] : [],
      repoDigests: [`${repositoryOf(reference)}@${top.digest}`],
      diffIds,
      sizeBytes,
      pinned: false,
      config,
      documents,
    });
    return id;
  } finally {
    release();
  }
}

async function chooseManifest(
  repository: Repository,
  top: { bytes: Buffer; mediaType: string },
  documents: Map<string, Uint8Array>,
): Promise<Manifest> {
  const parsed = parseManifest(top.bytes, top.mediaType);
  if (parsed.kind === 'manifest') return parsed;
  const chosen = choosePlatform(parsed);
  const { bytes, mediaType, digest } = await repository.manifest(chosen.digest);
  documents.set(digest, bytes);
  const inner = parseManifest(bytes, mediaType);
  if (inner.kind === 'index') throw new Error('the image index names another index; only one level is allowed');
  return inner;
}

/** Downloads at most a few layers at the same time, in the order in which they are asked for. Gives each as soon as it begins to come. */
function createDownloads(repository: Repository, dir: string, report: PullReport) {
  let running = 0;
  const waiting: (() => void)[] = [];

  async function download({ digest, sizeBytes }: Descriptor, index: number, file: string, progress: BlobProgress): Promise<void> {
    try {
      report.layer(index, 'downloading');
      await repository.download(digest, sizeBytes, file, (bytes) => {
        progress.advance(bytes);
        report.received(index, bytes);
      });
      progress.finish();
      report.layer(index, 'unpacking');
    } finally {
      running--;
      waiting.shift()?.();
    }
  }

  return async (layer: Descriptor | undefined, index: number): Promise<LayerBlob> => {
    if (layer === undefined) throw new Error(`layer ${index} is missing`);
    while (running >= DOWNLOADS_AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
    running++;
    const file = path.join(dir, String(index));
    const progress = new BlobProgress();
    const whole = download(layer, index, file, progress);
    const release = async () => {
      await whole.catch(() => undefined);
      // The directory around it is removed at the end, the file as soon as it is unpacked.
      await fs.promises.rm(file, { force: true });
    };
    return { file, digest: layer.digest, sizeBytes: layer.sizeBytes, progress, whole, release };
  };
}
