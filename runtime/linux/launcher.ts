// Owns how a process begins: clone3(CLONE_VM) on the calling thread, descriptors placed exactly, execveat of an image. The child shares
// our memory until it executes; it runs the stub alone, which uses no stack. The cost does not grow with Node's heap, as fork's does.
import fs from 'node:fs';
import { FAILURE_ERRNO_AT, type Program, ProgramBuilder, ref } from '../program/builder.ts';
import {
  AT_EMPTY_PATH,
  CLONE_ARGS_BYTES,
  CLONE_CLEAR_SIGHAND,
  CLONE_INTO_CGROUP,
  CLONE_PARENT_SETTID,
  CLONE_PIDFD,
  CLONE_VFORK,
  CLONE_VM,
  ETXTBSY,
  O_CLOEXEC,
  SIG_SETMASK,
  SIGCHLD,
} from './constants.ts';
import { SyscallError } from './errno.ts';
import { failureAt, runAt } from './in-process.ts';
import { type Memory, mapAnonymous } from './memory.ts';
import { findEnded, reapEnded } from './pidfd.ts';

const ARENA_BYTES = 16 * 1024;
/** How often an image that is busy (see memfd.ts) is tried again, a millisecond apart. */
const BUSY_TRIES = 1000;

export interface LaunchOptions {
  /** Descriptor of the executable. */
  readonly image: number;
  readonly argv: readonly string[];
  /** [ours, the child's]: the child has exactly these. */
  readonly descriptors: readonly (readonly [number, number])[];
  /** Where a failure of the launch is reported: one of ours, and the record's id and type. */
  readonly report: { readonly fd: number; readonly recordId: number; readonly type: number };
  /** CLONE_NEW… */
  readonly flags?: number;
  /** A cgroup2 directory to be born in. */
  readonly cgroup?: number;
}

export interface Launched {
  readonly pid: number;
  readonly pidfd: number;
  /** To be called once the child has executed or ended: only then its memory may serve another launch. */
  done(): void;
  /** Why the launch failed, if its report came. */
  failure(): SyscallError | undefined;
}

const free: Memory[] = [];

/** Starts a process. Throws when it could not be cloned (or, with a cgroup, not executed); later failures come as a report. */
export function launch(options: LaunchOptions): Launched {
  const memory = free.pop() ?? mapAnonymous(ARENA_BYTES);
  // A child in another cgroup counts there with all of our memory until it executes: an OOM kill in that cgroup would take us along.
  // The kernel passes over a child whose parent waits in vfork.
  const vfork = options.cgroup !== undefined;
  const { program, pidfdSlot } = planLaunch(memory.address, options, vfork);
  const pid = runAt(memory, program);
  if (pid < 0) {
    const failure = memory.buffer.readInt32LE(FAILURE_ERRNO_AT) === 0 ? new SyscallError('clone3', [], -pid) : failureAt(memory, program);
    free.push(memory);
    throw failure;
  }
  const pidfd = memory.buffer.readInt32LE(pidfdSlot - memory.address);
  let finished = false;
  const launched: Launched = {
    pid,
    pidfd,
    done: () => {
      if (!finished) free.push(memory);
      finished = true;
    },
    failure: () => (memory.buffer.readInt32LE(FAILURE_ERRNO_AT) === 0 ? undefined : failureAt(memory, program)),
  };
  if (vfork) {
    const failure = launched.failure();
    launched.done();
    if (failure !== undefined) {
      discard(pidfd);
      throw failure;
    }
  }
  return launched;
}

function discard(pidfd: number): void {
  // It has left vfork by ending: its zombie is there at once or within the instant.
  for (let i = 0; i < 1000 && findEnded([pidfd]).length === 0; i++);
  reapEnded(pidfd);
  fs.closeSync(pidfd);
}

function planLaunch(base: number, options: LaunchOptions, vfork: boolean): { program: Program; pidfdSlot: number } {
  const { image, argv, descriptors, report, flags = 0, cgroup } = options;
  const sources = [image, report.fd, ...descriptors.flatMap((pair) => [...pair])];
  // Copies are made above every descriptor that is read or written, so that no source is overwritten before its turn.
  const copies = Math.max(...sources) + 1;
  const imageCopy = copies + descriptors.length;
  const reportCopy = imageCopy + 1;
  const p = new ProgramBuilder({ base, recordId: report.recordId, reportFd: reportCopy, failureType: report.type });
  const all = p.words([-1]);
  const before = p.slot('signal mask');
  const result = p.slot('result');
  // Written by the kernel: the child's own result, 0, is stored over the parent's, in the memory that they share.
  const pid = p.slot('pid');
  const pidfd = p.slot('pidfd');
  const child = p.label();
  const refused = p.label();
  const cloneFlags =
    CLONE_VM +
    CLONE_PIDFD +
    CLONE_PARENT_SETTID +
    CLONE_CLEAR_SIGHAND +
    flags +
    (vfork ? CLONE_VFORK : 0) +
    (cgroup === undefined ? 0 : CLONE_INTO_CGROUP);
  const args = p.words([cloneFlags, pidfd, 0, pid, SIGCHLD, 0, 0, 0, 0, 0, cgroup ?? 0]);
  // No signal may reach the child while it is us: its handlers would run on our stack.
  p.op('rt_sigprocmask', [SIG_SETMASK, all, before, 8]);
  p.op('clone3', [args, CLONE_ARGS_BYTES], { dst: result, onZero: child, onError: refused });
  p.op('rt_sigprocmask', [SIG_SETMASK, before, 0, 8]);
  p.return(ref(pid));
  p.place(refused);
  p.op('rt_sigprocmask', [SIG_SETMASK, before, 0, 8]);
  p.return(ref(result));

  p.place(child);
  p.child();
  p.op('dup3', [report.fd, reportCopy, O_CLOEXEC]);
  p.op('dup3', [image, imageCopy, O_CLOEXEC]);
  for (const [i, [source]] of descriptors.entries()) p.op('dup3', [source, copies + i, 0]);
  for (const [i, [, target]] of descriptors.entries()) p.op('dup3', [copies + i, target, 0]);
  closeAllBut(p, new Set([...descriptors.map(([, target]) => target), imageCopy, reportCopy]));
  addExecute(p, imageCopy, argv);
  return { program: p.finish(), pidfdSlot: pidfd };
}

function closeAllBut(p: ProgramBuilder, kept: ReadonlySet<number>): void {
  let first = 0;
  for (const fd of [...kept].sort((a, b) => a - b)) {
    if (fd > first) p.op('close_range', [first, fd - 1, 0]);
    first = fd + 1;
  }
  p.op('close_range', [first, 0xffffffff, 0]);
}

function addExecute(p: ProgramBuilder, image: number, argv: readonly string[]): void {
  const result = p.slot('result');
  const tries = p.slot('tries', BUSY_TRIES);
  const refused = p.label();
  const busy = p.label();
  const exhausted = p.label();
  const call = [image, '', p.stringArray(argv), p.stringArray([]), AT_EMPTY_PATH] as const;
  const again = p.place();
  p.op('execveat', call, { dst: result, onError: refused });
  p.place(refused);
  p.ifEquals(result, -ETXTBSY, busy);
  p.place(exhausted);
  p.op('execveat', call);
  p.place(busy);
  p.op('nanosleep', [p.words([0, 1_000_000]), 0]);
  p.op('subtract', [ref(tries), 1], { dst: tries, onZero: exhausted, onPositive: again });
}
