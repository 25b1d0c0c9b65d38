// Owns what the images take on their disk: blocks and inodes as the kernel counts them, not sizes as manifests say them. A layer never
// changes, so each is measured once and its measure kept beside it.
import fs from 'node:fs';
import path from 'node:path';
import { readJsonFile, writeJsonFile } from '../state/json-file.ts';
import type { TreeUsage } from './usage.ts';

const NOTE = 'usage.json';

export interface LayerMeasures {
  /** Of the layer whose directory (the one around its fs) this is. */
  read(home: string): Promise<TreeUsage>;
}

export function createLayerMeasures(measure: (root: string) => Promise<TreeUsage>): LayerMeasures {
  const known = new Map<string, Promise<TreeUsage>>();

  async function readOrMeasure(home: string): Promise<TreeUsage> {
    const note = path.join(home, NOTE);
    const noted = readJsonFile(note) as { readonly usedBytes: number; readonly inodes: number } | undefined;
    if (noted !== undefined) return { usedBytes: BigInt(noted.usedBytes), inodesUsed: BigInt(noted.inodes) };
    const usage = await measure(home);
    // Removed meanwhile: it takes nothing, and gets no note.
    if (fs.existsSync(home)) writeJsonFile(note, { usedBytes: Number(usage.usedBytes), inodes: Number(usage.inodesUsed) });
    return usage;
  }

  return {
    read: (home) => {
      const reading = known.get(home) ?? readOrMeasure(home).finally(() => known.delete(home));
      known.set(home, reading);
      return reading;
    },
  };
}

export function sumUsages(usages: readonly TreeUsage[]): TreeUsage {
  return {
    usedBytes: usages.reduce((total, { usedBytes }) => total + usedBytes, 0n),
    inodesUsed: usages.reduce((total, { inodesUsed }) => total + inodesUsed, 0n),
  };
}
