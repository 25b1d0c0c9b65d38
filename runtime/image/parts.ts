// What the ways of getting an image (pull, import, host images) share: where blobs and layers go, and how an image becomes visible.
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import type { Logger } from '../logger.ts';
import type { BlobProgress } from './blob-feed.ts';
import { chainIds } from './digest.ts';
import type { ImageRecord } from './image-index.ts';
import type { LayerStore } from './layers.ts';
import type { OverlaySupport } from './overlay-probe.ts';
import type { PullReport } from './pull-progress.ts';
import type { UnpackPool } from './unpack-pool.ts';

/** An image that has come, before it is in the index. Its layers are unpacked. */
export interface NewImage extends Omit<ImageRecord, 'blobs'> {
  /** Config, manifest, index: everything but the layers, by digest. */
  readonly documents: ReadonlyMap<string, Uint8Array>;
}

export interface ImageParts {
  readonly ingestDir: string;
  readonly layers: LayerStore;
  readonly pool: UnpackPool;
  readonly logger: Logger;
  support(): OverlaySupport;
  /** Stores the documents and puts the image into the index, on disk when it resolves. */
  commit(image: NewImage): Promise<void>;
}

/** A layer's archive as a file, for as long as it is unpacked. */
export interface LayerBlob {
  readonly file: string;
  /** What the manifest promises; absent where there is none (legacy archives). */
  readonly digest?: string;
  readonly sizeBytes?: number;
  /** The file is still being written: it is unpacked as it comes. */
  readonly progress?: BlobProgress;
  /** Settles when the file is whole, or will not be. */
  readonly whole?: Promise<void>;
  /** Gives up what is still being written, and removes the file where it is nobody else's. */
  release(): Promise<void>;
}

/** Unpacks the layers that are not there yet, at the same time, and gives the size of all. Keep a lease on the chain around it. */
export async function unpackLayers(
  parts: ImageParts,
  diffIds: readonly string[],
  blobOf: (index: number) => Promise<LayerBlob>,
  { signal, report }: { signal?: AbortSignal; report?: PullReport } = {},
): Promise<number> {
  const chain = chainIds(diffIds);
  const made = chain.map((chainId) => !parts.layers.has(chainId));
  for (const [index, isNew] of made.entries()) if (!isNew) report?.layer(index, 'cached');
  await parts.layers.ensure(chain, (index) => async (fsDir, below) => {
    const blob = await blobOf(index);
    if (blob.whole === undefined) report?.layer(index, 'unpacking');
    // A download that breaks off ends the unpacking that waits for the rest.
    const broken = new AbortController();
    blob.whole?.catch((error: unknown) => broken.abort(error));
    try {
      const { whiteouts } = parts.support();
      const base = whiteouts ? undefined : await below();
      const unpacked = await parts.pool.run(
        {
          blob: blob.file,
          target: fsDir,
          whiteouts: whiteouts ? 'overlay' : 'apply',
          keepOwners: true,
          ...(blob.digest !== undefined && { digest: blob.digest }),
          ...(blob.sizeBytes !== undefined && { sizeBytes: blob.sizeBytes }),
          diffId: diffIds[index] ?? '',
          ...(base !== undefined && { base }),
        },
        { signal: AbortSignal.any([broken.signal, ...(signal === undefined ? [] : [signal])]), progress: blob.progress },
      );
      await blob.whole;
      report?.layer(index, 'done');
      return unpacked;
    } catch (cause) {
      signal?.throwIfAborted();
      broken.signal.throwIfAborted();
      throw new Error(`unpack layer ${blob.digest ?? diffIds[index]}`, { cause });
    } finally {
      await blob.release();
    }
  });
  for (const [index, isNew] of made.entries()) if (isNew) report?.layer(index, 'done');
  return chain.reduce((total, chainId) => total + parts.layers.usage(chainId).sizeBytes, 0);
}

/** Runs `use` with a new directory that is removed afterwards, whatever happens. */
export async function withIngestDir<T>(ingestDir: string, use: (dir: string) => Promise<T>): Promise<T> {
  const dir = path.join(ingestDir, randomUUID());
  await fs.promises.mkdir(dir, { recursive: true, mode: 0o700 });
  try {
    return await use(dir);
  } finally {
    await fs.promises.rm(dir, { recursive: true, force: true });
  }
}
