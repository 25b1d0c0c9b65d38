// Owns the six ImageService calls and the streaming list: CRI messages in and out, the store does the work.
import type { AuthConfig, Image as CriImage, FilesystemUsage } from '../../cri-proto/gen/api.ts';
import type { RuntimeContext } from '../context.ts';
import type { Credentials } from '../credentials/docker-config.ts';
import { type CriCode, CriError, invalidArgument } from '../errors.ts';
import { sumUsages } from '../image/fs-usage.ts';
import { readImageInfo } from '../image/info.ts';
import { RegistryError } from '../image/registry-error.ts';
import type { FsUsage, Image } from '../image/store.ts';
import type { TreeUsage } from '../image/usage.ts';
import type { CriHandlers } from '../server/handlers.ts';
import { DiskUsage } from '../stats/disk-usage.ts';
import { nowNs } from '../time.ts';

function reference(image: { image: string } | undefined): string {
  const name = image?.image ?? '';
  if (name === '') throw invalidArgument('the request names no image');
  return name;
}

/** OCI's USER: a number before the colon is a uid, anything else a name. */
function criUser(user: string): { uid: { value: bigint } | undefined; username: string } {
  const [who = ''] = user.split(':');
  if (who === '') return { uid: undefined, username: '' };
  return /^\d+$/.test(who) ? { uid: { value: BigInt(who) }, username: '' } : { uid: undefined, username: who };
}

export function renderImage(image: Image): CriImage {
  return {
    id: image.id,
    repoTags: [...image.repoTags],
    repoDigests: [...image.repoDigests],
    size: image.sizeBytes,
    ...criUser(image.config.user),
    spec: { image: image.repoTags[0] ?? '', annotations: {}, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' },
    pinned: image.pinned,
  };
}

function renderUsage(usage: FsUsage): FilesystemUsage {
  return {
    timestamp: nowNs(),
    fsId: { mountpoint: usage.mountpoint },
    usedBytes: { value: usage.usedBytes },
    inodesUsed: { value: usage.inodesUsed },
  };
}

function pullAuth(auth: AuthConfig | undefined): Credentials | undefined {
  if (auth === undefined) return undefined;
  const { username, password, auth: encoded, identityToken, registryToken, serverAddress } = auth;
  return { username, password, auth: encoded, identityToken, registryToken, serverAddress };
}

/** A registry's refusal as a code that clients branch on; its sentence stays. */
export function codeOfRegistryError({ status }: RegistryError): CriCode {
  if (status === undefined) return 'UNAVAILABLE';
  if (status === 404) return 'NOT_FOUND';
  if (status === 401 || status === 403) return 'PERMISSION_DENIED';
  return status >= 500 || status === 429 ? 'UNAVAILABLE' : 'UNKNOWN';
}

export async function coded<T>(pull: Promise<T>): Promise<T> {
  try {
    return await pull;
  } catch (error) {
    if (error instanceof RegistryError) throw new CriError(codeOfRegistryError(error), error.message, error.cause);
    throw error;
  }
}

export function imageHandlers({ images, containers }: RuntimeContext): CriHandlers {
  const written = new DiskUsage((id) => images.snapshotUsage(id), nowNs);

  /** What the containers wrote. One that takes long to measure is counted at the next call. */
  async function writtenUsage(): Promise<TreeUsage> {
    written.retain((id) => containers.has(id));
    const answers = await Promise.all([...containers.keys()].map((id) => written.read(id)));
    return sumUsages(answers.flatMap((answer) => (answer === undefined ? [] : [answer.usage])));
  }

  const listImages = async (filter: string): Promise<CriImage[]> => {
    if (filter === '') return images.list().map(renderImage);
    const found = await images.status(filter);
    return found === undefined ? [] : [renderImage(found)];
  };
  return {
    pullImage: async ({ image, auth }, { signal }) => {
      const credentials = pullAuth(auth);
      const imageRef = await coded(images.pull(reference(image), { signal, ...(credentials === undefined ? {} : { auth: credentials }) }));
      return { imageRef };
    },
    listImages: async ({ filter }) => ({ images: await listImages(filter?.image?.image ?? '') }),
    imageStatus: async ({ image, verbose }) => {
      const found = await images.status(reference(image));
      if (found === undefined) return { image: undefined, info: {} };
      return { image: renderImage(found), info: verbose ? { info: JSON.stringify(await readImageInfo(images, found)) } : {} };
    },
    removeImage: async ({ image }) => {
      await images.remove(reference(image));
      return {};
    },
    imageFsInfo: async () => {
      const [own, byContainers] = await Promise.all([images.fsUsage(), writtenUsage()]);
      const mountpoint = images.snapshotMountpoint();
      if (mountpoint !== own.mountpoint)
        return { imageFilesystems: [renderUsage(own)], containerFilesystems: [renderUsage({ mountpoint, ...byContainers })] };
      // One file system for both: told twice, with all that is on it.
      const usage = renderUsage({ mountpoint, ...sumUsages([own, byContainers]) });
      return { imageFilesystems: [usage], containerFilesystems: [usage] };
    },
  };
}
