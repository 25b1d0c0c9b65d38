// Owns making and taking away what volumes need on the host, and the pod's own directory.
import fs from 'node:fs/promises';
import path from 'node:path';
import { type NodePaths, podDir, subPathsDir } from '../pod/paths.ts';
import { ensureHostPath } from './host-path.ts';
import { ensureTmpfs, mountPointsBelow, unmountBelow } from './mounts.ts';
import type { PlannedVolume } from './plan.ts';

/** Idempotent: files of a running pod stay. */
export async function ensureVolumes(volumes: readonly PlannedVolume[]): Promise<void> {
  for (const volume of volumes) {
    try {
      await ensureVolume(volume);
    } catch (error) {
      throw new Error(`set up volume "${volume.name}"`, { cause: error });
    }
  }
}

async function ensureVolume(volume: PlannedVolume): Promise<void> {
  if (volume.kind === 'hostPath') return ensureHostPath(volume.hostPath, volume.type);
  await fs.mkdir(volume.hostPath, { recursive: true, mode: 0o750 });
  // Any user of the pod may write; the directories above stay closed, and mkdir's mode would be cut by the umask.
  await fs.chmod(volume.hostPath, 0o777);
  if (volume.kind === 'tmpfs') await ensureTmpfs(volume.hostPath, volume);
}

/** Removes a directory with all in it, but never what is mounted there: a mount that cannot be undone is an error. */
export async function removeDirectory(directory: string): Promise<void> {
  await unmountBelow(directory);
  const left = await mountPointsBelow(directory);
  if (left.length > 0) throw new Error(`remove ${directory}: ${left[0]} is still mounted`);
  await fs.rm(directory, { recursive: true, force: true });
}

/** The volumes of a pod that has finished, and the mounts of their parts before them; its record stays. */
export async function removeVolumes(paths: NodePaths, uid: string): Promise<void> {
  await removeDirectory(subPathsDir(paths, uid));
  await removeDirectory(path.join(podDir(paths, uid), 'volumes'));
}
