// Owns what is told of an image beyond its status, in containerd's keys.
import { chainIds } from './digest.ts';
import type { Image, ImageStore } from './store.ts';

/** `imageSpec` is the image's own document, so that no field of it is lost; `layerSizes` are bytes on disk, bottom first; `chainID` names what its layers are stacked to. */
export async function readImageInfo(images: Pick<ImageStore, 'configDocument' | 'layerSizes'>, { id, diffIds }: Image): Promise<object> {
  const imageSpec: unknown = JSON.parse((await images.configDocument(id)).toString());
  return { chainID: chainIds(diffIds).at(-1) ?? '', diffIds, layerSizes: images.layerSizes(id), imageSpec };
}
