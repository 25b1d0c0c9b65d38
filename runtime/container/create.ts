// Owns CreateContainer: everything that a start needs is decided, checked and written down; no process yet.
import fs from 'node:fs';
import path from 'node:path';
import type { ContainerConfig, PodSandboxConfig } from '../../cri-proto/gen/api.ts';
import { readArchive } from '../checkpoint/archive.ts';
import { requireCriu } from '../checkpoint/criu.ts';
import { checkRestore, prepareRestore } from '../checkpoint/restore.ts';
import type { RuntimeContext } from '../context.ts';
import { alreadyExists, failedPrecondition, invalidArgument, notFound } from '../errors.ts';
import { containerKey, newId } from '../ids.ts';
import type { Image } from '../image/store.ts';
import { OWN_HANDLERS } from '../oci/runtimes.ts';
import { createRollback } from '../rollback.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { nowNs } from '../time.ts';
import { Container } from './container.ts';
import { findSpec, prepareRootfs } from './find-spec.ts';
import { checkIdMappedMounts } from './id-mapped-mounts.ts';
import { imageReferences, makeImageVolumePlaces } from './image-volumes.ts';
import { planLogPath } from './log-path.ts';
import type { ContainerRecord } from './record.ts';
import { resolveContainer } from './resolve.ts';
import { findTarget } from './target.ts';

export interface CreateOptions {
  readonly sandboxConfig: PodSandboxConfig;
  /** The archive of a checkpoint to start from. It may be named as the image, too. */
  readonly checkpoint?: string;
}

export async function createContainer(
  context: RuntimeContext,
  sandbox: Sandbox,
  config: ContainerConfig,
  { sandboxConfig, checkpoint = checkpointOf(config) }: CreateOptions,
): Promise<Container> {
  const startedMs = performance.now();
  const { metadata } = config;
  const sandboxName = sandbox.record.config.metadata;
  if (metadata === undefined || metadata.name === '') throw invalidArgument('container config has no metadata.name');
  if (sandboxName === undefined) throw invalidArgument('sandbox config has no metadata');
  checkReady(sandbox);
  const logPath = planLogPath(sandboxConfig.logDirectory || sandbox.record.config.logDirectory, config.logPath);
  const { image, restore } = checkpoint === undefined ? { image: await findImage(context, config) } : await findBase(context, checkpoint);
  findTarget(context, sandbox.id, config);
  await findVolumeImages(context, config);

  // Again, and nothing is waited for from here to its place among the containers: a removal of the sandbox finds it there.
  checkReady(sandbox);
  const key = containerKey(metadata, sandboxName);
  const holder = context.names.get(key);
  if (holder !== undefined) throw alreadyExists(`container name "${key}" is reserved for "${holder}"`);
  const id = newId();
  const record: ContainerRecord = {
    id,
    sandboxId: sandbox.id,
    recordId: context.nextRecordId(),
    createdAt: nowNs(),
    config,
    imageId: image.id,
    imageConfig: image.config,
    ...planOciRuntime(context, sandbox),
    ...(restore === undefined ? {} : { restore }),
    state: 'creating',
    bootId: context.bootId,
    logPath,
    cgroupPath: planCgroupPath(context, sandbox, id),
    startedAt: 0n,
    stopSignalSent: false,
    oomKills: 0,
    phases: {},
  };
  const container = new Container(context.paths, record);
  context.names.set(key, id);
  context.containers.set(id, container);
  try {
    await container.serial.run(() => makeContainer(context, sandbox, container, { image, startedMs }));
    return container;
  } catch (error) {
    context.containers.delete(id);
    context.names.delete(key);
    throw new Error(`create container ${metadata.name} in sandbox ${sandbox.id.slice(0, 12)}`, { cause: error });
  }
}

