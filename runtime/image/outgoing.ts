// Owns what leaves this machine: an image's manifest, config and layers as others can take them. Layers are not kept packed here, so they
// come from where they came from, byte for byte, or, where that does not give them, are packed anew, which makes it another image: the
// same files under another id.
import fs from 'node:fs';
import path from 'node:path';
import { digestOf } from './digest.ts';
import type { ImageRecord } from './image-index.ts';
import { type Manifest, manifestMediaTypes, parseJson, parseManifest } from './manifest.ts';
import { packLayer } from './pack.ts';
import type { Packed } from './pack-job.ts';
import { parseReference, type Reference } from './reference.ts';

const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json';
const OCI_GZIP_LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip';

export interface OutgoingDocument {
  readonly bytes: Buffer;
  readonly mediaType: string;
  readonly digest: string;
}

export interface OutgoingLayer {
  readonly digest: string;
  readonly sizeBytes: number;
}

export interface OutgoingImage {
  readonly id: string;
  readonly manifest: OutgoingDocument;
  readonly config: OutgoingDocument;
  /** Bottom first. */
  readonly layers: readonly OutgoingLayer[];
}

/** The image as it came; undefined when it came in another way (an archive of `docker save`, a host image). */
export async function findOriginal(record: ImageRecord, read: (digest: string) => Promise<Buffer>): Promise<OutgoingImage | undefined> {
  for (const digest of record.blobs) {
    if (digest === record.id) continue;
    const bytes = await read(digest);
    const manifest = parseManifest(bytes, '');
    if (manifest.kind !== 'manifest' || manifest.config.digest !== record.id) continue;
    const config = { bytes: await read(record.id), mediaType: manifest.config.mediaType || OCI_CONFIG, digest: record.id };
    return { id: record.id, manifest: { bytes, digest, mediaType: mediaTypeOf(bytes) }, config, layers: layersOf(manifest) };
  }
  return undefined;
}

const layersOf = ({ layers }: Manifest): readonly OutgoingLayer[] => layers.map(({ digest, sizeBytes }) => ({ digest, sizeBytes }));

function mediaTypeOf(bytes: Buffer): string {
  const { mediaType } = parseJson(bytes, 'the image manifest');
  return typeof mediaType === 'string' && mediaType !== '' ? mediaType : manifestMediaTypes[0];
}

/** Repositories that had this image, whence its layers can be had. */
export function originsOf({ repoDigests }: ImageRecord): readonly Reference[] {
  return repoDigests.map(parseReference).filter(({ domain }) => domain !== 'localhost');
}

export interface PackedImage extends OutgoingImage {
  /** The gzipped archives of the layers by their digest. */
  readonly files: ReadonlyMap<string, string>;
}

/** Packs each layer directory (bottom first) into `dir`. */
export async function packImage(
  config: Buffer,
  layerDirs: readonly string[],
  dir: string,
  { signal, onLayer }: { signal?: AbortSignal | undefined; onLayer?: (index: number) => void } = {},
): Promise<PackedImage> {
  const packed: Packed[] = [];
  const files = new Map<string, string>();
  for (const [index, source] of layerDirs.entries()) {
    onLayer?.(index);
    const file = path.join(dir, `packed-${index}`);
    const layer = await packLayer({ source, file }, signal);
    packed.push(layer);
    if (files.has(layer.digest)) await fs.promises.rm(file);
    else files.set(layer.digest, file);
  }
  return { ...describePacked(config, packed), files };
}

/** Manifest and config of layers that were packed anew. Pure. */
export function describePacked(original: Buffer, packed: readonly Packed[]): OutgoingImage {
  const fields = parseJson(original, 'the image config');
  const rootfs = { type: 'layers', diff_ids: packed.map(({ diffId }) => diffId) };
  const history = Array.isArray(fields.history) ? fields.history : [];
  const filled = history.filter((entry) => !(entry as { empty_layer?: boolean } | null)?.empty_layer);
  // Where layers were merged, the steps that made them name none any more.
  const { history: _, ...rest } = fields;
  const config = documentOf(OCI_CONFIG, { ...(filled.length === packed.length ? fields : rest), rootfs });
  const manifest = documentOf(manifestMediaTypes[0], {
    schemaVersion: 2,
    mediaType: manifestMediaTypes[0],
    config: { mediaType: OCI_CONFIG, digest: config.digest, size: config.bytes.length },
    layers: packed.map(({ digest, sizeBytes }) => ({ mediaType: OCI_GZIP_LAYER, digest, size: sizeBytes })),
  });
  return { id: config.digest, manifest, config, layers: packed.map(({ digest, sizeBytes }) => ({ digest, sizeBytes })) };
}

function documentOf(mediaType: string, value: object): OutgoingDocument {
  const bytes = Buffer.from(JSON.stringify(value));
  return { bytes, mediaType, digest: digestOf(bytes) };
}
