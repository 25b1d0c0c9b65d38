// Owns ExecSync: a command in a running container, its output bounded, everything that it started ended at its timeout.
import fs from 'node:fs';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { ExecSyncResponse } from '../../cri-proto/gen/api.ts';
import type { RuntimeContext } from '../context.ts';
import { deadlineExceeded, notFound, permissionDenied } from '../errors.ts';
import { type ExecProcess, startExec } from '../process/exec.ts';
import { ProgramError } from '../process/program-error.ts';
import type { ExecSpec, NamespaceKind, Namespaces } from '../program/spec.ts';
import type { Container } from './container.ts';
import { exitCodeOf } from './exit.ts';
import { findSpec } from './find-spec.ts';

/** What each stream may give; the rest is read and dropped, as containerd does. */
const MAX_OUTPUT_BYTES = 16 << 20;
/** How long children that inherited the pipes may hold up the answer after the command itself has ended. */
const DRAIN_MS = 2000;

let sessions = 0;

export interface ExecSyncOptions {
  /** 0: no limit. */
  readonly timeoutS: bigint;
  readonly signal: AbortSignal;
}

export async function execSync(
  context: RuntimeContext,
  container: Container,
  cmd: readonly string[],
  { timeoutS, signal }: ExecSyncOptions,
): Promise<ExecSyncResponse> {
  const spec = await planExec(context, container, cmd);
  const { process: running } = container;
  if (running === undefined) throw notFound(`container ${container.id} has ended`);
  const killCgroup = makeSessionCgroup(spec);
  try {
    const session = await start(killCgroup === undefined ? spec : { ...spec, cgroup: { ...spec.cgroup, unified: killCgroup } }, {
      initPid: running.initPid,
      initPidfd: running.initPidfd,
      ...(killCgroup === undefined ? {} : { killCgroup }),
      ...(timeoutS > 0n ? { timeoutMs: Number(timeoutS) * 1000 } : {}),
      signal,
    });
    return await finish(session, cmd, timeoutS, signal);
  } finally {
    if (killCgroup !== undefined) await removeSessionCgroup(killCgroup);
  }
}

/** The container's own identity, limits and namespaces, with another command. */
async function planExec(context: RuntimeContext, container: Container, cmd: readonly string[]): Promise<ExecSpec> {
  const sandbox = context.sandboxes.get(container.record.sandboxId);
  if (sandbox === undefined) throw notFound(`sandbox ${container.record.sandboxId} is gone`);
  const spec = await findSpec(context, container, sandbox);
  const { oomScoreAdj: _inherited, ...process } = spec.process;
  return { process: { ...process, args: cmd, terminal: false }, cgroup: spec.cgroup, namespaces: namespacesOf(spec.namespaces) };
}

/** Whatever the container does not share with the host is entered. */
function namespacesOf(namespaces: Namespaces): readonly NamespaceKind[] {
  const kinds = (Object.keys(namespaces) as NamespaceKind[]).filter((kind) => namespaces[kind as keyof Namespaces] !== 'host');
  return ['mnt', ...kinds];
}

/** A cgroup2 directory below the container's for this session alone: what it started can be killed at once. No controller is enabled in it. */
function makeSessionCgroup({ cgroup }: ExecSpec): string | undefined {
  if (cgroup.unified === undefined) return undefined;
  const directory = path.join(cgroup.unified, `exec-${++sessions}`);
  fs.mkdirSync(directory);
  return directory;
}

/** One that still has processes (a daemon that the command left behind) goes with the container's. */
async function removeSessionCgroup(directory: string): Promise<void> {
  await fs.promises.rmdir(directory).catch(() => undefined);
}

/** 127 and 126 of a shell become codes: the command is not there, or may not be executed. */
async function start(spec: ExecSpec, options: Parameters<typeof startExec>[1]): Promise<ExecProcess> {
  try {
    return await startExec(spec, options);
  } catch (error) {
    if (error instanceof ProgramError && error.exitCode === 127) throw notFound(`exec ${spec.process.args[0]}`, error);
    if (error instanceof ProgramError && error.exitCode === 126) throw permissionDenied(`exec ${spec.process.args[0]}`, error);
    throw error;
  }
}

async function finish(session: ExecProcess, cmd: readonly string[], timeoutS: bigint, signal: AbortSignal): Promise<ExecSyncResponse> {
  const stdout = collect(session.stdout);
  const stderr = collect(session.stderr);
  // A client that is gone ends what it asked for.
  const abort = () => void session.killTree();
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  try {
    const status = await session.exited;
    await Promise.race([Promise.all([stdout.ended, stderr.ended]), delay(DRAIN_MS, undefined, { ref: false })]);
    if (session.timedOut())
      throw deadlineExceeded(`exec ${cmd[0]}: it did not end within ${timeoutS} s and was killed with everything that it started`);
    signal.throwIfAborted();
    return { stdout: stdout.bytes(), stderr: stderr.bytes(), exitCode: status === undefined ? 255 : exitCodeOf(status) };
  } finally {
    signal.removeEventListener('abort', abort);
    session.stdout?.destroy();
    session.stderr?.destroy();
  }
}

function collect(stream: Readable | undefined) {
  const chunks: Buffer[] = [];
  let length = 0;
  stream?.on('data', (chunk: Buffer) => {
    const kept = chunk.subarray(0, MAX_OUTPUT_BYTES - length);
    length += kept.length;
    if (kept.length > 0) chunks.push(kept);
  });
  const ended = new Promise<void>((resolve) => {
    if (stream === undefined) resolve();
    stream?.once('close', resolve);
    stream?.once('end', resolve);
    stream?.once('error', () => resolve());
  });
  return { ended, bytes: () => Buffer.concat(chunks) };
}
