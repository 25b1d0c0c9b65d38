// Owns helper programs of the host that a specification prescribes (credential plugins, foreign CNI binaries): a shim of their own waits
// for them, and the launcher starts it, so that no fork copies this process.
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { EVENTS_FD, FAILURE_RECORD, ProgramBuilder, ref } from '../program/builder.ts';
import { encodeElf } from '../program/elf.ts';
import {
  CLONE_ARGS_BYTES,
  CLONE_VFORK,
  CLOSE_RANGE_CLOEXEC,
  PR_SET_NAME,
  SIG_SETMASK,
  SIGCHLD,
  SIGKILL,
  SIGSTOP,
  WALL,
} from './constants.ts';
import { SyscallError } from './errno.ts';
import { launch } from './launcher.ts';
import { createImage } from './memfd.ts';
import { sendSignal, waitEnded } from './pidfd.ts';
import { createPipe } from './pipe2.ts';

const MAX_OUTPUT_BYTES = 1024 * 1024;
const TIMEOUT_MS = 60_000;
const END_MS = 5000;
/** A child of the program may hold its output open: what came until then is enough. */
const DRAIN_MS = 1000;
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const STATUS_BYTES = 32;
/** Where the child finds the process whose namespaces it enters. */
const ENTER_FD = EVENTS_FD + 1;
const STARTED = 2;
const EXITED = 3;

export interface CommandOptions {
  /** Default: this process' environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly stdin?: string | Buffer;
  /** Default 60 s; then the program and its process group are killed. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Of stdout and stderr each, default 1 MiB; more is an error. */
  readonly maxOutputBytes?: number;
  /** Namespaces that the program runs in: a pidfd of the process that has them, and CLONE_NEW… flags. */
  readonly enter?: { readonly pidfd: number; readonly flags: number };
}

