// Owns the checkpoint of a running container: criu dumps its processes and lets them go on, and everything goes into one archive.
//
// criu runs in the network, IPC and UTS namespaces of the sandbox: what it shares with the container belongs to the sandbox and is not
// dumped. So nothing of the network is locked meanwhile, and no netfilter is asked; open TCP connections are closed in the restored copy.
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
import { CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWUTS } from '../linux/constants.ts';
import { hasCode } from '../linux/errno.ts';
import { openPidfd } from '../linux/pidfd.ts';
import { findOciSpec } from '../oci/find.ts';
import { encodeOciSpec } from '../oci/types.ts';
import type { ContainerSpec } from '../program/spec.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { IMAGES, pack, packRootfs, writeExternals } from './archive.ts';
import { renderCriuError, requireCriu } from './criu.ts';
import { type OpenFile, parseMountinfo, planExternalFiles, planExternalMounts, planStdio } from './externals.ts';
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
  const { location, timeoutS, signal } = options;
  if (!path.isAbsolute(location)) throw invalidArgument(`location "${location}" is not an absolute path`);
  await requireCriu();
  const timeoutMs = timeoutS > 0n ? Number(timeoutS) * 1000 : TIMEOUT_MS;
  const stage = stageOf(context, container);
  try {
    await dumpContainer(context, container, { timeoutMs, signal });
    await pack(stage, location, timeoutMs);
  } finally {
    await fs.promises.rm(stage, { recursive: true, force: true });
  }
}

export function stageOf({ paths }: RuntimeContext, { id }: Container): string {
  return path.join(paths.containerDir(id), 'checkpoint');
}

export interface DumpOptions {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** The container's cgroup directory when it is frozen: criu thaws it for its own work and freezes it again. */
  readonly frozen?: string;
}

/** Everything of an archive, in the staging directory. */
export async function dumpContainer(context: RuntimeContext, container: Container, options: DumpOptions): Promise<void> {
  const { record } = container;
  const sandbox = checkDumpable(context, container);
  const spec = await findSpec(context, container, sandbox);
  const stage = stageOf(context, container);
  await fs.promises.rm(stage, { recursive: true, force: true });
  await fs.promises.mkdir(path.join(stage, IMAGES), { recursive: true, mode: 0o700 });
  await dump(context, container, { ...options, spec, sandbox, stage });
  const image = await context.images.status(record.imageId);
  const write = (name: string, text: string) => fs.promises.writeFile(path.join(stage, name), text, { mode: 0o600 });
  await write('config.dump', JSON.stringify(renderConfigDump(record, image, new Date()), null, 2));
  await write('spec.dump', encodeOciSpec(findOciSpec(context, container, sandbox, spec)));
  await packRootfs(spec.rootfs.upperDir, stage, options.timeoutMs);
}

function checkDumpable(context: RuntimeContext, { record, process: running }: Container): Sandbox {
  if (record.ociRuntime !== undefined)
    throw unimplemented('containers of an external OCI runtime are not checkpointed: use its own command');
  if (record.config.tty) throw unimplemented('a container with a terminal cannot be checkpointed: its other end is outside of it');
  const sandbox = context.sandboxes.get(record.sandboxId);
  if (sandbox === undefined || running === undefined) throw notFound(`container ${record.id} has ended`);
  return sandbox;
}

interface Dump extends DumpOptions {
  readonly spec: ContainerSpec;
  readonly sandbox: Sandbox;
  readonly stage: string;
}

async function dump(context: RuntimeContext, container: Container, { spec, sandbox, stage, timeoutMs, signal, frozen }: Dump) {
  const { cgroupPath, initPid, id } = container.record;
  if (initPid === undefined || sandbox.record.pause === undefined) throw notFound(`container ${id} has ended`);
  const mountinfo = parseMountinfo(await fs.promises.readFile(`/proc/${initPid}/mountinfo`, 'utf8'));
  const given = new Set(['/dev/shm', ...spec.mounts.filter(({ kind }) => kind !== 'tmpfs').map(({ target }) => target)]);
  const pids = cgroupPath === '' ? [initPid] : await readProcs(openCgroup(context.cgroups.host, cgroupPath));
  const files = planExternalFiles((await Promise.all(pids.map(readOpenFiles))).flat(), mountinfo);
  const mounts = planExternalMounts(mountinfo, given);
  await writeExternals(stage, { mounts, stdio: planStdio(files, await fs.promises.realpath(context.paths.containerRun(id))) });
  const externals = [...mounts.map((target) => `mnt[${target}]:${target}`), ...files.map(({ name }) => name)];
  const argv = [
    ...['criu', 'dump', '--tree', String(initPid), '--images-dir', path.join(stage, IMAGES), '--work-dir', stage],
    ...['--log-file', 'dump.log', '-v2', '--leave-running', '--manage-cgroups=ignore'],
    ...['--tcp-close', '--ext-unix-sk', '--file-locks', '--link-remap', '--root', `/proc/${initPid}/root`],
    ...(frozen === undefined ? [] : ['--freeze-cgroup', frozen]),
    ...externals.flatMap((external) => ['--external', external]),
  ];
  const pidfd = openPidfd(sandbox.record.pause.pid);
  try {
    const enter = { pidfd, flags: CLONE_NEWNET + CLONE_NEWIPC + CLONE_NEWUTS };
    const { exitCode } = await runCommand(argv, { timeoutMs, signal, enter });
    if (exitCode === 0) return;
  } finally {
    fs.closeSync(pidfd);
  }
  const log = await fs.promises.readFile(path.join(stage, 'dump.log'), 'utf8').catch(() => '');
  throw failedPrecondition(`container ${id} cannot be checkpointed: criu dump: ${renderCriuError(log)}`);
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
