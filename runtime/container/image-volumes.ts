// Owns image volumes: what a mount of another image asks for, and what of that image it shows.
import fs from 'node:fs';
import path from 'node:path';
import type { ContainerConfig, Mount } from '../../cri-proto/gen/api.ts';
import { invalidArgument, notFound } from '../errors.ts';
import { findRootfsEntry } from '../image/rootfs-file.ts';
import type { Paths } from '../paths.ts';

/** A file of an image, or a directory as the layers that have it. Host paths. */
export type ImageVolume =
  | { readonly kind: 'file'; readonly file: string }
  | { readonly kind: 'directory'; readonly lowerDirs: readonly string[]; readonly mountpoint: string };

/** References of the images that are mounted, each once. */
export function imageReferences({ mounts }: ContainerConfig): readonly string[] {
  return [...new Set(mounts.flatMap((mount) => (mount.image === undefined ? [] : [checkImageMount(mount)])))];
}

/** The reference of an image mount, after refusing what cannot be meant. */
function checkImageMount({ containerPath, hostPath, image, imageSubPath }: Mount): string {
  const reference = image?.image ?? '';
  if (reference === '') throw invalidArgument(`mount of ${containerPath}: image names no image`);
  if (hostPath !== '') throw invalidArgument(`mount of ${containerPath}: host_path and image exclude each other`);
  if (path.isAbsolute(imageSubPath) || imageSubPath.split('/').includes('..'))
    throw invalidArgument(`mount of ${containerPath}: image_sub_path "${imageSubPath}" must be relative and without ".."`);
  return reference;
}

function placeOf(paths: Paths, id: string, index: number): string {
  return path.join(paths.containerDir(id), 'image-volumes', String(index));
}

/** Where the layers will be mounted, in the container's mount namespace only; goes with the container's directory. */
export function makeImageVolumePlaces(paths: Paths, id: string, { mounts }: ContainerConfig): void {
  for (const [index, { image }] of mounts.entries()) {
    if (image === undefined) continue;
    const place = placeOf(paths, id, index);
    fs.mkdirSync(place, { recursive: true, mode: 0o711 });
    fs.mkdirSync(`${place}-empty`, { recursive: true, mode: 0o755 });
  }
}

/** By container path. Refused where the image does not have the wanted part. */
export function findImageVolumes(
  paths: Paths,
  id: string,
  { mounts }: ContainerConfig,
  volumeDirs: ReadonlyMap<string, readonly string[]>,
): ReadonlyMap<string, ImageVolume> {
  const volumes = new Map<string, ImageVolume>();
  for (const [index, mount] of mounts.entries()) {
    if (mount.image === undefined) continue;
    const dirs = volumeDirs.get(mount.image.image) ?? [];
    const entry = findRootfsEntry(dirs, mount.imageSubPath);
    if (entry.kind === 'absent')
      throw notFound(`image volume ${mount.containerPath}: image "${mount.image.image}" has no "${mount.imageSubPath}"`);
    volumes.set(
      mount.containerPath,
      entry.kind === 'other' ? { kind: 'file', file: entry.file } : overlay(placeOf(paths, id, index), entry.dirs),
    );
  }
  return volumes;
}

/** overlayfs without an upper directory wants two lower ones. */
function overlay(mountpoint: string, dirs: readonly string[]): ImageVolume {
  return { kind: 'directory', lowerDirs: dirs.length === 1 ? [...dirs, `${mountpoint}-empty`] : dirs, mountpoint };
}
