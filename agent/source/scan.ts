// Which manifest files are there, and whether they changed: reads directories and stats, no content.
import type { BigIntStats } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';

export interface FoundFile {
  readonly path: string;
  /** Differs whenever the content may. */
  readonly stamp: string;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
}

export type Found =
  | { readonly kind: 'file'; readonly file: FoundFile }
  /** There, but not to be read; its pods stay. */
  | { readonly kind: 'unreadable'; readonly path: string; readonly error: Error };

export interface Listing {
  /** As configured. */
  readonly path: string;
  /** absent: nothing is there. unreadable: nothing can be said, so nothing changes. */
  readonly state: 'directory' | 'file' | 'absent' | 'unreadable';
  readonly error?: Error;
  /** Sorted by path. */
  readonly found: readonly Found[];
  /** Names of sub-directories; they are not looked into. */
  readonly directories: readonly string[];
}

/** root: absolute. A file that is named itself may have any name. */
export async function listManifests(root: string): Promise<Listing> {
  const nothing = { path: root, found: [], directories: [] };
  try {
    const stats = await fs.stat(root, { bigint: true });
    if (!stats.isDirectory()) return { ...nothing, state: 'file', found: [describeFile(root, stats)] };
    const entries = await fs.readdir(root, { withFileTypes: true });
    const found: Found[] = [];
    const directories: string[] = [];
    for (const entry of entries) {
      if (entry.name.startsWith('.')) continue;
      if (entry.isDirectory()) directories.push(entry.name);
      else if (isManifestName(entry.name)) {
        const one = await findFile(path.join(root, entry.name));
        if (one === 'directory') directories.push(entry.name);
        else if (one) found.push(one);
      }
    }
    found.sort((a, b) => (pathOf(a) < pathOf(b) ? -1 : 1));
    return { path: root, state: 'directory', found, directories };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return { ...nothing, state: 'absent' };
    return { ...nothing, state: 'unreadable', error: error as Error };
  }
}

/** Swap, backup and lock files of editors either start with a dot or end in something else. */
export function isManifestName(name: string): boolean {
  return !name.startsWith('.') && /\.(yaml|yml|json)$/i.test(name);
}

export function pathOf(found: Found): string {
  return found.kind === 'file' ? found.file.path : found.path;
}

async function findFile(file: string): Promise<Found | 'directory' | undefined> {
  try {
    const stats = await fs.stat(file, { bigint: true });
    return stats.isDirectory() ? 'directory' : describeFile(file, stats);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return { kind: 'unreadable', path: file, error: error as Error };
    // Gone since it was listed; or a symbolic link to nothing, which is what a mounted ConfigMap has for an instant.
    const link = await fs.lstat(file).catch(() => undefined);
    return link && { kind: 'unreadable', path: file, error: new Error('it is a symbolic link to nothing') };
  }
}

function describeFile(file: string, stats: BigIntStats): Found {
  // Opening a FIFO would wait for its writer.
  if (!stats.isFile()) return { kind: 'unreadable', path: file, error: new Error('it is neither a file nor a directory') };
  const stamp = [stats.dev, stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(':');
  return { kind: 'file', file: { path: file, stamp, sizeBytes: Number(stats.size), modifiedMs: Number(stats.mtimeMs) } };
}
