// Owns the stream from a blob to a directory: read, hash, decompress, hash, unpack. Runs inside the worker thread.
import fs from 'node:fs';
import { PassThrough, type Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import zlib from 'node:zlib';
import { cloneTree } from './clone-tree.ts';
import { finishDigest, hashFor } from './digest.ts';
import { TarReader } from './tar-reader.ts';
import { createUnpacker, type Unpacked, type UnpackLimits, type Whiteouts } from './unpack.ts';
import { isZstd, splitZstdFrames } from './zstd-frames.ts';

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
  if (head[0] === 0x1f && head[1] === 0x8b) return zlib.createGunzip();
  if (isZstd(head)) return zlib.createZstdDecompress();
  if (head.subarray(0, 3).toString('latin1') === 'BZh' || head.subarray(0, 6).toString('latin1') === '\xfd7zXZ\0') {
    throw new Error('it is compressed with bzip2 or xz; only gzip, zstd and uncompressed archives are read');
  }
  return new PassThrough();
}

function readHead(path: string): Buffer {
  const head = Buffer.alloc(8);
  const fd = fs.openSync(path, 'r');
  try {
    return head.subarray(0, fs.readSync(fd, head, 0, head.length, 0));
  } finally {
    fs.closeSync(fd);
  }
}

/** Unpacks and verifies. On failure the target is left half filled: its owner removes it. */
export async function runUnpackJob(job: UnpackJob): Promise<Unpacked> {
  const tree = job.base === undefined ? undefined : cloneTree(job.base, job.target);
  const unpacker = createUnpacker(job.target, {
    whiteouts: job.whiteouts,
    keepOwners: job.keepOwners,
    ...(tree !== undefined && { tree }),
    ...(job.limits !== undefined && { limits: job.limits }),
  });
  const reader = new TarReader(unpacker);
  const blobHash = job.digest === undefined ? undefined : hashFor(job.digest);
  const diffHash = job.diffId === undefined ? undefined : hashFor(job.diffId);
  let blobBytes = 0;
  const head = readHead(job.blob);
  async function* hashed(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of source) {
      blobBytes += chunk.length;
      blobHash?.update(chunk);
      yield chunk;
    }
  }
  const stream = pipeline(
    fs.createReadStream(job.blob, { highWaterMark: 256 * 1024 }),
    async function* (source: AsyncIterable<Buffer>) {
      yield* isZstd(head) ? splitZstdFrames(hashed(source)) : hashed(source);
    },
    decompressor(head),
    async (source: AsyncIterable<Buffer>) => {
      for await (const chunk of source) {
        diffHash?.update(chunk);
        reader.push(chunk);
      }
      reader.end();
    },
  );
  await stream.finally(() => unpacker.abandon());
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
