// What the ways of getting an image (pull, import, host images) share: where blobs and layers go, and how an image becomes visible.
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import type { Logger } from '../logger.ts';
import type { BlobProgress } from './blob-feed.ts';
import { chainIds } from './digest.ts';
import type { Downloads } from './downloads.ts';
import type { ImageRecord } from './image-index.ts';
import { isDiskFull, noSpace } from './ingest.ts';
import type { LayerStore } from './layers.ts';
import type { OverlaySupport } from './overlay-probe.ts';
import type { PullReport } from './pull-progress.ts';
import type { Unpacked } from './unpack.ts';
import type { UnpackJob } from './unpack-job.ts';
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
  readonly downloads: Downloads;
  support(): OverlaySupport;
  /** A document that is stored already. */
  readDocument(digest: string): Promise<Buffer | undefined>;
  /** The crash tests die here. */
  faultPoint(name: string): void;
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
  /** Settles when the file is whole and verified, or will not be. Absent: whoever unpacks it verifies it. */
  readonly whole?: Promise<void>;
  /** How often what had come turned out to be wrong, and came anew. */
  readonly restarts?: () => number;
  /** Gives up what is still being written. `keep`: nothing speaks against the file, and a later pull may want it. */
  release(options: { keep: boolean }): Promise<void>;
}

export interface UnpackLayersOptions {
  readonly signal?: AbortSignal;
  /** Aborted by the first layer that cannot be had, which ends the others: a later try goes on from where they were. */
  readonly failed?: AbortController;
  readonly report?: PullReport;
}

/** Unpacks the layers that are not there yet, at the same time, and gives the size of all. Keep a lease on the chain around it. */
export async function unpackLayers(
  parts: ImageParts,
  diffIds: readonly string[],
  blobOf: (index: number, signal: AbortSignal) => Promise<LayerBlob>,
  { signal, failed = new AbortController(), report }: UnpackLayersOptions = {},
): Promise<number> {
  const chain = chainIds(diffIds);
  const made = chain.map((chainId) => !parts.layers.has(chainId));
  for (const [index, isNew] of made.entries()) if (!isNew) report?.layer(index, 'cached');
  const stop = AbortSignal.any([failed.signal, ...(signal === undefined ? [] : [signal])]);
  await parts.layers.ensure(chain, (index) => async (fsDir, below) => {
    let blob: LayerBlob | undefined;
    try {
      stop.throwIfAborted();
      blob = await blobOf(index, stop);
      const { whiteouts } = parts.support();
      const base = whiteouts ? undefined : await below();
      const { file, digest, sizeBytes, whole } = blob;
      const job: UnpackJob = {
        blob: file,
        target: fsDir,
        whiteouts: whiteouts ? 'overlay' : 'apply',
        keepOwners: true,
        ...(digest !== undefined && whole === undefined && { digest }),
        ...(sizeBytes !== undefined && { sizeBytes }),
        diffId: diffIds[index] ?? '',
        ...(base !== undefined && { base }),
      };
      if (whole === undefined) report?.layer(index, 'unpacking');
      else whole.then(() => report?.layer(index, 'unpacking')).catch(() => undefined);
      const unpacked = await unpackBlob(parts.pool, job, blob, stop);
      report?.layer(index, 'done');
      await blob.release({ keep: false });
      return unpacked;
    } catch (error) {
      const isOther = stop.aborted;
      failed.abort(error);
      await blob?.release({ keep: isOther && !isDiskFull(stop.reason) });
      throw isOther ? stop.reason : error;
    }
  });
  for (const [index, isNew] of made.entries()) if (isNew) report?.layer(index, 'done');
  return chain.reduce((total, chainId) => total + parts.layers.usage(chainId).sizeBytes, 0);
}

/** Unpacks a blob that is there, or on its way; in that case the download has the last word on what is wrong. */
async function unpackBlob(pool: UnpackPool, job: UnpackJob, blob: LayerBlob, signal: AbortSignal): Promise<Unpacked> {
  const { whole, progress } = blob;
  const isSpoiled = () => (blob.restarts?.() ?? 0) > 0;
  // A download that breaks off ends the unpacking that waits for the rest.
  const broken = new AbortController();
  whole?.catch((error: unknown) => broken.abort(error));
  const told = (cause: unknown) => {
    const error = new Error(`unpack layer ${blob.digest ?? job.diffId}`, { cause });
    return isDiskFull(cause) ? noSpace(job.target, undefined, error) : error;
  };
  try {
    if (isSpoiled()) await whole;
    const unpacked = await pool.run(job, { signal: AbortSignal.any([broken.signal, signal]), progress });
    await whole;
    return unpacked;
  } catch (error) {
    signal.throwIfAborted();
    if (whole === undefined || isDiskFull(error)) throw told(error);
    await whole;
    if (!isSpoiled()) throw told(error);
  }
  // What was unpacked was not the layer; now it is.
  await fs.promises.rm(job.target, { recursive: true, force: true });
  await fs.promises.mkdir(job.target, { mode: 0o755 });
  return pool.run(job, { signal }).catch((error: unknown) => {
    signal.throwIfAborted();
    throw told(error);
  });
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
