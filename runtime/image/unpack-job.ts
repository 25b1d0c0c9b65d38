// Owns the stream from a blob to a directory: read, hash, decompress, hash, unpack. Runs inside the worker thread; what node:zlib
// decompresses, it does on libuv's threads, while this one hashes and writes what came before.
import fs from 'node:fs';
import { PassThrough, type Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import zlib from 'node:zlib';
import type { BlobFeed } from './blob-feed.ts';
import { cloneTree } from './clone-tree.ts';
import { finishDigest, hashFor } from './digest.ts';
import { TarReader } from './tar-reader.ts';
import { createUnpacker, defaultUnpackLimits, type Unpacked, type UnpackLimits, type Whiteouts } from './unpack.ts';
import { isZstd, splitZstdFrames } from './zstd-frames.ts';

const READ_BYTES = 256 * 1024;
const WRITE_BYTES = 256 * 1024;
/** Decompressed and not yet written: enough that neither side waits for the other. */
const AHEAD_BYTES = 4 * WRITE_BYTES;

export interface UnpackJob {
  readonly blob: string;
  /** An existing empty directory. */
  readonly target: string;
  readonly whiteouts: Whiteouts;
  /** False for archives that are not layers: everything belongs to this process. */
  readonly keepOwners: boolean;
  /** Digest and size of the blob as it is stored, where they are promised. */
  readonly digest?: string;
  readonly sizeBytes?: number;
  /** Digest of the uncompressed archive. */
  readonly diffId?: string;
  /** A directory whose content the target starts with. */
  readonly base?: string;
  readonly limits?: UnpackLimits;
}

/** By the first bytes, not by the media type: registries hold layers whose type says gzip and whose content is not. */
function decompressor(head: Buffer): Transform {
  const options = { chunkSize: WRITE_BYTES, readableHighWaterMark: AHEAD_BYTES, writableHighWaterMark: 2 * READ_BYTES };
  if (head[0] === 0x1f && head[1] === 0x8b) return zlib.createGunzip(options);
  if (isZstd(head)) return zlib.createZstdDecompress(options);
  if (head.subarray(0, 3).toString('latin1') === 'BZh' || head.subarray(0, 6).toString('latin1') === '\xfd7zXZ\0') {
    throw new Error('it is compressed with bzip2 or xz; only gzip, zstd and uncompressed archives are read');
  }
  return new PassThrough(options);
}

/** The blob's bytes as they arrive. */
async function* readBlob(fd: number, feed: BlobFeed): AsyncGenerator<Buffer> {
  for (let at = 0; ; ) {
    const there = await feed.beyond(at);
    const chunk = Buffer.allocUnsafeSlow(Math.min(READ_BYTES, there - at));
    const length = fs.readSync(fd, chunk, 0, chunk.length, at);
    if (length === 0) return;
    at += length;
    yield chunk.subarray(0, length);
  }
}

async function readHead(fd: number, feed: BlobFeed): Promise<Buffer> {
  const head = Buffer.alloc(8);
  await feed.beyond(head.length);
  return head.subarray(0, fs.readSync(fd, head, 0, head.length, 0));
}

/** Unpacks and verifies. On failure the target is left half filled: its owner removes it. */
export async function runUnpackJob(job: UnpackJob, feed: BlobFeed): Promise<Unpacked> {
  const { limits = defaultUnpackLimits } = job;
  const tree = job.base === undefined ? undefined : cloneTree(job.base, job.target);
  const unpacker = createUnpacker(job.target, {
    whiteouts: job.whiteouts,
    keepOwners: job.keepOwners,
    limits,
    ...(tree !== undefined && { tree }),
  });
  const reader = new TarReader(unpacker);
  const blobHash = job.digest === undefined ? undefined : hashFor(job.digest);
  const diffHash = job.diffId === undefined ? undefined : hashFor(job.diffId);
  // Headers and padding come on top of the content; an archive of nothing else is a bomb all the same.
  const archiveLimit = limits.bytes + 1024 * limits.entries;
  let blobBytes = 0;
  let archiveBytes = 0;
  async function* hashed(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of source) {
      blobBytes += chunk.length;
      if (job.sizeBytes !== undefined && blobBytes > job.sizeBytes)
        throw new Error(`it has more than the ${job.sizeBytes} bytes that its manifest says`);
      blobHash?.update(chunk);
      yield chunk;
    }
  }
  await feed.beyond(0);
  const fd = fs.openSync(job.blob, 'r');
  try {
    const head = await readHead(fd, feed);
    await pipeline(
      readBlob(fd, feed),
      async function* (source: AsyncIterable<Buffer>) {
        yield* isZstd(head) ? splitZstdFrames(hashed(source)) : hashed(source);
      },
      decompressor(head),
      async (source: AsyncIterable<Buffer>) => {
        for await (const chunk of source) {
          feed.throwIfAborted();
          archiveBytes += chunk.length;
          if (archiveBytes > archiveLimit) throw new Error(`it unpacks to more than ${archiveLimit} bytes`);
          diffHash?.update(chunk);
          reader.push(chunk);
        }
        reader.end();
      },
    );
  } catch (error) {
    // zlib and zstd know nothing of entries.
    if (/^(Z_|ZSTD_|ERR_ZSTD|ERR_ZLIB)/.test((error as NodeJS.ErrnoException).code ?? ''))
      throw new Error(`it cannot be decompressed${reader.position}`, { cause: error });
    throw error;
  } finally {
    fs.closeSync(fd);
    unpacker.abandon();
  }
  const unpacked = unpacker.finish();
  if (job.sizeBytes !== undefined && blobBytes !== job.sizeBytes)
    throw new Error(`it has ${blobBytes} bytes, not the ${job.sizeBytes} that its manifest says`);
  check('its content has the digest', blobHash === undefined ? undefined : finishDigest(blobHash, algorithmOf(job.digest)), job.digest);
  check('it unpacks to the digest', diffHash === undefined ? undefined : finishDigest(diffHash, algorithmOf(job.diffId)), job.diffId);
  return unpacked;
}

const algorithmOf = (digest = 'sha256:'): string => digest.slice(0, digest.indexOf(':'));

function check(what: string, actual: string | undefined, expected: string | undefined): void {
  if (actual !== expected) throw new Error(`${what} ${actual}, not ${expected}`);
}
