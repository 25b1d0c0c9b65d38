// Owns a container in the hands of an external OCI runtime: its bundle, the runtime's commands, and the undo of both.
//
//   <run-dir>/containers/<id>/oci/   config.json, pid, log.json, console      goes with the container's run directory
//   <run-dir>/oci/<runtime>/<id>/    the runtime's own state                  goes with RUNTIME delete
//   <root-dir>/containers/<id>/rootfs                                         the overlay's mountpoint: unmounted here
//
// The container's record, which names the runtime, is on disk before any of it.
import fs from 'node:fs';
import path from 'node:path';
import { openCgroup, procsFiles } from '../cgroup/apply.ts';
import type { Container } from '../container/container.ts';
import { hostId } from '../container/user-namespace.ts';
import type { RuntimeContext } from '../context.ts';
import { runCommand } from '../linux/command.ts';
import { MNT_DETACH } from '../linux/constants.ts';
import { hasCode, SyscallError } from '../linux/errno.ts';
import { trySyscall } from '../linux/syscall.ts';
import type { ContainerProcess, StartContainerOptions } from '../process/container.ts';
import { createOciContainer } from '../process/oci.ts';
import { CONSOLE_SOCKET, type OciCreateSpec } from '../program/oci-program.ts';
import type { ContainerSpec } from '../program/spec.ts';
import { encodeOciSpec, type OciSpec } from './types.ts';

const COMMAND_MS = 60_000;
const ENV = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' };
const ENOENT = -2;
const EINVAL = -22;

interface Bundle {
  readonly directory: string;
  readonly pidFile: string;
  readonly log: string;
  /** Of the runtime's own state. */
  readonly root: string;
  readonly runtime: string;
}

type PathsOnly = Pick<RuntimeContext, 'paths'>;

function bundleOf({ paths }: PathsOnly, id: string, runtime: string): Bundle {
  const directory = path.join(paths.containerRun(id), 'oci');
  const log = path.join(directory, 'log.json');
  const root = path.join(paths.runDir, 'oci', path.basename(runtime));
  return {
    directory,
    log,
    root,
    pidFile: path.join(directory, 'pid'),
    runtime,
  };
}

export interface OciStart {
  readonly runtime: string;
  readonly spec: ContainerSpec;
  readonly oci: OciSpec;
  readonly options: StartContainerOptions;
}

export type OciCreate = Omit<OciCreateSpec, 'recordId' | 'ignoredSignals'>;

/** What the shim does and executes; `explain` tells the same. */
export function planOciCreate(context: PathsOnly, id: string, { runtime, spec }: Pick<OciStart, 'runtime' | 'spec'>): OciCreate {
  const { directory, log, pidFile, root } = bundleOf(context, id, runtime);
  const { uidMappings, gidMappings, rootfs, keepsStdin } = spec;
  const { terminal } = spec.process;
  const create = ['create', '--bundle', directory, '--pid-file', pidFile, ...(terminal ? ['--console-socket', CONSOLE_SOCKET] : []), id];
  return {
    rootfs,
    ...(uidMappings === undefined ? {} : { rootOwner: { uid: hostId('uid', 0, uidMappings), gid: hostId('gid', 0, gidMappings) } }),
    bundle: directory,
    argv: [runtime, '--root', root, '--log', log, '--log-format', 'json', ...create],
    env: Object.entries(ENV).map(([key, value]) => `${key}=${value}`),
    terminal,
    keepsStdin,
  };
}

/** Creates and starts the container. What a failure leaves is releaseOciContainer's to undo. */
export async function startOciContainer(
  context: RuntimeContext,
  { record }: Container,
  { runtime, spec, oci, options }: OciStart,
): Promise<ContainerProcess> {
  const bundle = bundleOf(context, record.id, runtime);
  await fs.promises.mkdir(bundle.directory, { recursive: true, mode: 0o700 });
  await fs.promises.mkdir(bundle.root, { recursive: true, mode: 0o700 });
  await fs.promises.writeFile(path.join(bundle.directory, 'config.json'), encodeOciSpec(oci), { mode: 0o600 });
  const name = path.basename(runtime);
  const running = await createOciContainer(planOciCreate(context, record.id, { runtime, spec }), {
    ...options,
    pidFile: bundle.pidFile,
    readError: () => `${name} create: ${lastError(readLog(bundle.log)) ?? 'it failed without a word'}`,
  });
  context.faultPoint('container created by its runtime');
  try {
    placeInCgroups(context, record.cgroupPath, running.initPid);
    await runOci(bundle, ['start', record.id]);
    return running;
  } catch (error) {
    await running.release();
    throw error;
  }
}

/** The runtime has placed it where it knows of; a hybrid host's cgroup2 hierarchy may not be among that. Nothing of the user's runs yet. */
function placeInCgroups({ cgroups }: RuntimeContext, cgroupPath: string, pid: number): void {
  if (cgroupPath === '') return;
  const { unified, v1Procs } = procsFiles(openCgroup(cgroups.host, cgroupPath));
  const files = [...v1Procs, ...(unified === undefined ? [] : [path.join(unified, 'cgroup.procs')])];
  for (const file of files) fs.writeFileSync(file, String(pid));
}

/** Runtime's state, processes and mount go. Repeatable; absent is success. Two that come together do it once after the other. */
export function releaseOciContainer(context: RuntimeContext, { id, releases }: Container, runtime: string): Promise<void> {
  const bundle = bundleOf(context, id, runtime);
  return releases.run(async () => {
    if (fs.existsSync(path.join(bundle.root, id))) await runOci(bundle, ['delete', '--force', id]);
    unmountRootfs(context.paths.containerRootfs(id));
  });
}

/** Detached: whoever still looks at it does not keep the container from going. Below a mapped root is a tmpfs with its layers. */
function unmountRootfs(mountpoint: string): void {
  for (;;) {
    const result = trySyscall('umount2', mountpoint, MNT_DETACH);
    if (result === ENOENT || result === EINVAL) return;
    if (result < 0) throw new SyscallError('umount2', [mountpoint, 'MNT_DETACH'], -result);
  }
}

async function runOci({ runtime, root }: Bundle, args: readonly string[]): Promise<void> {
  const argv = [runtime, '--root', root, '--log-format', 'json', ...args];
  const { exitCode, stderr } = await runCommand(argv, { env: ENV, timeoutMs: COMMAND_MS });
  if (exitCode === 0) return;
  const said = stderr.toString().trim();
  throw new Error(`${path.basename(runtime)} ${args[0]}: ${lastError(said) ?? (said || `exit code ${exitCode}`)}`);
}

function readLog(log: string): string {
  try {
    return fs.readFileSync(log, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return '';
    throw error;
  }
}

/** The last error that a runtime told, with a JSON object on each line. */
function lastError(text: string): string | undefined {
  return text.split('\n').flatMap(errorOf).at(-1);
}

function errorOf(line: string): string[] {
  try {
    const { level, msg } = JSON.parse(line) as { level?: string; msg?: string };
    return level === 'error' && msg !== undefined ? [msg] : [];
  } catch {
    return [];
  }
}
