// Owns which images there are and what they are called: one JSON file, replaced whole. Lookup rules are pure functions of the records.
import fs from 'node:fs';
import { readJsonFile } from '../state/json-file.ts';
import { chainIds } from './digest.ts';
import { formatReference, parseReference, type Reference } from './reference.ts';
import type { Image, ImageConfig } from './store.ts';

/** Where a host image was taken from: each host file with what tells that it has changed. */
export interface HostSource {
  readonly sources: Readonly<Record<string, string>>;
}

export interface ImageRecord {
  readonly id: string;
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
  readonly diffIds: readonly string[];
  readonly sizeBytes: number;
  readonly pinned: boolean;
  /** Blobs of the content store: config, manifests, indexes. */
  readonly blobs: readonly string[];
  readonly config: ImageConfig;
  readonly host?: HostSource;
}

/** The record that `text` means: an id, a reference, or the unique beginning of an id. */
export function findImage(records: readonly ImageRecord[], text: string): ImageRecord | undefined {
  const byId = records.find(({ id }) => id === text || id.slice(id.indexOf(':') + 1) === text);
  if (byId !== undefined) return byId;
  let reference: Reference | undefined;
  try {
    reference = parseReference(text);
  } catch {
    reference = undefined;
  }
  if (reference !== undefined) {
    const name = formatReference(reference);
    const byName = records.find(({ repoTags, repoDigests }) => repoTags.includes(name) || repoDigests.includes(name));
    if (byName !== undefined) return byName;
  }
  const prefix = text.replace(/^sha256:/, '');
  if (!/^[0-9a-f]+$/.test(prefix)) return undefined;
  const byPrefix = records.filter(({ id }) => id.startsWith(`sha256:${prefix}`));
  return byPrefix.length === 1 ? byPrefix[0] : undefined;
}

/** The records after `added` has come: it takes its tags from others and joins an older record of the same id. */
export function addImage(records: readonly ImageRecord[], added: ImageRecord): ImageRecord[] {
  const others = records
    .filter(({ id }) => id !== added.id)
    .map((record) => {
      const repoTags = record.repoTags.filter((tag) => !added.repoTags.includes(tag));
      return repoTags.length === record.repoTags.length ? record : { ...record, repoTags };
    })
    // An image that has lost its last name to a newer one is gone, as long as it can be had again by none.
    .filter(({ repoTags, repoDigests, host }) => repoTags.length > 0 || repoDigests.length > 0 || host === undefined);
  const old = records.find(({ id }) => id === added.id);
  const union = (a: readonly string[] = [], b: readonly string[]) => [...new Set([...a, ...b])];
  return [
    ...others,
    {
      ...added,
      pinned: added.pinned || (old?.pinned ?? false),
      repoTags: union(old?.repoTags, added.repoTags),
      repoDigests: union(old?.repoDigests, added.repoDigests),
      blobs: union(old?.blobs, added.blobs),
    },
  ];
}

/** The records after `name` (in its one spelling) has been taken from whichever has it; an image without any name left is gone. */
export function untagImage(records: readonly ImageRecord[], name: string): ImageRecord[] {
  return records.flatMap((record) => {
    if (!record.repoTags.includes(name) && !record.repoDigests.includes(name)) return [record];
    const repoTags = record.repoTags.filter((tag) => tag !== name);
    const repoDigests = record.repoDigests.filter((digest) => digest !== name);
    // A digest that came with the tag does not keep the image by itself: people remove it by the name that they gave it.
    return repoTags.length === 0 && (repoDigests.length === 0 || record.repoTags.length > 0) ? [] : [{ ...record, repoTags, repoDigests }];
  });
}

/** Images that nobody would miss: unused and not pinned; without `all` only those that have lost their tag. */
export function planPrune(records: readonly ImageRecord[], isUsed: (record: ImageRecord) => boolean, all: boolean): ImageRecord[] {
  return records.filter((record) => !record.pinned && !isUsed(record) && (all || record.repoTags.length === 0));
}

export function imageOf(record: ImageRecord): Image {
  const { id, repoTags, repoDigests, sizeBytes, config, pinned, diffIds } = record;
  return { id, repoTags, repoDigests, sizeBytes: BigInt(sizeBytes), config, pinned, diffIds };
}

export interface ImageIndex {
  records(): readonly ImageRecord[];
  /** On disk when it returns. */
  replace(records: readonly ImageRecord[]): void;
}

const VERSION = 1;

/** Reads the index. Records whose layers or blobs are gone (a power loss, a tmpfs) are left out and given to `lost`. */
export function openImageIndex(file: string, isWhole: (record: ImageRecord) => boolean, lost: (record: ImageRecord) => void): ImageIndex {
  const stored = readJsonFile(file) as { version?: number; images?: ImageRecord[] } | undefined;
  if (stored?.version !== undefined && stored.version !== VERSION) {
    throw new Error(`${file} was written by another version of tskubelet (format ${stored.version}, this one reads ${VERSION})`);
  }
  let records: readonly ImageRecord[] = stored?.images ?? [];
  for (const record of records.filter((record) => !isWhole(record))) {
    lost(record);
    records = records.filter((other) => other !== record);
  }
  return {
    records: () => records,
    replace: (next) => {
      const temporary = `${file}.new`;
      const fd = fs.openSync(temporary, 'w', 0o600);
      try {
        fs.writeFileSync(fd, JSON.stringify({ version: VERSION, images: next }));
        fs.fdatasyncSync(fd);
      } finally {
        fs.closeSync(fd);
      }
      fs.renameSync(temporary, file);
      records = next;
    },
  };
}

export function chainOf(record: Pick<ImageRecord, 'diffIds'>): string[] {
  return chainIds(record.diffIds);
}
