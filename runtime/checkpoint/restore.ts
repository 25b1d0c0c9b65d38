// Owns the restore of a container from a checkpoint: what must hold for it, and the start of its processes by criu.
//
//   <root-dir>/containers/<id>/restore/    the archive's content, from the container's creation until it runs
import fs from 'node:fs';
import path from 'node:path';
import type { Container } from '../container/container.ts';
import type { ContainerRecord } from '../container/record.ts';
import type { RuntimeContext } from '../context.ts';
import { failedPrecondition, unimplemented } from '../errors.ts';
import { findProgram } from '../linux/command.ts';
import { hasCode } from '../linux/errno.ts';
import type { Paths } from '../paths.ts';
import { restoreContainer } from '../process/restore.ts';
import type { ContainerProcess, ShimOptions } from '../process/shim.ts';
import { RESTORED_STDIO, type RestoreSpec } from '../program/restore-program.ts';
import type { ContainerSpec } from '../program/spec.ts';
import { IMAGES, readExternals, unpack, unpackRootfs } from './archive.ts';
import { renderCriuError } from './criu.ts';
import { type Externals, findMountSource } from './externals.ts';

const TIMEOUT_MS = 300_000;
const LOG = 'restore.log';
const PID_FILE = 'pid';

function restoreDir(paths: Paths, id: string): string {
  return path.join(paths.containerDir(id), 'restore');
}

/** Unpacks an archive for a container that is being created, and tells what it needs from outside. */
export async function prepareRestore({ paths }: RuntimeContext, id: string, archive: string, upperDir: string): Promise<Externals> {
  const directory = restoreDir(paths, id);
  await unpack(archive, directory, TIMEOUT_MS);
  await unpackRootfs(directory, upperDir, TIMEOUT_MS);
  return readExternals(directory);
}

/** Throws a sentence when this container cannot become what the checkpoint is of. */
export function checkRestore({ paths, cgroups }: RuntimeContext, record: ContainerRecord, spec: ContainerSpec): void {
  // What a restore leaves that is cut short is found by its cgroup.
  if (!cgroups.enabled)
    throw failedPrecondition('containers are restored only where they have cgroups: this node was started with --allow-no-limits');
  planRestore(paths, record, spec);
}

export type Restore = Omit<RestoreSpec, 'recordId' | 'ignoredSignals'>;

/** What the shim does and executes; `explain` tells the same. */
export function planRestore(paths: Paths, { id, restore }: ContainerRecord, spec: ContainerSpec, criu = 'criu'): Restore {
  const externals = restore?.externals;
  if (externals === undefined) throw failedPrecondition(`the checkpoint of container ${id} is not unpacked`);
  const argv = [criu, ...planRestoreArgs(spec, externals, restoreDir(paths, id))];
  return { container: spec, argv, env: [`PATH=${process.env.PATH ?? ''}`] };
}

/** On failure the container's cgroup may hold what criu left: releaseContainer's to kill. */
export async function startRestored(
  { paths }: RuntimeContext,
  { id, record }: Container,
  spec: ContainerSpec,
  options: ShimOptions & { readonly pausePid: number },
): Promise<ContainerProcess> {
  const directory = restoreDir(paths, id);
  const pidFile = path.join(directory, PID_FILE);
  // Of a start that was cut short.
  await fs.promises.rm(pidFile, { force: true });
  const readError = () => `criu restore: ${renderCriuError(readLog(path.join(directory, LOG)))}`;
  return restoreContainer(planRestore(paths, record, spec, findProgram('criu')), { ...options, pidFile, readError, timeoutMs: TIMEOUT_MS });
}

/** criu's images are of no use to a container that runs. */
export async function forgetRestore({ paths }: RuntimeContext, id: string): Promise<void> {
  await fs.promises.rm(restoreDir(paths, id), { recursive: true, force: true });
}

function readLog(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return '';
    throw error;
  }
}

/** Arguments of criu. Pure. */
export function planRestoreArgs(spec: ContainerSpec, { mounts, stdio }: Externals, directory: string): readonly string[] {
  checkNamespaces(spec);
  const externals = mounts.map((target) => {
    const source = findMountSource(spec, target);
    if (source === undefined)
      throw failedPrecondition(`the checkpoint has a mount on ${target}, and the container that is to be restored has none there`);
    return `mnt[${target}]:${source}`;
  });
  const inherited = stdio.flatMap((name, i) => (name === '' ? [] : [`fd[${RESTORED_STDIO[i]}]:${name}`]));
  const profile = spec.process.apparmorProfile ?? '';
  return [
    ...['restore', '--images-dir', path.join(directory, IMAGES), '--work-dir', directory, '--log-file', LOG, '-v2'],
    ...['--restore-detached', '--pidfile', path.join(directory, PID_FILE), '--root', spec.rootfs.mountpoint],
    ...['--manage-cgroups=ignore', '--tcp-close', '--ext-unix-sk', '--file-locks'],
    ...(profile === '' ? [] : ['--lsm-profile', `apparmor:${profile}`]),
    ...externals.flatMap((external) => ['--external', external]),
    ...inherited.flatMap((name) => ['--inherit-fd', name]),
  ];
}

/** What cannot be restored at all. */
function checkNamespaces({ namespaces, process, mounts }: ContainerSpec): void {
  if (process.terminal) throw unimplemented('a container with a terminal cannot be restored: its other end is outside of it');
  if (namespaces.pid !== 'new')
    throw unimplemented('a container without a PID namespace of its own cannot be restored: its process ids may be taken');
  if (namespaces.user !== 'host') throw unimplemented('a container in a user namespace cannot be restored: criu would make another one');
  if (namespaces.time !== undefined) throw unimplemented('a container in a time namespace cannot be restored: criu would make another one');
  const shared = mounts.find((mount) => mount.kind === 'bind' && mount.propagation !== 'private');
  if (shared !== undefined)
    throw unimplemented(`a container with mount propagation (${shared.target}) cannot be restored: criu binds its volumes privately`);
}
