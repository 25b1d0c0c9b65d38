// Owns the checkpoint of a running container: criu dumps its processes and lets them go on, and everything goes into one archive of the
// layout that CRI-O and containerd write: config.dump, spec.dump, checkpoint/, rootfs-diff.tar, deleted.files, dump.log.
//
// The staging directory lies in the container's own: a checkpoint that a dying daemon cut short goes with the next one or the container.
import fs from 'node:fs';
import path from 'node:path';
import { openCgroup } from '../cgroup/apply.ts';
import { readProcs } from '../cgroup/processes.ts';
import type { Container } from '../container/container.ts';
import { findSpec } from '../container/find-spec.ts';
import type { RuntimeContext } from '../context.ts';
import { failedPrecondition, invalidArgument, notFound, unimplemented } from '../errors.ts';
import { runCommand } from '../linux/command.ts';
import { hasCode } from '../linux/errno.ts';
import { findOciSpec } from '../oci/find.ts';
import { encodeOciSpec } from '../oci/types.ts';
import type { ContainerSpec } from '../program/spec.ts';
import { renderCriuError, requireCriu } from './criu.ts';
import { type OpenFile, parseMountinfo, planExternalFiles, planExternalMounts } from './externals.ts';
import { renderConfigDump } from './metadata.ts';

const TIMEOUT_MS = 300_000;

export interface CheckpointOptions {
  /** Absolute path of the archive. */
  readonly location: string;
  /** 0: the default. */
  readonly timeoutS: bigint;
  readonly signal: AbortSignal;
}

export async function checkpointContainer(context: RuntimeContext, container: Container, options: CheckpointOptions): Promise<void> {
  const { record, process: running } = container;
  const { location, timeoutS, signal } = options;
  if (!path.isAbsolute(location)) throw invalidArgument(`location "${location}" is not an absolute path`);
  await requireCriu();
  if (record.ociRuntime !== undefined)
    throw unimplemented('containers of an external OCI runtime are not checkpointed: use its own command');
  if (record.config.tty) throw unimplemented('a container with a terminal cannot be checkpointed: its other end is outside of it');
  const sandbox = context.sandboxes.get(record.sandboxId);
  if (sandbox === undefined || running === undefined) throw notFound(`container ${record.id} has ended`);
  const spec = await findSpec(context, container, sandbox);
  const stage = path.join(context.paths.containerDir(record.id), 'checkpoint');
  const timeoutMs = timeoutS > 0n ? Number(timeoutS) * 1000 : TIMEOUT_MS;
  try {
    await fs.promises.rm(stage, { recursive: true, force: true });
    await fs.promises.mkdir(path.join(stage, 'checkpoint'), { recursive: true, mode: 0o700 });
    await dump(context, container, { spec, stage, initPid: running.initPid, timeoutMs, signal });
    const image = await context.images.status(record.imageId);
    const write = (name: string, text: string) => fs.promises.writeFile(path.join(stage, name), text, { mode: 0o600 });
    await write('config.dump', JSON.stringify(renderConfigDump(record, image, new Date()), null, 2));
    await write('spec.dump', encodeOciSpec(findOciSpec(context, container, sandbox, spec)));
    await packRootfs(spec.rootfs.upperDir, stage, timeoutMs);
    await pack(stage, location, timeoutMs);
  } finally {
    await fs.promises.rm(stage, { recursive: true, force: true });
  }
}

