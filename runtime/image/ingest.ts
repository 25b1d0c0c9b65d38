// Owns a blob on its way into a file: what has come is hashed as it comes, and after a restart what lies there counts again.
import type { Hash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { resourceExhausted } from '../errors.ts';
import { hasCode } from '../linux/errno.ts';
import { BlobWriter } from './blob-writer.ts';
import { finishDigest, hashFor } from './digest.ts';

export interface Ingest {
  /** What has come, written or about to be. */
  readonly receivedBytes: number;
  append(piece: Buffer): Promise<void>;
  /** Resolves when all of it is in the file. */
  flush(): Promise<void>;
  /** Forgets what has come. */
  restart(): Promise<void>;
  /** Of what has come. */
  digest(): string;
  close(): Promise<void>;
}

const READ_BYTES = 256 * 1024;

export interface IngestOptions {
  readonly digest: string;
  readonly sizeBytes: number;
  /** Hears up to where the file is filled. */
  readonly onWritten?: (endBytes: number) => void;
}

/** Opens a file for a blob, with what an earlier ingest has left there, unless that is more than the blob has. */
export async function openIngest(file: string, { digest, sizeBytes, onWritten = () => {} }: IngestOptions): Promise<Ingest> {
  const algorithm = digest.slice(0, digest.indexOf(':'));
  const handle = await fs.promises.open(file, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
  let hash = hashFor(digest);
  let writer = new BlobWriter(handle, 0, onWritten);
  const restart = async () => {
    await writer.flush();
    await handle.truncate(0);
    hash = hashFor(digest);
    writer = new BlobWriter(handle, 0, onWritten);
  };
  const dir = path.dirname(file);
  const told = (error: unknown) => (isDiskFull(error) ? noSpace(dir, sizeBytes - writer.endBytes, error) : error);
  try {
    const received = await hashFile(handle, hash);
    writer = new BlobWriter(handle, received, onWritten);
    if (received > sizeBytes) await restart();
    await checkRoom(dir, sizeBytes - writer.endBytes);
    onWritten(writer.endBytes);
  } catch (error) {
    await handle.close();
    throw error;
  }
  return {
    get receivedBytes() {
      return writer.endBytes;
    },
    append: async (piece) => {
      hash.update(piece);
      try {
        await writer.push(piece);
      } catch (error) {
        throw told(error);
      }
    },
    flush: async () => {
      try {
        await writer.flush();
      } catch (error) {
        throw told(error);
      }
    },
    restart,
    digest: () => finishDigest(hash.copy(), algorithm),
    close: () => handle.close(),
  };
}

/** What cannot fit is refused before it has filled the disk for everybody else. */
async function checkRoom(dir: string, missingBytes: number): Promise<void> {
  const { bavail, bsize } = await fs.promises.statfs(dir);
  if (missingBytes <= bavail * bsize) return;
  throw noSpace(dir, missingBytes, Object.assign(new Error(`${Math.floor((bavail * bsize) / 1e6)} MB are free`), { code: 'ENOSPC' }));
}

async function hashFile(handle: fs.promises.FileHandle, hash: Hash): Promise<number> {
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  for (let at = 0; ; ) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) return at;
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
}

/** True when an error, or what caused it, is that a disk or a quota is full. */
export function isDiskFull(error: unknown): boolean {
  for (let link = error; link instanceof Error; link = link.cause) if (hasCode(link, 'ENOSPC', 'EDQUOT')) return true;
  return false;
}

export function noSpace(dir: string, missingBytes: number | undefined, cause: unknown): Error {
  const more = missingBytes === undefined ? '' : ` (${Math.ceil(missingBytes / 1e6)} MB of a layer are missing)`;
  return resourceExhausted(`no space is left in ${dir}${more}; remove images or make room there`, cause);
}
