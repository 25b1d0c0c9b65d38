// Owns exporting: images as one tar file that is an OCI image layout (image-spec, image-layout.md) and at the same time what `docker load`
// and `podman load` read (manifest.json beside it). Layers are gzipped archives in both views, which share their files.
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { ImageRecord } from './image-index.ts';
import { indexMediaTypes } from './manifest.ts';
import { findOriginal, type OutgoingImage, originsOf, packImage } from './outgoing.ts';
import { withIngestDir } from './parts.ts';
import { openOrigin, type PushParts } from './push.ts';
import { downloadTo } from './registry.ts';
import { encodeTarHeader, TAR_END, tarPadding } from './tar-writer.ts';

export interface ExportedImage {
  readonly record: ImageRecord;
  /** "docker.io/library/busybox:latest"; none for an image that was asked for by its id. */
  readonly names: readonly string[];
}

export interface ExportRequest {
  readonly images: readonly ExportedImage[];
  /** Absolute path of the file to be made. */
  readonly file: string;
  readonly signal?: AbortSignal | undefined;
}

type Content = Buffer | { readonly file: string; readonly sizeBytes: number };

/** Gives the ids that the images have in the archive. */
export async function exportImages(parts: PushParts, request: ExportRequest): Promise<readonly string[]> {
  const { images, file, signal } = request;
  try {
    return await withIngestDir(parts.ingestDir, async (dir) => {
      const blobs = new Map<string, Content>();
      const outgoing: { readonly image: OutgoingImage; readonly names: readonly string[] }[] = [];
      for (const { record, names } of images) outgoing.push({ image: await collect(parts, record, { dir, blobs, request }), names });
      await writeArchive(
        file,
        [...planFiles(outgoing), ...[...blobs].map(([digest, content]) => [blobPath(digest), content] as const)],
        signal,
      );
      return outgoing.map(({ image }) => image.id);
    });
  } catch (cause) {
    signal?.throwIfAborted();
    throw new Error(`export to ${file}`, { cause });
  }
}

interface Collecting {
  readonly dir: string;
  readonly blobs: Map<string, Content>;
  readonly request: ExportRequest;
}

async function collect(parts: PushParts, record: ImageRecord, { dir, blobs, request }: Collecting): Promise<OutgoingImage> {
  const original = await findOriginal(record, parts.read);
  const fetched = original && (await fetchLayers(parts, original, record, { dir, blobs, request }));
  const image = original !== undefined && fetched !== undefined ? original : undefined;
  if (image !== undefined && fetched !== undefined) for (const [digest, content] of fetched) blobs.set(digest, content);
  const packed =
    image === undefined ? await packImage(await parts.read(record.id), parts.layerDirs(record), await makeDir(dir), request) : undefined;
  for (const { digest, sizeBytes } of packed?.layers ?? []) blobs.set(digest, { file: packed?.files.get(digest) ?? '', sizeBytes });
  const found = image ?? packed;
  if (found === undefined) throw new Error(`image ${record.id} has no content`);
  for (const { digest, bytes } of [found.config, found.manifest]) blobs.set(digest, bytes);
  return found;
}

async function makeDir(dir: string): Promise<string> {
  const own = path.join(dir, randomUUID());
  await fs.promises.mkdir(own);
  return own;
}

/** The layers from where the image came from; undefined when they cannot be had. */
async function fetchLayers(
  parts: PushParts,
  image: OutgoingImage,
  record: ImageRecord,
  { dir, request }: Collecting,
): Promise<Map<string, Content> | undefined> {
  for (const origin of originsOf(record)) {
    try {
      const repository = await openOrigin(parts, origin, { signal: request.signal });
      const own = await makeDir(dir);
      const found = new Map<string, Content>();
      for (const [index, { digest, sizeBytes }] of image.layers.entries()) {
        const file = path.join(own, String(index));
        if (!found.has(digest)) await downloadTo(repository, { digest, sizeBytes }, file);
        found.set(digest, { file, sizeBytes });
      }
      return found;
    } catch {
      request.signal?.throwIfAborted();
    }
  }
  return undefined;
}

const blobPath = (digest: string) => `blobs/${digest.replace(':', '/')}`;

/** The documents that make the archive a layout and a `docker save`. Pure. */
export function planFiles(
  images: readonly { readonly image: OutgoingImage; readonly names: readonly string[] }[],
): (readonly [string, Buffer])[] {
  const json = (value: unknown) => Buffer.from(JSON.stringify(value));
  const manifests = images.flatMap(({ image: { manifest }, names }) => {
    const descriptor = { mediaType: manifest.mediaType, digest: manifest.digest, size: manifest.bytes.length };
    return names.length === 0
      ? [descriptor]
      : names.map((name) => ({
          ...descriptor,
          // The whole name for tools of containerd's kin, the tag alone for those that name the layout themselves.
          annotations: { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': name.slice(name.lastIndexOf(':') + 1) },
        }));
  });
  const saved = images.map(({ image, names }) => ({
    Config: blobPath(image.config.digest),
    RepoTags: names.map((name) => name.replace(/^docker\.io\/(library\/)?/, '')),
    Layers: image.layers.map(({ digest }) => blobPath(digest)),
  }));
  return [
    ['oci-layout', json({ imageLayoutVersion: '1.0.0' })],
    ['index.json', json({ schemaVersion: 2, mediaType: indexMediaTypes[0], manifests })],
    ['manifest.json', json(saved)],
  ];
}

/** Whole under its name, or not there at all. */
async function writeArchive(
  file: string,
  entries: readonly (readonly [name: string, content: Content])[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const temporary = `${file}.${randomUUID()}.new`;
  try {
    await pipeline(
      archive(entries),
      fs.createWriteStream(temporary, { flags: 'wx', mode: 0o644, flush: true, highWaterMark: 1 << 20 }),
      ...(signal ? [{ signal }] : []),
    );
    await fs.promises.rename(temporary, file);
  } catch (error) {
    await fs.promises.rm(temporary, { force: true });
    throw error;
  }
}

async function* archive(entries: readonly (readonly [name: string, content: Content])[]): AsyncGenerator<Buffer> {
  for (const [name, content] of entries) {
    const sizeBytes = Buffer.isBuffer(content) ? content.length : content.sizeBytes;
    yield encodeTarHeader({
      ...{ name, type: 'file', mode: 0o644, uid: 0, gid: 0, linkName: '', major: 0, minor: 0, mtimeSeconds: 0, mtimeNanoseconds: 0 },
      ...{ sizeBytes, xattrs: new Map<string, Buffer>() },
    });
    if (Buffer.isBuffer(content)) yield content;
    else yield* fs.createReadStream(content.file, { highWaterMark: 1 << 18 }) as AsyncIterable<Buffer>;
    yield tarPadding(sizeBytes);
  }
  yield TAR_END;
}