async function makeContainer(
  context: RuntimeContext,
  sandbox: Sandbox,
  container: Container,
  { image, startedMs }: { readonly image: Image; readonly startedMs: number },
): Promise<void> {
  const { id, config, restore } = container.record;
  const rollback = createRollback();
  try {
    fs.mkdirSync(context.paths.containerRootfs(id), { recursive: true, mode: 0o711 });
    rollback.add('directory', () => container.forget());
    container.change({});
    context.faultPoint('container recorded');
    rollback.add('snapshot', () => context.images.removeSnapshot(id));
    makeImageVolumePlaces(context.paths, id, config);
    const snapshot = await prepareRootfs(context, container, sandbox);
    context.faultPoint('container snapshot prepared');
    if (restore !== undefined)
      container.change({ restore: { ...restore, externals: await prepareRestore(context, id, restore.checkpoint, snapshot.upperDir) } });
    container.change(await resolveContainer(container.record, sandbox.record.config, { image, snapshot, host: context.cgroups.host }));
    // Planned once now, so that what is wrong is told by create and not by start.
    const spec = await findSpec(context, container, sandbox);
    checkIdMappedMounts(spec, sandbox.record.pause?.pid);
    if (restore !== undefined) checkRestore(context, container.record, spec);
    container.change({ state: 'created', phases: { create: performance.now() - startedMs } });
    context.faultPoint('container created');
  } catch (error) {
    for (const failure of await rollback.run()) context.logger.error({ container: id, err: failure }, 'undo of a failed container');
    throw error;
  }
}

function checkReady({ id, record, stopping }: Sandbox): void {
  if (record.state !== 'ready' || stopping) throw failedPrecondition(`sandbox ${id} is not ready`);
}

/** A handler that is no longer configured is told now; containers that it has made keep their runtime. */
function planOciRuntime({ ociRuntimes }: RuntimeContext, { record }: Sandbox): { readonly ociRuntime?: string } {
  if (OWN_HANDLERS.includes(record.runtimeHandler)) return {};
  const runtime = ociRuntimes.get(record.runtimeHandler);
  if (runtime === undefined)
    throw failedPrecondition(`runtime handler "${record.runtimeHandler}" of sandbox ${record.id} is not configured`);
  return { ociRuntime: runtime.path };
}

/** As with containerd and CRI-O: the path of an archive in place of an image. */
function checkpointOf({ image }: ContainerConfig): string | undefined {
  return image !== undefined && path.isAbsolute(image.image) ? image.image : undefined;
}

/** The image that the checkpointed container had. */
async function findBase(context: RuntimeContext, checkpoint: string) {
  await requireCriu();
  const { rootfsImageRef, rootfsImageName, checkpointedTime } = await readArchive(checkpoint);
  const image = await context.images.status(rootfsImageRef);
  if (image === undefined)
    throw notFound(`image "${rootfsImageName}" (${rootfsImageRef}) of checkpoint ${checkpoint} is not on this machine: pull it first`);
  return { image, restore: { checkpoint, checkpointedAt: checkpointedTime } };
}

async function findImage(context: RuntimeContext, config: ContainerConfig): Promise<Image> {
  const reference = config.image?.image ?? '';
  if (reference === '') throw invalidArgument('container config names no image');
  const image = await context.images.status(reference);
  if (image === undefined) throw notFound(`image "${reference}" is not on this machine: pull it first`);
  return image;
}

/** Looked up before anything is made: host images are assembled when they are asked for. */
async function findVolumeImages({ images }: RuntimeContext, config: ContainerConfig): Promise<void> {
  for (const reference of imageReferences(config))
    if ((await images.status(reference)) === undefined)
      throw notFound(`image "${reference}" of an image volume is not on this machine: pull it first`);
}

function planCgroupPath(context: RuntimeContext, sandbox: Sandbox, id: string): string {
  if (!context.cgroups.enabled) return '';
  const parent = sandbox.record.config.linux?.cgroupParent ?? '';
  if (parent.includes('..')) throw invalidArgument(`cgroup_parent "${parent}" must not contain ".."`);
  return parent === '' ? `${context.cgroups.root}/cri/${id}` : `/${parent}/${id}`.replaceAll(/\/+/g, '/');
}
