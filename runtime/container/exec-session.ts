// Owns what ExecSync and Exec share: one more command in a running container, in a cgroup of its own, so that everything it started can be
// ended with it.
import { openCgroup } from '../cgroup/apply.ts';
import type { RuntimeContext } from '../context.ts';
import { notFound, permissionDenied } from '../errors.ts';
import { type ExecProcess, startExec } from '../process/exec.ts';
import { ProgramError } from '../process/program-error.ts';
import type { ExecSpec, NamespaceKind, Namespaces } from '../program/spec.ts';
import type { Container } from './container.ts';
import { makeSessionCgroup } from './exec-cgroup.ts';
import { findSpec } from './find-spec.ts';

export interface ExecCommand {
  readonly cmd: readonly string[];
  readonly tty: boolean;
  readonly stdin: boolean;
  /** 0: no limit. */
  readonly timeoutMs: number;
  /** Whoever asked is gone: ends what it asked for. */
  readonly signal: AbortSignal;
}

/** Runs `use` with the command's process, then takes back what was made for it; whatever is left of an aborted one is killed. */
export async function withExec<T>(
  context: RuntimeContext,
  container: Container,
  command: ExecCommand,
  use: (process: ExecProcess) => Promise<T>,
): Promise<T> {
  const spec = await planExec(context, container, command);
  const { process: running } = container;
  if (running === undefined) throw notFound(`container ${container.id} has ended`);
  const { cgroupPath } = container.record;
  const runDir = context.paths.containerRun(container.id);
  const place = cgroupPath === '' ? undefined : makeSessionCgroup(runDir, openCgroup(context.cgroups.host, cgroupPath));
  const killCgroup = place?.directory;
  let killed = true;
  try {
    const process = await start(place === undefined ? spec : { ...spec, cgroup: place.placement }, {
      initPid: running.initPid,
      initPidfd: running.initPidfd,
      stdin: command.stdin && !command.tty,
      ...(killCgroup === undefined ? {} : { killCgroup }),
      ...(command.timeoutMs > 0 ? { timeoutMs: command.timeoutMs } : {}),
      signal: command.signal,
    });
    killed = false;
    const abort = () => {
      killed = true;
      void process.killTree().catch((error: unknown) => context.logger.warn({ err: error }, 'end an exec session'));
    };
    command.signal.addEventListener('abort', abort, { once: true });
    if (command.signal.aborted) abort();
    try {
      return await use(process);
    } finally {
      killed ||= process.timedOut();
      command.signal.removeEventListener('abort', abort);
    }
  } finally {
    await place?.remove({ killed });
  }
}

/** The container's own identity, limits and namespaces, with another command. */
async function planExec(context: RuntimeContext, container: Container, { cmd, tty }: ExecCommand): Promise<ExecSpec> {
  const sandbox = context.sandboxes.get(container.record.sandboxId);
  if (sandbox === undefined) throw notFound(`sandbox ${container.record.sandboxId} is gone`);
  const spec = await findSpec(context, container, sandbox);
  const { oomScoreAdj: _inherited, ...process } = spec.process;
  const env = tty && !process.env.some((entry) => entry.startsWith('TERM=')) ? [...process.env, 'TERM=xterm'] : process.env;
  return { process: { ...process, env, args: cmd, terminal: tty }, cgroup: spec.cgroup, namespaces: namespacesOf(spec.namespaces) };
}

/** Whatever the container does not share with the host is entered. */
function namespacesOf(namespaces: Namespaces): readonly NamespaceKind[] {
  const kinds = (Object.keys(namespaces) as NamespaceKind[]).filter((kind) => namespaces[kind as keyof Namespaces] !== 'host');
  return ['mnt', ...kinds];
}

/** 127 and 126 of a shell become codes: the command is not there, or may not be executed. */
async function start(spec: ExecSpec, options: Parameters<typeof startExec>[1]): Promise<ExecProcess> {
  try {
    return await startExec(spec, options);
  } catch (error) {
    if (error instanceof ProgramError && error.exitCode === 127) throw notFound(error.message);
    if (error instanceof ProgramError && error.exitCode === 126) throw permissionDenied(error.message);
    throw error;
  }
}
