// Owns the image store of a root-dir that no daemon works on: opened under the same lock, for commands that need no daemon.
import type { ImageRow, Images, TransferOptions } from '../cri-proto/images.ts';
import { openDockerCredentials, planConfigFiles } from './credentials/docker-config.ts';
import { readImageInfo } from './image/info.ts';
import { openImageStore } from './image/open.ts';
import { formatReference, parseReference } from './image/reference.ts';
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

function rowOf({ id, repoTags, repoDigests, sizeBytes, pinned }: Image): ImageRow {
  return { id, repoTags, repoDigests, size: sizeBytes, pinned };
}

export async function openImagesAlone({ rootDir, ...options }: ImagesAloneOptions): Promise<Images> {
  const lock = lockDirectory(rootDir, '--root-dir');
  try {
    const findCredentials = openDockerCredentials(planConfigFiles(process.env, rootDir));
    const store = await openImageStore({ dir: planPaths(rootDir, options.runDir).images, findCredentials, ...options });
    return {
      list: async () => store.list().map(rowOf),
      pull: (reference, options) => pullWatched(store, reference, options),
      push: (reference, target, { credentials, onProgress } = {}) =>
        store.push(reference, target, {
          ...(credentials === undefined ? {} : { auth: credentials }),
          ...(onProgress === undefined
            ? {}
            : { onProgress: (layers) => onProgress(layers.map(({ sentBytes, ...layer }) => ({ ...layer, doneBytes: sentBytes }))) }),
        }),
      inspect: async (reference) => {
        const image = await store.status(reference);
        if (image === undefined) return undefined;
        return { image: rowOf(image), details: await readImageInfo(store, image) };
      },
      untag: store.untag,
      tag: store.tag,
      prune: store.prune,
      export: store.export,
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

async function pullWatched(store: ImageStore, reference: string, { credentials, onProgress }: TransferOptions = {}): Promise<string> {
  const pulled = () => store.pull(reference, credentials === undefined ? {} : { auth: credentials });
  if (onProgress === undefined) return pulled();
  const name = spelling(reference);
  const unwatch = store.pulls.watch((progress) => {
    if (progress.reference === name)
      onProgress(progress.layers.map(({ receivedBytes, ...layer }) => ({ ...layer, doneBytes: receivedBytes })));
  });
  try {
    return await pulled();
  } finally {
    unwatch();
  }
}

/** What cannot be parsed is refused by the pull itself. */
function spelling(reference: string): string {
  try {
    return formatReference(parseReference(reference));
  } catch {
    return reference;
  }
}
