// Owns config.dump, by which CRI-O, containerd and podman know whose checkpoint an archive is. Pure.
import type { ContainerRecord } from '../container/record.ts';
import type { Image } from '../image/store.ts';

/** By whom it was made. */
export const CHECKPOINT_RUNTIME = 'tskubelet';

export interface ConfigDump {
  readonly id: string;
  readonly name: string;
  readonly rootfsImage: string;
  readonly rootfsImageRef: string;
  readonly rootfsImageName: string;
  readonly runtime: string;
  readonly createdTime: string;
  readonly checkpointedTime: string;
}

export function renderConfigDump(record: ContainerRecord, image: Image | undefined, now: Date): ConfigDump {
  const { config } = record;
  const name = config.image?.userSpecifiedImage || config.image?.image || '';
  return {
    id: record.id,
    name: config.metadata?.name ?? '',
    rootfsImage: name,
    rootfsImageRef: image?.repoDigests[0] ?? record.imageId,
    rootfsImageName: image?.repoTags[0] ?? name,
    runtime: CHECKPOINT_RUNTIME,
    createdTime: new Date(Number(record.createdAt / 1_000_000n)).toISOString(),
    checkpointedTime: now.toISOString(),
  };
}
