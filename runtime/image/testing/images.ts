// Makes images for tests in every form in which one can come: documents and blobs, an OCI layout, `docker save` archives, a registry.
import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import { digestOf } from '../digest.ts';
import { hostArchitecture } from '../platform.ts';
import { type TestEntry, tar } from './tar.ts';

export type Family = 'oci' | 'docker';
export type Compression = 'gzip' | 'zstd' | 'none';

const mediaTypes = {
  oci: {
    index: 'application/vnd.oci.image.index.v1+json',
    manifest: 'application/vnd.oci.image.manifest.v1+json',
    config: 'application/vnd.oci.image.config.v1+json',
    layer: 'application/vnd.oci.image.layer.v1.tar',
    suffix: { gzip: '+gzip', zstd: '+zstd', none: '' },
  },
  docker: {
    index: 'application/vnd.docker.distribution.manifest.list.v2+json',
    manifest: 'application/vnd.docker.distribution.manifest.v2+json',
    config: 'application/vnd.docker.container.image.v1+json',
    layer: 'application/vnd.docker.image.rootfs.diff.tar',
    suffix: { gzip: '.gzip', zstd: '.zstd', none: '' },
  },
};

export interface Document {
  readonly mediaType: string;
  readonly digest: string;
  readonly bytes: Buffer;
}

export interface TestImage {
  /** Digest of the config. */
  readonly id: string;
  readonly config: Document;
  readonly manifest: Document;
  /** The same image for another platform, which the index names first. */
  readonly foreign: Document;
  readonly index: Document;
  readonly layers: readonly (Document & { readonly archive: Buffer; readonly diffId: string })[];
  /** Configs and layers, by digest. */
  readonly blobs: ReadonlyMap<string, Buffer>;
}

function compress(archive: Buffer, compression: Compression): Buffer {
  if (compression === 'gzip') return zlib.gzipSync(archive);
  return compression === 'zstd' ? zlib.zstdCompressSync(archive) : archive;
}

const json = (mediaType: string, value: unknown): Document => {
  const bytes = Buffer.from(JSON.stringify(value));
  return { mediaType, bytes, digest: digestOf(bytes) };
};

const descriptor = ({ mediaType, digest, bytes }: Document) => ({ mediaType, digest, size: bytes.length });

export function makeImage(
  contents: readonly (readonly TestEntry[])[],
  options: { family?: Family; compression?: Compression; run?: object; manifestFields?: object; configFields?: object } = {},
): TestImage {
  const { family = 'oci', compression = 'gzip', run = { Cmd: ['sh'] } } = options;
  const types = mediaTypes[family];
  const layers = contents.map((entries) => {
    const archive = tar(entries);
    const bytes = compress(archive, compression);
    return { archive, bytes, diffId: digestOf(archive), digest: digestOf(bytes), mediaType: types.layer + types.suffix[compression] };
  });
  const config = json(types.config, {
    architecture: hostArchitecture(),
    os: 'linux',
    config: run,
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    ...options.configFields,
  });
  const manifest = json(types.manifest, {
    schemaVersion: 2,
    mediaType: types.manifest,
    config: descriptor(config),
    layers: layers.map(descriptor),
    ...options.manifestFields,
  });
  const foreignConfig = json(types.config, { architecture: 's390x', os: 'linux', rootfs: { type: 'layers', diff_ids: [] } });
  const foreign = json(types.manifest, { schemaVersion: 2, mediaType: types.manifest, config: descriptor(foreignConfig), layers: [] });
  const index = json(types.index, {
    schemaVersion: 2,
    mediaType: types.index,
    manifests: [
      { ...descriptor(foreign), platform: { os: 'linux', architecture: 's390x' } },
      { ...descriptor(manifest), platform: { os: 'linux', architecture: hostArchitecture() } },
    ],
  });
  const blobs = new Map([config, foreignConfig, ...layers].map(({ digest, bytes }) => [digest, bytes]));
  return { id: config.digest, config, manifest, foreign, index, layers, blobs };
}

const blobFile = (digest: string) => path.join('blobs', ...digest.split(':'));

/** Files of an OCI layout that holds `image` under the given annotations. */
export function layoutFiles(image: TestImage, annotations: Readonly<Record<string, string>> = {}): ReadonlyMap<string, Buffer> {
  const index = { schemaVersion: 2, manifests: [{ ...descriptor(image.manifest), annotations }] };
  return new Map([
    ['oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}')],
    ['index.json', Buffer.from(JSON.stringify(index))],
    [blobFile(image.manifest.digest), image.manifest.bytes],
    ...[...image.blobs].map(([digest, bytes]) => [blobFile(digest), bytes] as const),
  ]);
}

/** Files of the old form of `docker save`: the second layer's archive is a link, as docker writes layers that occur twice. */
export function saveFiles(
  image: TestImage,
  repoTags: readonly string[],
): { files: ReadonlyMap<string, Buffer>; links: ReadonlyMap<string, string> } {
  const hex = (digest: string) => digest.slice('sha256:'.length);
  const name = (i: number) => `${i}/layer.tar`;
  const manifest = [{ Config: `${hex(image.id)}.json`, RepoTags: repoTags, Layers: image.layers.map((_, i) => name(i)) }];
  const files = new Map([
    ['manifest.json', Buffer.from(JSON.stringify(manifest))],
    [`${hex(image.id)}.json`, image.config.bytes],
  ]);
  const links = new Map<string, string>();
  for (const [i, { archive }] of image.layers.entries()) {
    if (i === 1) links.set(name(i), `../real/layer.tar`);
    files.set(i === 1 ? 'real/layer.tar' : name(i), archive);
  }
  return { files, links };
}

export function writeFiles(dir: string, files: ReadonlyMap<string, Buffer>): void {
  for (const [name, bytes] of files) {
    fs.mkdirSync(path.dirname(path.join(dir, name)), { recursive: true });
    fs.writeFileSync(path.join(dir, name), bytes);
  }
}

export function archiveOf(files: ReadonlyMap<string, Buffer>, links: ReadonlyMap<string, string> = new Map()): Buffer {
  return tar([
    ...[...files].map(([name, content]) => ({ name, content })),
    ...[...links].map(([name, linkName]) => ({ name, linkName, type: 'symlink' })),
  ]);
}

/** Pushes to a registry by the distribution spec; gives the digest under which the tag stands. */
export async function pushImage(
  base: string,
  repository: string,
  tag: string,
  image: TestImage,
  { byIndex = false } = {},
): Promise<string> {
  const check = (answer: Response, status: number) => {
    if (answer.status !== status) throw new Error(`${answer.url} answers ${answer.status}`);
    return answer;
  };
  for (const [digest, bytes] of image.blobs) {
    const started = check(await fetch(`${base}/v2/${repository}/blobs/uploads/`, { method: 'POST' }), 202);
    const upload = new URL(started.headers.get('location') ?? '', base);
    upload.searchParams.set('digest', digest);
    check(
      await fetch(upload, { method: 'PUT', body: new Uint8Array(bytes), headers: { 'content-type': 'application/octet-stream' } }),
      201,
    );
  }
  const put = async (name: string, { mediaType, bytes }: Document) =>
    check(
      await fetch(`${base}/v2/${repository}/manifests/${name}`, {
        method: 'PUT',
        body: new Uint8Array(bytes),
        headers: { 'content-type': mediaType },
      }),
      201,
    );
  await put(byIndex ? image.manifest.digest : tag, image.manifest);
  if (byIndex) {
    await put(image.foreign.digest, image.foreign);
    await put(tag, image.index);
  }
  return byIndex ? image.index.digest : image.manifest.digest;
}
