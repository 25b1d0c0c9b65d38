// Owns the content store: blobs by digest below <dir>/content. A blob is there whole and verified, or not at all: it is written beside,
// synced and renamed.
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { hasCode } from '../linux/errno.ts';
import { digestOf } from './digest.ts';

export interface ContentStore {
  has(digest: string): boolean;
  read(digest: string): Promise<Buffer>;
  /** Stores bytes under their sha256, or under `expected` after checking it. */
  put(bytes: Uint8Array, expected?: string): Promise<string>;
  /** Removes every blob that is not in `live`. */
  collect(live: ReadonlySet<string>): Promise<void>;
  usage(): Promise<{ bytes: number; inodes: number }>;
}

export function createContentStore(dir: string): ContentStore {
  const fileOf = (digest: string): string => path.join(dir, ...digest.split(':'));

  async function blobs(): Promise<string[]> {
    const found: string[] = [];
    for (const algorithm of await readdirIfThere(dir)) {
      for (const hex of await readdirIfThere(path.join(dir, algorithm))) found.push(`${algorithm}:${hex}`);
    }
    return found;
  }

  return {
    has: (digest) => fs.existsSync(fileOf(digest)),
    read: async (digest) => {
      const bytes = await fs.promises.readFile(fileOf(digest));
      if (digestOf(bytes, digest) !== digest) throw new Error(`the stored blob ${digest} is damaged; pull its image again`);
      return bytes;
    },
    put: async (bytes, expected) => {
      const digest = digestOf(bytes, expected);
      if (expected !== undefined && digest !== expected) throw new Error(`the content has the digest ${digest}, not ${expected}`);
      const file = fileOf(digest);
      if (fs.existsSync(file)) return digest;
      await fs.promises.mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
      const temporary = `${file}.${randomUUID()}.new`;
      try {
        await writeSynced(temporary, bytes);
        await fs.promises.rename(temporary, file);
      } catch (error) {
        await fs.promises.rm(temporary, { force: true });
        throw error;
      }
      return digest;
    },
    collect: async (live) => {
      for (const digest of await blobs()) if (!live.has(digest)) await fs.promises.rm(fileOf(digest), { force: true });
    },
    usage: async () => {
      let bytes = 0;
      let inodes = 0;
      for (const digest of await blobs()) {
        const stat = await fs.promises.stat(fileOf(digest)).catch(() => undefined);
        bytes += (stat?.blocks ?? 0) * 512;
        inodes++;
      }
      return { bytes, inodes };
    },
  };
}

async function writeSynced(file: string, bytes: Uint8Array): Promise<void> {
  const handle = await fs.promises.open(file, 'wx', 0o600);
  try {
    await handle.writeFile(bytes);
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

/** Names in a directory; none when it is absent. */
export async function readdirIfThere(dir: string): Promise<string[]> {
  try {
    return await fs.promises.readdir(dir);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}