interface Dump {
  readonly spec: ContainerSpec;
  readonly stage: string;
  readonly initPid: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

async function dump(context: RuntimeContext, container: Container, { spec, stage, initPid, timeoutMs, signal }: Dump): Promise<void> {
  const mounts = parseMountinfo(await fs.promises.readFile(`/proc/${initPid}/mountinfo`, 'utf8'));
  const given = new Set(['/dev/shm', ...spec.mounts.map(({ target }) => target)]);
  const { cgroupPath } = container.record;
  const pids = cgroupPath === '' ? [initPid] : await readProcs(openCgroup(context.cgroups.host, cgroupPath));
  const files = (await Promise.all(pids.map(readOpenFiles))).flat();
  const externals = [
    ...planExternalMounts(mounts, given).map((target) => `mnt[${target}]:${target}`),
    ...planExternalFiles(files, mounts),
    ...externalNamespaces(spec, initPid),
  ];
  const argv = [
    ...['criu', 'dump', '--tree', String(initPid), '--images-dir', path.join(stage, 'checkpoint'), '--work-dir', stage],
    ...['--log-file', 'dump.log', '-v2', '--leave-running', '--manage-cgroups=ignore'],
    // The sandbox's connections stand still meanwhile. criu's default starts iptables-restore, which a node with nftables may lack.
    ...['--network-lock', 'nftables'],
    ...['--tcp-established', '--ext-unix-sk', '--file-locks', '--link-remap', '--root', `/proc/${initPid}/root`],
    ...externals.flatMap((external) => ['--external', external]),
  ];
  const { exitCode } = await runCommand(argv, { timeoutMs, signal });
  if (exitCode === 0) return;
  const log = await fs.promises.readFile(path.join(stage, 'dump.log'), 'utf8').catch(() => '');
  throw failedPrecondition(`container ${container.id} cannot be checkpointed: criu dump: ${renderCriuError(log)}`);
}

/** The sandbox's network is restored with the sandbox, not with a container. */
function externalNamespaces({ namespaces }: ContainerSpec, pid: number): readonly string[] {
  if (namespaces.net === 'host') return [];
  const inode = /\[(\d+)\]/.exec(fs.readlinkSync(`/proc/${pid}/ns/net`))?.[1];
  return inode === undefined ? [] : [`net[${inode}]:sandbox-net`];
}

/** What a process has open; one that has ended meanwhile has nothing. */
async function readOpenFiles(pid: number): Promise<readonly OpenFile[]> {
  const names = await fs.promises.readdir(`/proc/${pid}/fd`).catch(ended<string[]>([]));
  const files = await Promise.all(
    names.map(async (fd) => {
      const [link, info, stat] = await Promise.all([
        fs.promises.readlink(`/proc/${pid}/fd/${fd}`),
        fs.promises.readFile(`/proc/${pid}/fdinfo/${fd}`, 'latin1'),
        fs.promises.stat(`/proc/${pid}/fd/${fd}`, { bigint: true }),
      ]).catch(ended<[string, string, { ino: bigint }]>(['', '', { ino: 0n }]));
      return { link, inode: stat.ino, mountId: Number(/^mnt_id:\s*(\d+)/m.exec(info)?.[1] ?? -1) };
    }),
  );
  return files;
}

function ended<T>(nothing: T): (error: unknown) => T {
  return (error) => {
    if (hasCode(error, 'ENOENT', 'ESRCH')) return nothing;
    throw error;
  };
}

/** What the container has changed in its root: the overlay's upper directory, and the names that it has deleted (whiteouts). */
async function packRootfs(upperDir: string, stage: string, timeoutMs: number): Promise<void> {
  const deleted = await listWhiteouts(upperDir, '');
  await fs.promises.writeFile(path.join(stage, 'deleted.files'), JSON.stringify(deleted), { mode: 0o600 });
  const excluded = path.join(stage, 'excluded');
  await fs.promises.writeFile(excluded, deleted.map((name) => `./${name}\n`).join(''));
  const archive = path.join(stage, 'rootfs-diff.tar');
  await run(['tar', '-c', '-f', archive, '-X', excluded, '-C', upperDir, '.'], timeoutMs);
  await fs.promises.rm(excluded);
}

/** overlayfs: a character device 0/0 hides what is below it. */
async function listWhiteouts(directory: string, prefix: string): Promise<string[]> {
  const entries = await fs.promises.readdir(path.join(directory, prefix), { withFileTypes: true });
  const found = await Promise.all(
    entries.map(async (entry) => {
      const name = path.join(prefix, entry.name);
      if (entry.isDirectory()) return listWhiteouts(directory, name);
      if (!entry.isCharacterDevice()) return [];
      return (await fs.promises.lstat(path.join(directory, name))).rdev === 0 ? [name] : [];
    }),
  );
  return found.flat().sort();
}

/** Complete under its name, or not there. It holds the container's memory: for root alone. */
async function pack(stage: string, location: string, timeoutMs: number): Promise<void> {
  const partial = `${location}.partial`;
  try {
    await fs.promises.writeFile(partial, '', { mode: 0o600 });
    await run(['tar', '-c', '-f', partial, '-C', stage, '.'], timeoutMs);
    await fs.promises.rename(partial, location);
  } catch (error) {
    await fs.promises.rm(partial, { force: true });
    throw error;
  }
}

async function run(argv: readonly string[], timeoutMs: number): Promise<void> {
  const { exitCode, stderr } = await runCommand(argv, { timeoutMs });
  if (exitCode !== 0) throw new Error(`${argv[0]}: ${stderr.toString().trim() || `exit code ${exitCode}`}`);
}
