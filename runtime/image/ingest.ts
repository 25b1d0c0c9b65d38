// Owns a blob on its way into a file: what has come is hashed as it comes, and after a restart what lies there counts again.
import type { Hash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { resourceExhausted } from '../errors.ts';
import { hasCode } from '../linux/errno.ts';
import { finishDigest, hashFor } from './digest.ts';

export interface Ingest {
  readonly receivedBytes: number;
  append(piece: Uint8Array): Promise<void>;
  /** Forgets what has come. */
  restart(): Promise<void>;
  /** Of what has come. */
  digest(): string;
  close(): Promise<void>;
}

const READ_BYTES = 256 * 1024;

/** Opens a file for the blob `digest`, with what an earlier ingest has left there, unless that is more than the blob has. */
export async function openIngest(file: string, digest: string, sizeBytes: number): Promise<Ingest> {
  const algorithm = digest.slice(0, digest.indexOf(':'));
  const handle = await fs.promises.open(file, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
  let hash = hashFor(digest);
  let received = 0;
  const restart = async () => {
    await handle.truncate(0);
    hash = hashFor(digest);
    received = 0;
  };
  try {
    received = await hashFile(handle, hash);
    if (received > sizeBytes) await restart();
  } catch (error) {
    await handle.close();
    throw error;
  }
  return {
    get receivedBytes() {
      return received;
    },
    append: async (piece) => {
      try {
        for (let done = 0; done < piece.length; )
          done += (await handle.write(piece, done, piece.length - done, received + done)).bytesWritten;
      } catch (error) {
        throw isDiskFull(error) ? noSpace(path.dirname(file), sizeBytes - received, error) : error;
      }
      hash.update(piece);
      received += piece.length;
    },
    restart,
    digest: () => finishDigest(hash.copy(), algorithm),
    close: () => handle.close(),
  };
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
