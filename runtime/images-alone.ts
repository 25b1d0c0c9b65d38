// Owns the image store of a root-dir that no daemon works on: opened under the same lock, for commands that need no daemon.
import { readImageInfo } from './image/info.ts';
import { openImageStore } from './image/open.ts';
import type { Image, ImageStore } from './image/store.ts';
import { lockDirectory } from './lock.ts';
import type { Logger } from './logger.ts';
import { planPaths } from './paths.ts';

export interface ImagesAloneOptions {
  readonly rootDir: string;
  readonly runDir: string;
  readonly logger: Logger;
  readonly registryConfigDir?: string;
}

export interface ImageRow {
  readonly id: string;
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
  readonly size: bigint;
  readonly pinned: boolean;
}

export interface ImagesAlone extends Pick<ImageStore, 'remove' | 'import' | 'buildHost' | 'close'> {
  list(): Promise<readonly ImageRow[]>;
  pull(reference: string): Promise<string>;
  inspect(reference: string): Promise<{ readonly image: ImageRow; readonly details: unknown } | undefined>;
}

function rowOf({ id, repoTags, repoDigests, sizeBytes, pinned }: Image): ImageRow {
  return { id, repoTags, repoDigests, size: sizeBytes, pinned };
}

export async function openImagesAlone({ rootDir, ...options }: ImagesAloneOptions): Promise<ImagesAlone> {
  const lock = lockDirectory(rootDir, '--root-dir');
  try {
    const store = await openImageStore({ dir: planPaths(rootDir, options.runDir).images, ...options });
    return {
      list: async () => store.list().map(rowOf),
      pull: (reference) => store.pull(reference),
      inspect: async (reference) => {
        const image = await store.status(reference);
        if (image === undefined) return undefined;
        return { image: rowOf(image), details: await readImageInfo(store, image) };
      },
      remove: (reference) => store.remove(reference),
      import: (file) => store.import(file),
      buildHost: (name, binaries) => store.buildHost(name, binaries),
      close: async () => {
        await store.close();
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}
