// Owns which volumes a pod has and where they are on the host. Pure; volumes.ts makes them.
import type { V1Pod, V1Volume } from '@kubernetes/client-node';
import { toBytes } from '../manifest/quantity.ts';
import { type NodePaths, volumePath } from '../pod/paths.ts';
import { sumResources } from '../resource/qos.ts';

export type PlannedVolume =
  | { readonly kind: 'directory'; readonly name: string; readonly hostPath: string }
  | {
      readonly kind: 'tmpfs';
      readonly name: string;
      readonly hostPath: string;
      readonly sizeBytes: bigint | undefined;
      readonly owner?: number;
    }
  | { readonly kind: 'hostPath'; readonly name: string; readonly hostPath: string; readonly type: string };

const EMPTY_DIR = 'kubernetes.io/empty-dir';

export function isTmpfs({ emptyDir }: V1Volume): boolean {
  return emptyDir?.medium === 'Memory';
}

/** `tmpfsOwner`: the host's number of the pod's root, where that is not 0 and owners in a tmpfs cannot be mapped. Volumes of other kinds do not get here: the manifest that mounts one is refused. */
export function planVolumes(pod: V1Pod, paths: NodePaths, tmpfsOwner?: number): readonly PlannedVolume[] {
  const uid = pod.metadata?.uid ?? '';
  return (pod.spec?.volumes ?? []).flatMap((volume): PlannedVolume[] => {
    const { name } = volume;
    if (volume.hostPath !== undefined)
      return [{ kind: 'hostPath', name, hostPath: volume.hostPath.path, type: volume.hostPath.type ?? '' }];
    if (volume.emptyDir === undefined) return [];
    const hostPath = volumePath(paths, uid, EMPTY_DIR, name);
    if (!isTmpfs(volume)) return [{ kind: 'directory', name, hostPath }];
    const sizeBytes = tmpfsSize(pod, volume.emptyDir.sizeLimit);
    return [{ kind: 'tmpfs', name, hostPath, sizeBytes, ...(tmpfsOwner === undefined ? {} : { owner: tmpfsOwner }) }];
  });
}

/** What is in a tmpfs counts as the memory of whoever wrote it, so the pod's own limit bounds it anyway. */
function tmpfsSize(pod: V1Pod, sizeLimit: string | undefined): bigint | undefined {
  const bounds = [sizeLimit === undefined ? undefined : toBytes(sizeLimit), sumResources(pod).limitMemoryBytes].filter(
    (bound) => bound !== undefined && bound > 0n,
  );
  return bounds.reduce((least, bound) => (least === undefined || bound! < least ? bound : least), undefined);
}

/** Volumes that show an image, by name: the reference, until it is known which image that is. */
export function imageVolumes(pod: V1Pod): ReadonlyMap<string, string> {
  return new Map((pod.spec?.volumes ?? []).flatMap(({ name, image }) => (image?.reference === undefined ? [] : [[name, image.reference]])));
}

export function volumePaths(volumes: readonly PlannedVolume[]): ReadonlyMap<string, string> {
  return new Map(volumes.map(({ name, hostPath }) => [name, hostPath]));
}
