// Owns the JSON documents of an image: index, manifest and config are parsed here, once, from bytes that nobody vouches for.
import { isDigest } from './digest.ts';
import { hostPlatform, type Platform, rankPlatform, renderPlatform } from './platform.ts';
import type { ImageConfig } from './store.ts';

const DOCUMENT_LIMIT_BYTES = 8 * 1024 * 1024;
const LAYER_LIMIT = 500;

export const manifestMediaTypes = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
] as const;
export const indexMediaTypes = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
] as const;
const layerMediaType =
  /^application\/vnd\.(oci\.image\.layer\.(nondistributable\.)?v1\.tar(\+gzip|\+zstd)?|docker\.image\.rootfs\.(diff|foreign\.diff)\.tar(\.gzip|\.zstd)?)$/;

/** The last three are what builders of old have written. */
const imageConfigMediaTypes = [
  'application/vnd.oci.image.config.v1+json',
  'application/vnd.docker.container.image.v1+json',
  '',
  'application/octet-stream',
  'application/json',
];

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly sizeBytes: number;
  readonly platform?: Platform;
  readonly annotations: Readonly<Record<string, string>>;
  /** Where else it may be had (foreign layers). */
  readonly urls?: readonly string[];
}

export interface Manifest {
  readonly kind: 'manifest';
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

export interface Index {
  readonly kind: 'index';
  readonly manifests: readonly Descriptor[];
}

type Fields = Readonly<Record<string, unknown>>;

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

function textMap(value: unknown): Record<string, string> {
  if (!isFields(value)) return {};
  return Object.fromEntries(Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
}

/** Parses JSON whose root must be an object; `what` names it in the error. */
export function parseJson(bytes: Uint8Array, what: string): Fields {
  if (bytes.length > DOCUMENT_LIMIT_BYTES) throw new Error(`${what} is larger than ${DOCUMENT_LIMIT_BYTES} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw new Error(`${what} is not JSON`, { cause });
  }
  if (!isFields(value)) throw new Error(`${what} is not a JSON object`);
  return value;
}

function parseDescriptor(value: unknown, what: string): Descriptor {
  if (!isFields(value)) throw new Error(`${what} is not a descriptor`);
  const { size } = value;
  const digest = text(value.digest);
  if (!isDigest(digest)) throw new Error(`${what} has the digest ${JSON.stringify(value.digest ?? null)}, which is not one`);
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) throw new Error(`${what} has no valid size`);
  const { platform } = value;
  return {
    mediaType: text(value.mediaType),
    digest,
    sizeBytes: size,
    annotations: textMap(value.annotations),
    ...(Array.isArray(value.urls) && { urls: texts(value.urls) }),
    ...(isFields(platform) && {
      platform: { os: text(platform.os), architecture: text(platform.architecture), variant: text(platform.variant) },
    }),
  };
}

/** Parses an index or a manifest, told apart by media type or, where the document names none, by its fields. */
export function parseManifest(bytes: Uint8Array, declaredMediaType: string): Manifest | Index {
  const fields = parseJson(bytes, 'the image manifest');
  const mediaType = text(fields.mediaType) || declaredMediaType;
  if (fields.schemaVersion === 1)
    throw new Error('the image has a manifest of the old format (schema 1); push it again with a current tool');
  if ((indexMediaTypes as readonly string[]).includes(mediaType) || Array.isArray(fields.manifests)) {
    if (!Array.isArray(fields.manifests)) throw new Error('the image index has no manifests');
    return { kind: 'index', manifests: fields.manifests.map((entry, i) => parseDescriptor(entry, `manifest ${i} of the image index`)) };
  }
  if (!(manifestMediaTypes as readonly string[]).includes(mediaType) && !Array.isArray(fields.layers)) {
    throw new Error(`the manifest has the media type ${JSON.stringify(mediaType)}, which is not an image`);
  }
  if (!Array.isArray(fields.layers)) throw new Error('the image manifest has no layers');
  if (fields.layers.length > LAYER_LIMIT) throw new Error(`the image has ${fields.layers.length} layers; the limit is ${LAYER_LIMIT}`);
  const layers = fields.layers.map((entry, i) => parseDescriptor(entry, `layer ${i}`));
  const config = parseDescriptor(fields.config, 'the image config');
  if (config.sizeBytes > DOCUMENT_LIMIT_BYTES)
    throw new Error(`the image config has ${config.sizeBytes} bytes; the limit is ${DOCUMENT_LIMIT_BYTES}`);
  // An artifact may look like an image in all but this (image-spec, "Guidelines for Artifact Usage").
  const kind = imageConfigMediaTypes.includes(config.mediaType) ? '' : text(fields.artifactType) || config.mediaType;
  if (kind !== '') throw new Error(`it is an artifact of type ${JSON.stringify(kind)}, not a container image`);
  for (const { mediaType: type } of layers) {
    if (type.endsWith('+encrypted')) throw new Error('its layers are encrypted, and encrypted images are not supported');
    if (!layerMediaType.test(type)) throw new Error(`a layer has the media type ${JSON.stringify(type)}, which is not a container image's`);
  }
  return { kind: 'manifest', config, layers };
}

/**
 * The entries of an index to try for a platform, best first: what fits it, then indexes that say nothing of theirs, then the one manifest
 * that does not either. Throws a sentence that lists what there is instead.
 */
export function choosePlatforms(index: Index, host: Platform = hostPlatform()): readonly Descriptor[] {
  const images = index.manifests.filter(({ platform }) => platform?.os !== 'unknown');
  const fitting = images
    .map((descriptor) => ({ descriptor, rank: descriptor.platform && rankPlatform(descriptor.platform, host) }))
    .filter((entry): entry is { descriptor: Descriptor; rank: number } => entry.rank !== undefined)
    .sort((a, b) => a.rank - b.rank);
  const unnamed = images.filter(({ platform }) => platform === undefined);
  const nested = unnamed.filter(({ mediaType }) => (indexMediaTypes as readonly string[]).includes(mediaType));
  const [only] = unnamed;
  const first = fitting[0]?.descriptor;
  const found = [...(first === undefined ? [] : [first]), ...nested];
  if (found.length > 0) return found;
  if (unnamed.length === 1 && only !== undefined) return [only];
  const offered = images.map(({ platform }) => (platform === undefined ? 'unnamed' : renderPlatform(platform)));
  throw new Error(`the image is not built for ${renderPlatform(host)} (only for ${[...new Set(offered)].join(', ') || 'nothing'})`);
}

/** The entry of an index that is meant for this machine. */
export function choosePlatform(index: Index, host?: Platform): Descriptor {
  const [best] = choosePlatforms(index, host);
  if (best === undefined) throw new Error('the image index is empty');
  return best;
}

export interface ParsedConfig {
  readonly config: ImageConfig;
  readonly diffIds: readonly string[];
  readonly architecture: string;
}

/** Parses an image config. Absent fields get their empty values; only what would make the image unusable is an error. */
export function parseConfig(bytes: Uint8Array): ParsedConfig {
  const fields = parseJson(bytes, 'the image config');
  const run = isFields(fields.config) ? fields.config : {};
  const rootfs = isFields(fields.rootfs) ? fields.rootfs : {};
  const diffIds = texts(rootfs.diff_ids);
  const wrong = diffIds.find((diffId) => !isDigest(diffId));
  if (wrong !== undefined) throw new Error(`the image config has the diff ID ${JSON.stringify(wrong)}, which is not a digest`);
  if (!isFields(fields.rootfs)) throw new Error('the image config has no rootfs: it is not a container image');
  if (fields.os !== undefined && fields.os !== 'linux') throw new Error(`the image is built for ${text(fields.os)}, not for linux`);
  return {
    diffIds,
    architecture: text(fields.architecture),
    config: {
      entrypoint: texts(run.Entrypoint),
      cmd: texts(run.Cmd),
      env: texts(run.Env),
      workingDir: text(run.WorkingDir),
      user: text(run.User),
      stopSignal: text(run.StopSignal),
      labels: textMap(run.Labels),
      volumes: isFields(run.Volumes) ? Object.keys(run.Volumes) : [],
    },
  };
}
