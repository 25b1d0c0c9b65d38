// Owns how a container looks in CRI answers.
import { type Container, ContainerState, type ContainerStatus, type ContainerUser } from '../../cri-proto/gen/api.ts';
import type { Image } from '../image/store.ts';
import type { ContainerRecord } from './record.ts';
import { effectiveStopSignal } from './stop-signal.ts';

export function criContainerState(record: ContainerRecord): ContainerState {
  switch (record.state) {
    case 'creating':
    case 'created':
    case 'starting':
      return ContainerState.CONTAINER_CREATED;
    case 'running':
      return ContainerState.CONTAINER_RUNNING;
    case 'exited':
      return ContainerState.CONTAINER_EXITED;
    case 'removing':
      return record.exit === undefined ? ContainerState.CONTAINER_UNKNOWN : ContainerState.CONTAINER_EXITED;
  }
}

/** A container that is still being made is not shown: it has never been given to anyone. */
export function isVisible(record: ContainerRecord): boolean {
  return record.state !== 'creating';
}

export function renderContainer(record: ContainerRecord): Container {
  const { config } = record;
  return {
    id: record.id,
    podSandboxId: record.sandboxId,
    metadata: config.metadata,
    image: config.image,
    imageRef: record.imageId,
    imageId: record.imageId,
    state: criContainerState(record),
    createdAt: record.createdAt,
    labels: config.labels,
    annotations: config.annotations,
  };
}

/** `image` is the image as the store has it now; without it (removed meanwhile) the names of the request are shown. */
export function renderContainerStatus(record: ContainerRecord, image: Image | undefined): ContainerStatus {
  const { config, exit } = record;
  const tag = image?.repoTags[0];
  const started = record.state !== 'created' && record.state !== 'starting';
  return {
    id: record.id,
    metadata: config.metadata,
    state: criContainerState(record),
    createdAt: record.createdAt,
    startedAt: started ? record.startedAt : 0n,
    finishedAt: exit?.finishedAt ?? 0n,
    exitCode: exit?.code ?? 0,
    image: { image: tag ?? config.image?.image ?? '', annotations: {}, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' },
    imageRef: image?.repoDigests[0] ?? record.imageId,
    imageId: record.imageId,
    reason: exit?.reason ?? '',
    message: exit?.message ?? '',
    labels: config.labels,
    annotations: config.annotations,
    mounts: config.mounts,
    logPath: record.logPath,
    resources: { linux: config.linux?.resources },
    user: renderUser(record),
    stopSignal: effectiveStopSignal(config.stopSignal, record.imageConfig.stopSignal),
  };
}

function renderUser({ user }: ContainerRecord): ContainerUser | undefined {
  if (user === undefined) return undefined;
  const supplementalGroups = user.additionalGids.map(BigInt);
  return { linux: { uid: BigInt(user.uid), gid: BigInt(user.gid), supplementalGroups } };
}
