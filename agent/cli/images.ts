// Owns where the image commands reach the images: the socket of a running daemon, else the store itself under the lock of root-dir.
import type { Image } from '../../cri-proto/gen/api.ts';
import { CommandError } from '../error.ts';
import { createLogger } from '../logger.ts';
import type { Flags } from './flags.ts';
import { listens } from './listens.ts';
import { checkMachine } from './preflight.ts';
import type { ImageRow, Images, RuntimeHalf } from './runtime-half.ts';
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
    pull: async (reference) => (await cri.image.pullImage({ image: { image: reference } })).imageRef,
    inspect: async (reference) => {
      const { image, info } = await cri.image.imageStatus({ image: { image: reference }, verbose: true });
      return image === undefined ? undefined : { image: rowOf(image), details: JSON.parse(info.info ?? '{}') as unknown };
    },
    remove: async (reference) => {
      await cri.image.removeImage({ image: { image: reference } });
    },
    import: async (file) => (await own(cri.admin.importImage({ path: file }))).references,
    buildHost: async (name, binaries) => (await own(cri.admin.buildHostImage({ name, binaries: [...binaries] }))).imageId,
    close: async () => cri.close(),
  };
}
