// Owns pulling: from a reference to layers on disk. The manifest decides; nothing of an image is visible before all of it is verified.

import type { Credentials } from '../credentials/docker-config.ts';
import { CriError, codeOf, renderError } from '../errors.ts';
import { chainIds } from './digest.ts';
import { choosePlatforms, type Descriptor, type Manifest, parseConfig, parseManifest } from './manifest.ts';
import { type ImageParts, type LayerBlob, unpackLayers } from './parts.ts';
import type { PullReport } from './pull-progress.ts';
import { formatReference, type Reference, repositoryOf } from './reference.ts';
import { manifestName, openRepository, type RegistryManifest, type Repository } from './registry.ts';
import type { RegistryOptions } from './registry-client.ts';
import { RegistryError } from './registry-error.ts';
import { findHosts } from './registry-hosts.ts';

const OFFERED_AT_MOST = 5;
const INDEX_DEPTH_LIMIT = 4;

export interface PullRequest {
  /** As the user wrote it. */
  readonly text: string;
  readonly reference: Reference;
  readonly auth: Credentials | undefined;
  readonly findCredentials?: RegistryOptions['findCredentials'];
  /** hosts.toml directories, if there are any. */
  readonly registryConfigDir: string | undefined;
  readonly signal: AbortSignal;
  /** Images that need no registry, for the sentence when there is none. */
  usableOffline(): readonly string[];
  readonly report: PullReport;
}

/** Pulls an image and gives its id. */
export async function pullImage(parts: ImageParts, pull: PullRequest): Promise<string> {
  const { text, reference, auth, findCredentials, signal, report } = pull;
  const failed = new AbortController();
  try {
    const hosts = await findHosts(pull.registryConfigDir, reference.domain);
    const stop = AbortSignal.any([signal, failed.signal]);
    const repository = openRepository(reference, { auth, findCredentials, signal: stop, hosts });
    const id = await pullFrom(parts, repository, { ...pull, failed });
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
  if (!(cause instanceof RegistryError)) {
    const code = codeOf(cause);
    return code === 'UNKNOWN' ? new Error(subject, { cause }) : new CriError(code, subject, cause);
  }
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

async function pullFrom(parts: ImageParts, repository: Repository, pull: PullRequest & { failed: AbortController }): Promise<string> {
  const { reference, signal, failed, report } = pull;
  const documents = new Map<string, Uint8Array>();
  const top = await repository.manifest(manifestName(reference));
  const manifest = await findManifest({ parts, repository, documents }, top);
  const id = manifest.config.digest;
  const bytes = (await parts.readDocument(id)) ?? (await repository.blob(manifest.config));
  documents.set(id, bytes);
  const { config, diffIds } = parseConfig(bytes);
  if (diffIds.length !== manifest.layers.length) {
    throw new Error(`the image config lists ${diffIds.length} layers and the manifest ${manifest.layers.length}`);
  }
  report.layers(manifest.layers);
  const release = parts.layers.lease(chainIds(diffIds));
  try {
    const download = (index: number, stop: AbortSignal) =>
      downloadLayer(parts, repository, pull, { layer: manifest.layers[index], index, signal: stop });
    const sizeBytes = await unpackLayers(parts, diffIds, download, { signal, failed, report });
    parts.faultPoint('image layers unpacked');
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

interface Search {
  readonly parts: ImageParts;
  readonly repository: Repository;
  /** What is found on the way is noted here. */
  readonly documents: Map<string, Uint8Array>;
}

/** The manifest for this machine: `found` itself, or what its indexes lead to. */
async function findManifest(search: Search, found: RegistryManifest, depth = 0): Promise<Manifest> {
  const { parts, repository, documents } = search;
  documents.set(found.digest, found.bytes);
  const parsed = parseManifest(found.bytes, found.mediaType);
  if (parsed.kind === 'manifest') return parsed;
  if (depth === INDEX_DEPTH_LIMIT) throw new Error(`the image index leads through more than ${INDEX_DEPTH_LIMIT} other indexes`);
  const candidates = choosePlatforms(parsed);
  for (const [i, { digest, mediaType }] of candidates.entries()) {
    const stored = await parts.readDocument(digest);
    const inner = stored === undefined ? await repository.manifest(digest) : { bytes: stored, digest, mediaType };
    try {
      return await findManifest(search, inner, depth + 1);
    } catch (error) {
      // Indexes within the index that say nothing of their platforms: another one may have ours.
      if (error instanceof RegistryError || i === candidates.length - 1) throw error;
      documents.delete(digest);
    }
  }
  throw new Error('the image index is empty');
}

async function downloadLayer(
  { downloads, faultPoint }: ImageParts,
  repository: Repository,
  { reference, report }: PullRequest,
  { layer, index, signal }: { readonly layer: Descriptor | undefined; readonly index: number; readonly signal: AbortSignal },
): Promise<LayerBlob> {
  if (layer === undefined) throw new Error(`layer ${index} is missing`);
  const { digest, sizeBytes } = layer;
  const coming = await downloads.fetch(layer, {
    from: reference.domain,
    signal,
    transfer: (ingest) => repository.download(layer, ingest),
    onBytes: (bytes) => {
      report.received(index, bytes);
      faultPoint('image layer downloading');
    },
  });
  report.layer(index, 'downloading');
  coming.whole.then(() => faultPoint('image layer downloaded')).catch(() => undefined);
  return { ...coming, digest, sizeBytes };
}
