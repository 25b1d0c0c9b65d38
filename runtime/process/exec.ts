// Owns exec sessions: one more process in a running container, its streams, its end, and the end of everything that it started. A session
// belongs to the daemon that opened it: its records come by a pipe of its own.
import fs from 'node:fs';
import net from 'node:net';
import { killDirectory } from '../cgroup/processes.ts';
import { copyDescriptor, openPidfd, sendSignal, waitEnded } from '../linux/pidfd.ts';
import { createPipe } from '../linux/pipe2.ts';
import { planExecProgram } from '../program/exec-program.ts';
import { FD, RECORD } from '../program/records.ts';
import type { ExecSpec } from '../program/spec.ts';
import { Descriptors } from './descriptors.ts';
import { type EventListener, type EventRecord, readRecords } from './events.ts';
import { decodeExitRecord, type ExitStatus } from './exit-file.ts';
import { hostLimits } from './host-limits.ts';
import { killTree } from './process-tree.ts';
import { ProgramError } from './program-error.ts';
import { startProgram } from './start.ts';

const END_MS = 10_000;
const SIGKILL = 9;

export interface StartExecOptions {
  /** Init of the container; a pidfd, if the caller has one, cannot mean another process. */
  readonly initPid: number;
  readonly initPidfd?: number;
  /** A pipe for its stdin; without it stdin is /dev/null. */
  readonly stdin?: boolean;
  /** A cgroup's directory that only this session is in. */
  readonly killCgroup?: string;
  /** Kills the session's processes after this time; `timedOut` tells. */
  readonly timeoutMs?: number;
  /** Ends a start that is not done yet. */
  readonly signal?: AbortSignal;
}

export interface ExecProcess {
  readonly pid: number;
  readonly pidfd: number;
  readonly warnings: readonly string[];
  readonly stdin: net.Socket | undefined;
  /** Absent with a terminal. They end when the last process that has them does. */
  readonly stdout: net.Socket | undefined;
  readonly stderr: net.Socket | undefined;
  /** Master of the session's terminal; the caller's to close. */
  readonly terminal: number | undefined;
  /** Undefined when nobody knows how it ended. */
  readonly exited: Promise<ExitStatus | undefined>;
  /** True once the timeout has killed it. */
  readonly timedOut: () => boolean;
  /** Sends a signal to the session's first process; false when it has ended. */
  kill(signal: number): boolean;
  /** SIGKILL to it and to everything that it started. */
  killTree(): Promise<void>;
}

