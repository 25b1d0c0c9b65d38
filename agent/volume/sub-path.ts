// Owns subPath and subPathExpr: a part of a volume as a mount of its own, which a container is given in the volume's place. A pod writes to
// its volumes, so a path in one is resolved by the kernel, never above the volume, and what was found is mounted by its descriptor: a link
// that is put there later changes nothing.
//
//   <root-dir>/pods/<uid>/volume-subpaths/<volume>/<container>/<number of the volumeMount>     goes with the pod's volumes
import fs from 'node:fs';
import path from 'node:path';
import type { V1Container, V1VolumeMount } from '@kubernetes/client-node';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  MNT_DETACH,
  MOVE_MOUNT_F_EMPTY_PATH,
  O_CLOEXEC,
  O_PATH,
  OPEN_TREE_CLOEXEC,
  OPEN_TREE_CLONE,
} from '../../runtime/linux/constants.ts';
import { errnoName, hasCode } from '../../runtime/linux/errno.ts';
import { openat2, RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS } from '../../runtime/linux/openat2.ts';
import { syscall } from '../../runtime/linux/syscall.ts';
import { expandStrictly } from '../manifest/expand.ts';
import { type NodePaths, subPathsDir } from '../pod/paths.ts';
import { UMOUNT_NOFOLLOW } from './mounts.ts';

export interface PlannedSubPath {
  readonly volume: string;
  /** Of the volume, on the host. */
  readonly volumePath: string;
  readonly subPath: string;
  /** Where it is mounted on the host. */
  readonly hostPath: string;
}

/** What a volumeMount shows of its volume; "" for all of it. */
export function subPathOf({ subPath = '', subPathExpr = '', mountPath }: V1VolumeMount, env: ReadonlyMap<string, string>): string {
  const expanded = subPathExpr === '' ? subPath : expandStrictly(subPathExpr, env, `subPathExpr of the mount at ${mountPath}`);
  if (path.isAbsolute(expanded) || expanded.split('/').includes('..'))
    throw new Error(`subPath "${expanded}" of the mount at ${mountPath} must be a path in the volume, without ".."`);
  return expanded;
}

export interface SubPathInput {
  readonly container: V1Container;
  readonly env: ReadonlyMap<string, string>;
  /** Volume name to its path on the host. */
  readonly volumes: ReadonlyMap<string, string>;
  readonly paths: NodePaths;
  readonly uid: string;
}

/** By the number of the volumeMount. */
export function planSubPaths({ container, env, volumes, paths, uid }: SubPathInput): ReadonlyMap<number, PlannedSubPath> {
  return new Map(
    (container.volumeMounts ?? []).flatMap((mount, index) => {
      const volumePath = volumes.get(mount.name);
      const subPath = volumePath === undefined ? '' : subPathOf(mount, env);
      if (volumePath === undefined || subPath === '') return [];
      const hostPath = path.join(subPathsDir(paths, uid), mount.name, container.name, String(index));
      return [[index, { volume: mount.name, volumePath, subPath, hostPath }] as const];
    }),
  );
}

/** Mounts them anew: what an earlier container of this name has, it keeps. */
export function ensureSubPaths(planned: Iterable<PlannedSubPath>): void {
  for (const part of planned) {
    try {
      mountSubPath(part);
    } catch (cause) {
      throw new Error(`mount subPath "${part.subPath}" of volume "${part.volume}"`, { cause });
    }
  }
}

function mountSubPath({ volumePath, subPath, hostPath }: PlannedSubPath): void {
  const source = openSubPath(volumePath, subPath);
  try {
    unmountAll(hostPath);
    fs.rmSync(hostPath, { recursive: true, force: true });
    if (fs.fstatSync(source).isDirectory()) fs.mkdirSync(hostPath, { recursive: true, mode: 0o750 });
    else {
      fs.mkdirSync(path.dirname(hostPath), { recursive: true, mode: 0o750 });
      fs.closeSync(fs.openSync(hostPath, 'wx', 0o640));
    }
    // Alone, as a kubelet does it: what else is mounted below is not the volume's.
    const tree = syscall('open_tree', source, '', OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    try {
      syscall('move_mount', tree, '', AT_FDCWD, hostPath, MOVE_MOUNT_F_EMPTY_PATH);
    } finally {
      fs.closeSync(tree);
    }
  } finally {
    fs.closeSync(source);
  }
}

function unmountAll(hostPath: string): void {
  for (;;) {
    try {
      syscall('umount2', hostPath, MNT_DETACH | UMOUNT_NOFOLLOW);
    } catch (error) {
      if (hasCode(error, 'EINVAL', 'ENOENT')) return;
      throw error;
    }
  }
}

const RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
const [ENOENT, ELOOP, EXDEV, ENOTDIR] = [-2, -40, -18, -20];

/** A descriptor for what is there; directories that are missing are made, with the owner and mode of the volume. */
function openSubPath(volumePath: string, subPath: string): number {
  const volume = syscall('openat', AT_FDCWD, volumePath, O_PATH | O_CLOEXEC, 0);
  try {
    let found = openat2(volume, subPath, { flags: O_PATH | O_CLOEXEC, resolve: RESOLVE });
    if (found === ENOENT) {
      makeDirectories(volume, subPath);
      found = openat2(volume, subPath, { flags: O_PATH | O_CLOEXEC, resolve: RESOLVE });
    }
    return checked(found, subPath);
  } finally {
    fs.closeSync(volume);
  }
}

function makeDirectories(volume: number, subPath: string): void {
  const like = fs.fstatSync(volume);
  const flags = fs.constants.O_RDONLY | fs.constants.O_DIRECTORY | O_CLOEXEC;
  const parts = subPath.split('/').filter((part) => part !== '' && part !== '.');
  let parent = checked(openat2(volume, '.', { flags, resolve: RESOLVE }), '.');
  try {
    for (const [depth, part] of parts.entries()) {
      const at = parts.slice(0, depth + 1).join('/');
      let next = openat2(volume, at, { flags, resolve: RESOLVE });
      if (next === ENOENT) next = makeDirectory(parent, part, like);
      fs.closeSync(parent);
      parent = -1;
      parent = checked(next, at);
    }
  } finally {
    if (parent >= 0) fs.closeSync(parent);
  }
}

/** Owner and mode are set on what was made, by descriptor: a link that came in between is not followed. */
function makeDirectory(parent: number, name: string, { uid, gid, mode }: fs.Stats): number {
  try {
    syscall('mkdirat', parent, name, 0o700);
  } catch (error) {
    // A link that leads nowhere, or somebody was faster: opening it tells.
    if (!hasCode(error, 'EEXIST')) throw error;
  }
  const flags = fs.constants.O_RDONLY | fs.constants.O_DIRECTORY | fs.constants.O_NOFOLLOW | O_CLOEXEC;
  const made = openat2(parent, name, { flags, resolve: RESOLVE });
  if (made < 0) return made;
  fs.fchownSync(made, uid, gid);
  fs.fchmodSync(made, mode & 0o7777);
  return made;
}

function checked(descriptor: number, at: string): number {
  if (descriptor >= 0) return descriptor;
  const reasons: Readonly<Record<number, string>> = {
    [EXDEV]: 'a link in it leads out of the volume',
    [ELOOP]: 'its links lead in a circle, or through /proc',
    [ENOTDIR]: 'a part of it is no directory, or a link that leads nowhere',
  };
  throw new Error(`"${at}": ${reasons[descriptor] ?? errnoName(-descriptor)}`);
}
