// Reproducible archives and the documents of an image, as bytes: the same input gives the same digests on every machine.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

export const digestOf = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

export interface LayerFile {
  readonly content: Buffer | string;
  readonly mode?: number;
}

/** A layer of the files of `directory`, by GNU tar. */
export function archiveOf(directory: string): Buffer {
  const fixed = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--format=gnu'];
  return execFileSync('tar', [...fixed, '-C', directory, '-cf', '-', '.'], { maxBuffer: 1 << 30 });
}

/** A layer of a few files. */
export function layerOf(files: Readonly<Record<string, LayerFile>>): Buffer {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'critest-layer-'));
  try {
    fs.chmodSync(directory, 0o755);
    for (const [name, { content, mode = 0o644 }] of Object.entries(files)) {
      const file = path.join(directory, name);
      fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o755 });
      fs.writeFileSync(file, content);
      fs.chmodSync(file, mode);
    }
    return archiveOf(directory);
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

export interface Image {
  /** After the host's name. */
  readonly repository: string;
  readonly tags: readonly string[];
  readonly format: 'docker' | 'oci';
  readonly layers: readonly Buffer[];
  /** The run part of the image's config: Env, Cmd, User. */
  readonly run: object;
}

export interface ImageDocuments {
  readonly config: Buffer;
  readonly manifest: Buffer;
  readonly index: Buffer;
  readonly manifestType: string;
  readonly indexType: string;
}

const TYPES = {
  docker: {
    index: 'application/vnd.docker.distribution.manifest.list.v2+json',
    manifest: 'application/vnd.docker.distribution.manifest.v2+json',
    config: 'application/vnd.docker.container.image.v1+json',
    layer: 'application/vnd.docker.image.rootfs.diff.tar',
  },
  oci: {
    index: 'application/vnd.oci.image.index.v1+json',
    manifest: 'application/vnd.oci.image.manifest.v1+json',
    config: 'application/vnd.oci.image.config.v1+json',
    layer: 'application/vnd.oci.image.layer.v1.tar',
  },
} as const;

/** Layers are not compressed: what a compressor makes of them depends on its version. */
export function documentsOf({ format, layers, run }: Image): ImageDocuments {
  const types = TYPES[format];
  const created = '2024-01-01T00:00:00Z';
  const platform = { architecture: { x64: 'amd64' }[process.arch as string] ?? process.arch, os: 'linux' };
  const json = (value: object) => Buffer.from(JSON.stringify(value));
  const describe = (mediaType: string, bytes: Buffer) => ({ mediaType, digest: digestOf(bytes), size: bytes.length });
  const config = json({
    ...platform,
    created,
    config: run,
    rootfs: { type: 'layers', diff_ids: layers.map(digestOf) },
    history: layers.map(() => ({ created, created_by: 'critest' })),
  });
  const manifest = json({
    schemaVersion: 2,
    mediaType: types.manifest,
    config: describe(types.config, config),
    layers: layers.map((layer) => describe(types.layer, layer)),
  });
  const index = json({ schemaVersion: 2, mediaType: types.index, manifests: [{ ...describe(types.manifest, manifest), platform }] });
  return { config, manifest, index, manifestType: types.manifest, indexType: types.index };
}