export interface CommandResult {
  readonly exitCode: number;
  /** 0 unless a signal ended it. */
  readonly signal: number;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

/** The program that `name` means: itself with a slash, else the first executable of that name along PATH. */
export function findProgram(name: string, search = process.env.PATH ?? DEFAULT_PATH): string {
  if (name.includes('/')) return name;
  for (const directory of search.split(path.delimiter)) {
    const candidate = path.join(directory, name);
    try {
      fs.accessSync(candidate, fs.constants.X_OK);
      return candidate;
    } catch {}
  }
  throw Object.assign(new Error(`"${name}" is not in PATH (${search})`), { code: 'ENOENT' });
}

/** shim: start a session, clone, wait, tell the status; child: place stdio, undo what Node does to signals, execute. */
function planCommand(program: string, argv: readonly string[], env: readonly string[], { cwd, enter }: CommandOptions) {
  const p = new ProgramBuilder();
  const record = (type: number) => {
    const address = p.alloc(STATUS_BYTES);
    p.store32(address + 4, type);
    return address;
  };
  const started = record(STARTED);
  const exited = record(EXITED);
  const pid = p.slot('pid');
  const child = p.label();
  p.op('rt_sigprocmask', [SIG_SETMASK, p.words([-1]), 0, 8]);
  // Its process group is what a timeout kills.
  p.op('setsid');
  p.op('prctl', [PR_SET_NAME, 'tskubelet-run']);
  p.op('clone3', [p.words([CLONE_VFORK, 0, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, 0]), CLONE_ARGS_BYTES], { dst: pid, onZero: child });
  p.copy(pid, started + 8);
  p.op('write', [EVENTS_FD, started, STATUS_BYTES], { onError: 'ignore' });
  p.op('close_range', [0, EVENTS_FD - 1, 0]);
  p.op('close', [ENTER_FD], { onError: 'ignore' });
  p.op('wait4', [ref(pid), exited + 8, WALL, 0], { retry: true });
  p.op('write', [EVENTS_FD, exited, STATUS_BYTES], { onError: 'ignore' });
  p.op('exit_group', [0]);
  p.place(child);
  if (enter !== undefined) p.op('setns', [ENTER_FD, enter.flags]);
  p.op('close_range', [3, 0xffffffff, CLOSE_RANGE_CLOEXEC]);
  if (cwd !== undefined) p.op('chdir', [cwd]);
  const defaultAction = p.words([0, 0, 0, 0]);
  for (let signal = 1; signal < 32; signal++)
    if (signal !== SIGKILL && signal !== SIGSTOP) p.op('rt_sigaction', [signal, defaultAction, 0, 8]);
  p.op('rt_sigprocmask', [SIG_SETMASK, p.words([0]), 0, 8]);
  p.op('execve', [program, p.stringArray(argv), p.stringArray(env)]);
  return p.finish();
}

/** Runs a program of the host to its end. Throws when it cannot be started, on timeout, on abort, and when it writes too much. */
export async function runCommand(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const [name = ''] = argv;
  const env: Readonly<Record<string, string | undefined>> = options.env ?? process.env;
  const executable = findProgram(name, env.PATH ?? DEFAULT_PATH);
  const variables = Object.entries(env).flatMap(([key, value]) => (value === undefined ? [] : [`${key}=${value}`]));
  const program = planCommand(executable, argv, variables, options);
  const opened: number[] = [];
  const pipes = { stdin: createPipe(), stdout: createPipe(), stderr: createPipe(), status: createPipe() };
  opened.push(pipes.stdin.read, pipes.stdout.write, pipes.stderr.write, pipes.status.write);
  const stdin = new net.Socket({ fd: pipes.stdin.write, readable: false, writable: true });
  // A program that does not read its input is none of our errors.
  stdin.on('error', () => {});
  const maxBytes = options.maxOutputBytes ?? MAX_OUTPUT_BYTES;
  let shim: number | undefined;
  let session: number | undefined;
  let reason: Error | undefined;
  const kill = (why: Error) => {
    reason ??= why;
    if (shim !== undefined && session !== undefined) killSession(shim, session);
  };
  const tooMuch = () => kill(Object.assign(new Error(`${name} wrote more than ${maxBytes} bytes`), { code: 'EFBIG' }));
  const output = [pipes.stdout, pipes.stderr].map(({ read }) => collect(read, maxBytes, tooMuch));
  const status = collect(pipes.status.read, Number.POSITIVE_INFINITY, () => {});
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  const timer = setTimeout(
    () => kill(Object.assign(new Error(`${name} did not end within ${timeoutMs / 1000} s`), { code: 'ETIMEDOUT' })),
    timeoutMs,
  );
  const aborted = () => kill(options.signal?.reason instanceof Error ? options.signal.reason : new Error(`${name} was aborted`));
  try {
    options.signal?.throwIfAborted();
    const image = createImage('tskubelet-run', encodeElf(program));
    opened.push(image);
    const launched = launch({
      image,
      argv: ['tskubelet-run', name],
      descriptors: [
        [pipes.stdin.read, 0],
        [pipes.stdout.write, 1],
        [pipes.stderr.write, 2],
        [pipes.status.write, EVENTS_FD],
        ...(options.enter === undefined ? [] : [[options.enter.pidfd, ENTER_FD] as const]),
      ],
      report: { fd: pipes.status.write, recordId: 0, type: FAILURE_RECORD },
    });
    shim = launched.pidfd;
    session = launched.pid;
    for (const fd of opened.splice(0)) fs.closeSync(fd);
    options.signal?.addEventListener('abort', aborted);
    if (options.signal?.aborted) aborted();
    stdin.end(options.stdin ?? '');
    const records = await status.ended;
    launched.done();
    await waitEnded(launched.pidfd, END_MS);
    session = undefined;
    const launchFailure = launched.failure();
    if (launchFailure !== undefined) throw launchFailure;
    const [stdout, stderr] = await Promise.all(output.map(({ soon }) => soon()));
    if (reason !== undefined) throw reason;
    return { ...decodeStatus(program, records, name), stdout: stdout ?? Buffer.alloc(0), stderr: stderr ?? Buffer.alloc(0) };
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', aborted);
    for (const fd of opened) fs.closeSync(fd);
    if (shim !== undefined) fs.closeSync(shim);
    stdin.destroy();
    for (const stream of [...output, status]) stream.close();
  }
}

/**
 * The shim, and the session that it leads: the program's process group. The shim first, since it may not have got so far: with a kill
 * pending it starts no session and no program any more. It is our child and not reaped yet, so its pid, which is the group's, is nobody
 * else's.
 */
function killSession(shim: number, pid: number): void {
  sendSignal(shim, SIGKILL);
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function decodeStatus(program: ReturnType<typeof planCommand>, records: Buffer, name: string): { exitCode: number; signal: number } {
  for (let at = 0; at + STATUS_BYTES <= records.length; at += STATUS_BYTES) {
    const type = records.readUInt32LE(at + 4);
    if (type === FAILURE_RECORD) {
      const op = program.ops[records.readUInt32LE(at + 8) / 80];
      throw new SyscallError(op?.name ?? 'unknown', op?.args.filter((arg) => typeof arg === 'string') ?? [], records.readInt32LE(at + 12));
    }
    if (type !== EXITED) continue;
    const raw = records.readUInt32LE(at + 8);
    const signal = raw & 0x7f;
    return signal === 0 ? { exitCode: (raw >> 8) & 0xff, signal } : { exitCode: 128 + signal, signal };
  }
  throw new Error(`${name} ended without a status`);
}

interface Collected {
  readonly ended: Promise<Buffer>;
  /** What there is at the end, or a little after the program's. */
  soon(): Promise<Buffer>;
  close(): void;
}

function collect(fd: number, maxBytes: number, tooMuch: () => void): Collected {
  const socket = new net.Socket({ fd, readable: true, writable: false });
  const chunks: Buffer[] = [];
  let length = 0;
  socket.on('data', (chunk: Buffer) => {
    length += chunk.length;
    if (length > maxBytes) tooMuch();
    else chunks.push(chunk);
  });
  socket.on('error', () => {});
  const ended = new Promise<Buffer>((resolve) => socket.on('close', () => resolve(Buffer.concat(chunks))));
  return {
    ended,
    soon: async () => {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<Buffer>((resolve) => {
        timer = setTimeout(() => resolve(Buffer.concat(chunks)), DRAIN_MS);
      });
      try {
        return await Promise.race([ended, late]);
      } finally {
        clearTimeout(timer);
      }
    },
    close: () => socket.destroy(),
  };
}