/** Resolves when the command runs. Throws ProgramError naming the refused step, with nothing left behind. */
export async function startExec(spec: ExecSpec, options: StartExecOptions): Promise<ExecProcess> {
  const inUserns = spec.namespaces.includes('user');
  const limits = { ...hostLimits(), ...(inUserns ? { availableCapabilities: -1n } : {}) };
  const program = planExecProgram(spec, { recordId: 0, ...limits });
  const descriptors = new Descriptors();
  const status = createStatusPipe(descriptors);
  const streams = createStreams(descriptors, spec.process.terminal, options.stdin === true);
  try {
    descriptors.place(status.write, 'events');
    descriptors.place(options.initPidfd ?? descriptors.own(openPidfd(options.initPid)), 'join');
    if (spec.cgroup.unified !== undefined)
      descriptors.place(descriptors.open(spec.cgroup.unified, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY), 'cgroup');
    const { launched, value, warnings } = await startProgram({
      program,
      argv: ['tskubelet-exec', String(options.initPid)],
      descriptors,
      recordId: 0,
      reportFd: status.write,
      listen: status.listen,
      until: RECORD.started,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    return followExec({
      warnings,
      options,
      streams,
      status,
      shimPidfd: launched.pidfd,
      pid: value,
      terminal: spec.process.terminal,
    });
  } catch (error) {
    for (const stream of Object.values(streams)) stream?.destroy();
    status.close();
    // An aborted start may have come so far that the command has children.
    if (options.killCgroup !== undefined) await killDirectory(options.killCgroup);
    throw error;
  } finally {
    descriptors.close();
  }
}

interface StatusPipe {
  readonly write: number;
  listen(listener: EventListener): () => void;
  /** Calls `end` with the exit record, or with nothing when the pipe ends without one. */
  onEnd(end: (exit: ExitStatus | undefined) => void): void;
  close(): void;
}

/** The session's own event FIFO. Its end without an exit record means that the shim was killed. */
function createStatusPipe(descriptors: Descriptors): StatusPipe {
  const pipe = createPipe();
  let listener: EventListener | undefined;
  let exit: { readonly status: ExitStatus | undefined } | undefined;
  let end: ((exit: ExitStatus | undefined) => void) | undefined;
  const finish = (status: ExitStatus | undefined) => {
    exit ??= { status };
    end?.(exit.status);
  };
  const socket = readRecords(pipe.read, (record: EventRecord) => {
    if (record.type === RECORD.exited) finish(decodeExitRecord(record.bytes));
    else listener?.(record);
  });
  socket.on('close', () => finish(undefined));
  return {
    write: descriptors.own(pipe.write),
    listen: (to) => {
      listener = to;
      return () => {
        listener = undefined;
      };
    },
    onEnd: (to) => {
      end = to;
      if (exit !== undefined) to(exit.status);
    },
    close: () => socket.destroy(),
  };
}

interface Streams {
  readonly stdin: net.Socket | undefined;
  readonly stdout: net.Socket | undefined;
  readonly stderr: net.Socket | undefined;
}

function createStreams(descriptors: Descriptors, terminal: boolean, stdin: boolean): Streams {
  if (terminal) return { stdin: undefined, stdout: undefined, stderr: undefined };
  const output = (name: 'stdout' | 'stderr') => {
    const pipe = createPipe();
    descriptors.place(descriptors.own(pipe.write), name);
    return new net.Socket({ fd: pipe.read, readable: true, writable: false });
  };
  const input = () => {
    const pipe = createPipe();
    descriptors.place(descriptors.own(pipe.read), 'stdin');
    return new net.Socket({ fd: pipe.write, readable: false, writable: true });
  };
  if (!stdin) descriptors.place(descriptors.null, 'stdin');
  return { stdin: stdin ? input() : undefined, stdout: output('stdout'), stderr: output('stderr') };
}

interface Session {
  readonly warnings: readonly string[];
  readonly options: StartExecOptions;
  readonly streams: Streams;
  readonly status: StatusPipe;
  readonly shimPidfd: number;
  readonly pid: number;
  readonly terminal: boolean;
}

function followExec({ warnings, options, streams, status, shimPidfd, pid, terminal }: Session): ExecProcess {
  const { pidfd, master } = copyDescriptors(shimPidfd, terminal);
  let ended = false;
  let timedOut = false;
  let timer: NodeJS.Timeout | undefined;
  const kill = (signal: number) => !ended && sendSignal(pidfd, signal);
  const killAll = () => killTree({ pid, kill, ...(options.killCgroup === undefined ? {} : { cgroup: options.killCgroup }) });
  const exited = new Promise<ExitStatus | undefined>((resolve) => {
    status.onEnd((exit) => {
      if (ended) return;
      ended = true;
      clearTimeout(timer);
      status.close();
      void endShim(shimPidfd, pidfd);
      resolve(exit);
    });
  });
  if (options.timeoutMs !== undefined && !ended)
    timer = setTimeout(() => {
      timedOut = true;
      void killAll().catch(() => kill(SIGKILL));
    }, options.timeoutMs);
  return { pid, pidfd, warnings, ...streams, terminal: master, exited, timedOut: () => timedOut, kill, killTree: killAll };
}

/** The closed pipe is what the shim waits for. Nobody waits for its end. */
async function endShim(shimPidfd: number, pidfd: number): Promise<void> {
  fs.closeSync(pidfd);
  try {
    if (!(await waitEnded(shimPidfd, END_MS))) sendSignal(shimPidfd, SIGKILL);
  } finally {
    fs.closeSync(shimPidfd);
  }
}

/** What the shim holds until the status pipe is closed. */
function copyDescriptors(shimPidfd: number, terminal: boolean): { pidfd: number; master: number | undefined } {
  try {
    return { pidfd: copyDescriptor(shimPidfd, FD.init), master: terminal ? copyDescriptor(shimPidfd, FD.terminal) : undefined };
  } catch (cause) {
    sendSignal(shimPidfd, SIGKILL);
    throw new ProgramError(`exec session: its shim is gone: ${cause instanceof Error ? cause.message : String(cause)}`, 'ESRCH', 128);
  }
}
