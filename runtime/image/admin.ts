// Owns what people do with images beyond CRI: names, pruning, pushing, exporting.
import { failedPrecondition, invalidArgument, notFound } from '../errors.ts';
import type { Serial } from '../serial.ts';
import type { ContentStore } from './content.ts';
import { exportImages } from './export.ts';
import { addImage, chainOf, findImage, type ImageIndex, type ImageRecord, planPrune, untagImage } from './image-index.ts';
import type { LayerStore } from './layers.ts';
import { type PushParts, pushImage } from './push.ts';
import { formatReference, parseReference, type Reference, repositoryOf } from './reference.ts';
import type { RegistryOptions } from './registry-client.ts';
import type { SnapshotStore } from './snapshot.ts';
import type { ImageStore } from './store.ts';

export interface ImageAdminParts {
  readonly index: ImageIndex;
  readonly changes: Serial;
  readonly content: ContentStore;
  readonly layers: LayerStore;
  readonly snapshots: SnapshotStore;
  readonly ingestDir: string;
  readonly registryConfigDir: string | undefined;
  readonly findCredentials: RegistryOptions['findCredentials'];
  /** Layers hold their own changes only, not those below as well. */
  readonly layersApart: () => boolean;
  /** Removes what no image needs any more. */
  readonly collect: () => Promise<void>;
  /** Removes parts of layers that no pull is bringing. */
  readonly dropParts: () => Promise<void>;
  /** Told before a name is taken from its image. */
  readonly onUntag: (name: string) => void;
  readonly fsUsage: () => Promise<{ readonly usedBytes: bigint }>;
}

export type ImageAdmin = Pick<ImageStore, 'tag' | 'untag' | 'prune' | 'push' | 'export' | 'layerSizes'>;

export function createImageAdmin(parts: ImageAdminParts): ImageAdmin {
  const { index, changes, content, layers, snapshots } = parts;

  function find(text: string): ImageRecord {
    const record = findImage(index.records(), text);
    if (record === undefined) throw notFound(`there is no image "${text}" here`);
    return record;
  }

  const outgoing: PushParts = {
    ingestDir: parts.ingestDir,
    registryConfigDir: parts.registryConfigDir,
    findCredentials: parts.findCredentials,
    read: content.read,
    layerDirs: (record) => {
      const chain = chainOf(record);
      return (parts.layersApart() ? chain : chain.slice(-1)).map(layers.directory);
    },
  };

  /** Its layers stay while something is read from them, whatever happens to the image. */
  async function holding<T>(records: readonly ImageRecord[], use: () => Promise<T>): Promise<T> {
    const release = layers.lease(records.flatMap(chainOf));
    try {
      return await use();
    } finally {
      release();
    }
  }

  function isUsed(record: ImageRecord): boolean {
    const top = chainOf(record).at(-1);
    return [...snapshots.records()].some(
      ({ imageId, volumes = {} }) => imageId === record.id || Object.values(volumes).some((chain) => chain.at(-1) === top),
    );
  }

  return {
    tag: async (text, name) => {
      const target = named(name);
      const tag = formatReference(target);
      if (target.digest !== undefined) throw invalidArgument(`"${name}" is a digest, which nobody can give; name a tag`);
      await changes.run(async () => {
        const record = find(text);
        index.replace(addImage(index.records(), { ...record, repoTags: [tag] }));
      });
      return tag;
    },
    untag: async (text) => {
      let gone: string | undefined;
      await changes.run(async () => {
        const record = find(text);
        const name = nameIn(record, text);
        for (const tag of name === undefined ? record.repoTags : [name]) parts.onUntag(tag);
        const rest = index.records().filter(({ id }) => id !== record.id);
        index.replace(name === undefined ? rest : untagImage(index.records(), name));
        if (index.records().every(({ id }) => id !== record.id)) gone = record.id;
      });
      if (gone !== undefined) await parts.collect();
      return gone;
    },
    prune: async (all) => {
      const before = await parts.fsUsage();
      let pruned: readonly ImageRecord[] = [];
      await changes.run(async () => {
        pruned = planPrune(index.records(), isUsed, all);
        index.replace(index.records().filter((record) => !pruned.includes(record)));
      });
      await parts.collect();
      await parts.dropParts();
      const { usedBytes } = await parts.fsUsage();
      const freedBytes = before.usedBytes > usedBytes ? before.usedBytes - usedBytes : 0n;
      return { images: pruned.map(({ id, repoTags, repoDigests }) => ({ id, references: [...repoTags, ...repoDigests] })), freedBytes };
    },
    push: async (text, name, { auth: given, signal, onProgress } = {}) => {
      const record = find(text);
      const target = named(name);
      if (target.domain === 'localhost')
        throw failedPrecondition(
          `"${name}" names no registry: localhost stands for images of this machine; tag it for a registry (registry.example/name:tag) and push that`,
        );
      const auth = given ?? (await parts.findCredentials?.(repositoryOf(target)));
      return holding([record], () =>
        pushImage(outgoing, { record, target, auth, signal, ...(onProgress === undefined ? {} : { onProgress }) }),
      );
    },
    export: async (references, file, signal) => {
      const images = references.map((text) => {
        const record = find(text);
        const name = nameIn(record, text);
        return { record, names: name === undefined ? record.repoTags : record.repoTags.filter((tag) => tag === name) };
      });
      return holding(
        images.map(({ record }) => record),
        () => exportImages(outgoing, { images, file, signal }),
      );
    },
    layerSizes: (imageId) => chainOf(find(imageId)).map((chainId) => layers.usage(chainId).sizeBytes),
  };
}

function named(text: string): Reference {
  try {
    return parseReference(text);
  } catch (error) {
    throw invalidArgument(error instanceof Error ? error.message : String(error));
  }
}

/** The one of the image's names that `text` means; undefined when it means the image itself, by its id. */
function nameIn({ repoTags, repoDigests }: ImageRecord, text: string): string | undefined {
  try {
    const name = formatReference(parseReference(text));
    return [...repoTags, ...repoDigests].includes(name) ? name : undefined;
  } catch {
    return undefined;
  }
}
