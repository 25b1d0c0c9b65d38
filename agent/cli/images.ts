// Owns where the image commands reach the images: the socket of a running daemon, else the store itself under the lock of root-dir.
import type { CriClient } from '../../cri-proto/client.ts';
import type { LayerProgress } from '../../cri-proto/gen/admin.ts';
import type { Image } from '../../cri-proto/gen/api.ts';
import type { ImageRow, Images, TransferLayer, TransferOptions } from '../../cri-proto/images.ts';
import { CommandError } from '../error.ts';
import { createLogger } from '../logger.ts';
import type { Flags } from './flags.ts';
import { listens } from './listens.ts';
import { checkMachine } from './preflight.ts';
import type { RuntimeHalf } from './runtime-half.ts';
import { readNodeSettings, type Settings } from './settings.ts';

export async function openImages(flags: Flags, runtime: RuntimeHalf): Promise<Images> {
  const settings = readNodeSettings(flags, { logLevel: 'warn' });
  const { rootDir, runDir, criSocket, foreignRuntime, registryConfigDir, logFormat, logLevel } = settings;
  if (await listens(criSocket)) return imagesOverCri(settings);
  if (foreignRuntime !== undefined) throw new CommandError(`no CRI runtime answers at ${foreignRuntime}; is it running?`);
  checkMachine();
  const logger = createLogger(logFormat, logLevel);
  return runtime.openImages({ rootDir, runDir, logger, ...(registryConfigDir === undefined ? {} : { registryConfigDir }) });
}

function rowOf({ id, repoTags, repoDigests, size, pinned }: Image): ImageRow {
  return { id, repoTags, repoDigests, size, pinned };
}

async function imagesOverCri({ criSocket }: Settings): Promise<Images> {
  const { connectCri, CriCallError } = await import('../../cri-proto/client.ts');
  const cri = connectCri(criSocket);
  /** Other runtimes have no word for what CRI has none for. */
  const own = async <T>(call: Promise<T>): Promise<T> => {
    try {
      return await call;
    } catch (error) {
      if (error instanceof CriCallError && error.code === 'UNIMPLEMENTED')
        throw new CommandError(`the runtime at ${criSocket} is not tskubelet's own: use its own tool for this`);
      throw error;
    }
  };
  return {
    list: async () => (await cri.image.listImages({})).images.map(rowOf),
    pull: (reference, options) => pullWatched(cri, reference, options),
    inspect: async (reference) => {
      const { image, info } = await cri.image.imageStatus({ image: { image: reference }, verbose: true });
      return image === undefined ? undefined : { image: rowOf(image), details: JSON.parse(info.info ?? '{}') as unknown };
    },
    untag: (reference) => untag(cri, reference),
    tag: async (reference, name) => (await own(cri.admin.tagImage({ image: reference, name }))).reference,
    prune: async (all) => {
      const { images, freedBytes } = await own(cri.admin.pruneImages({ all }));
      return { images: images.map(({ imageId, references }) => ({ id: imageId, references })), freedBytes };
    },
    push: (reference, target, options) => own(pushWatched(cri, reference, target, options)),
    export: async (references, file) => (await own(cri.admin.exportImages({ images: [...references], path: file }))).imageIds,
    import: async (file) => (await own(cri.admin.importImage({ path: file }))).references,
    buildHost: async (name, binaries) => (await own(cri.admin.buildHostImage({ name, binaries: [...binaries] }))).imageId,
    close: async () => cri.close(),
  };
}

/** Other runtimes know only CRI's way: the image with all of its names. */
async function untag(cri: CriClient, reference: string): Promise<string | undefined> {
  const { CriCallError } = await import('../../cri-proto/client.ts');
  try {
    return (await cri.admin.untagImage({ image: reference })).removedImageId || undefined;
  } catch (error) {
    if (!(error instanceof CriCallError && error.code === 'UNIMPLEMENTED')) throw error;
    await cri.image.removeImage({ image: { image: reference } });
    return undefined;
  }
}

export function transferLayers(layers: readonly LayerProgress[]): readonly TransferLayer[] {
  return layers.map(({ digest, totalBytes, doneBytes, state }) => ({
    ...{ digest, state, totalBytes: Number(totalBytes), doneBytes: Number(doneBytes) },
  }));
}

/** Other runtimes tell nothing of a pull that goes on: then nothing is shown. */
async function pullWatched(cri: CriClient, reference: string, { credentials, onProgress }: TransferOptions = {}): Promise<string> {
  const pulled = new AbortController();
  const watching = onProgress === undefined ? undefined : watch(cri, reference, onProgress, pulled.signal);
  try {
    return (await cri.image.pullImage({ image: { image: reference }, ...(credentials === undefined ? {} : { auth: credentials }) }))
      .imageRef;
  } finally {
    pulled.abort();
    await watching;
  }
}

async function watch(
  cri: CriClient,
  reference: string,
  onProgress: NonNullable<TransferOptions['onProgress']>,
  signal: AbortSignal,
): Promise<void> {
  try {
    for await (const { layers } of cri.admin.watchPulls({ reference }, { signal })) onProgress(transferLayers(layers));
  } catch {
    // The pull itself tells what is wrong.
  }
}

async function pushWatched(cri: CriClient, image: string, target: string, { credentials, onProgress }: TransferOptions = {}) {
  const answers = cri.admin.pushImage({ image, target, ...(credentials ?? {}) });
  for await (const { layers, reference, digest, imageId } of answers) {
    if (digest !== '') return { reference, digest, id: imageId };
    onProgress?.(transferLayers(layers));
  }
  throw new CommandError(`the push of ${image} ended without a result`);
}
