// Owns what every program starts with, and how a shim waits for its child: started, exit file, exit event, then it stays until killed.
import * as k from '../linux/constants.ts';
import { type OpOptions, type ProgramBuilder, ref, shown, type Value } from './builder.ts';
import { FD, FD_END, RECORD, RECORD_BYTES } from './records.ts';

/** A record to be written to the event FIFO; its value and time are stored by ops. */
export function placeRecord(p: ProgramBuilder, recordId: number, type: keyof typeof RECORD): number {
  const record = p.alloc(RECORD_BYTES);
  p.store32(record, recordId);
  p.store32(record + 4, RECORD[type]);
  return record;
}

export function sendRecord(p: ProgramBuilder, record: number, shows: string): void {
  // A full FIFO or a missing daemon must not stop a shim: the exit file stays the truth.
  p.op('write', [FD.events, shown(record, `record ${shows}`), RECORD_BYTES], { onError: 'ignore' });
}

/** Not inspectable, not interruptible, not in the daemon's session. */
export function addPrologue(p: ProgramBuilder, name: string): void {
  p.phase('process');
  p.op('prctl', [k.PR_SET_DUMPABLE, 0], {
    note: "a process of the container must not read this one's memory or descriptors before execve (CVE-2016-9962)",
  });
  p.op('rt_sigprocmask', [k.SIG_SETMASK, shown(p.words([-1]), 'all'), 0, 8], { note: 'a signal to the daemon is not for this process' });
  p.op('setsid', [], { onError: 'ignore' });
  p.op('prctl', [k.PR_SET_NAME, name]);
}

/** An op that may be refused with one of `errnos`: the program goes on and the daemon is told. */
export function tryWithWarning(
  p: ProgramBuilder,
  recordId: number,
  errnos: readonly number[],
  name: Parameters<ProgramBuilder['op']>[0],
  args: readonly Value[],
  options: OpOptions = {},
): void {
  const refused = p.label();
  const done = p.label();
  const result = p.slot('refusal');
  const warning = placeRecord(p, recordId, 'warning');
  p.store64(warning + 8, p.nextOffset);
  p.tolerate(errnos, name, args, { ...options, dst: result, onSuccess: done, onTolerated: refused });
  p.place(refused);
  p.copySigned(result, warning + 16);
  sendRecord(p, warning, 'warning');
  p.place(done);
}

export interface ShimOptions {
  readonly recordId: number;
  readonly pid: number;
  readonly pidfd: number;
  /** A container's writes the exit file and stays until it is killed; an exec session's until the daemon has closed its pipe. */
  readonly of: 'container' | 'exec';
  /** The shim holds the write end of stdin until it is told to close it. */
  readonly holdsStdin?: boolean;
}

/** The parent's way after clone3: CLONE_VFORK has held it until the child executed or ended. */
export function addShim(p: ProgramBuilder, { recordId, pid, pidfd, of, holdsStdin = false }: ShimOptions): void {
  p.phase('shim');
  const started = placeRecord(p, recordId, 'started');
  const exited = placeRecord(p, recordId, 'exited');
  p.nameSlot(exited + 8, 'wait status');
  p.op('dup3', [ref(pidfd), FD.init, k.O_CLOEXEC], { note: 'the daemon takes a copy: a pidfd never means another process' });
  p.op('close', [ref(pidfd)]);
  p.copy(pid, started + 8);
  sendRecord(p, started, 'started');
  p.op('close_range', [FD.stdin, FD.join, 0]);
  p.op('close_range', [FD.cgroup, FD.userns, 0]);
  p.op('close', [FD.pidTarget], { onError: 'ignore' });
  // Not given to this shim: but a child that shares the table (CLONE_FILES) may have opened something there, even its terminal.
  const absent = [
    ...(holdsStdin ? [] : [FD.keepStdin, FD.endStdin]),
    ...(of === 'exec' ? [FD.exitFile, FD.keepStdout, FD.keepStderr] : []),
  ];
  for (const fd of absent) p.op('close', [fd], { onError: 'ignore' });
  p.op('close_range', [FD_END, 0xffffffff, 0]);
  p.op('chdir', ['/'], { onError: 'ignore', note: 'keep no directory busy' });
  if (holdsStdin) addStdinWait(p);
  p.op('wait4', [ref(pid), shown(exited + 8, '&wait status'), k.WALL, 0], { retry: true });
  p.op('clock_gettime', [k.CLOCK_REALTIME, shown(exited + 16, '&exit time')]);
  if (of === 'container')
    p.op('pwrite64', [FD.exitFile, shown(exited, 'record exited'), RECORD_BYTES, 0], {
      onError: 'ignore',
      note: 'before the event: whoever sees the event finds the file',
    });
  sendRecord(p, exited, 'exited');
  if (of === 'exec') {
    // struct pollfd with no events: what comes anyway is POLLERR, when the other end of the pipe is closed.
    const status = shown(p.words([FD.events]), 'descriptor 4');
    p.op('ppoll', [status, 1, 0, 0, 8], { retry: true, note: 'holds pidfd and terminal until the daemon has taken them, or is gone' });
    p.op('exit_group', [0]);
    return;
  }
  addEndlessWait(p, 'holds the output until the daemon has drained it and kills this process');
}

/** Waits until init has ended or stdin is to end. Only the first needs no more than the wait that follows. */
function addStdinWait(p: ProgramBuilder): void {
  const POLLIN = 1;
  const waiting = p.words([FD.init + POLLIN * 2 ** 32, FD.endStdin + POLLIN * 2 ** 32]);
  const byte = p.alloc(8);
  const told = p.label();
  const over = p.label();
  p.op('ppoll', [shown(waiting, 'init, the FIFO end-stdin'), 2, 0, 0, 8], { retry: true });
  p.op('read', [FD.endStdin, shown(byte, '&byte'), 1], { onSuccess: told, onError: over, note: 'a byte: stdin has come to its end' });
  p.place(told);
  p.op('close', [FD.keepStdin]);
  p.place(over);
}

export function addEndlessWait(p: ProgramBuilder, note: string): void {
  const again = p.place();
  p.op('ppoll', [0, 0, 0, 0, 8], { onSuccess: again, onError: again, note });
}

/** struct clone_args of clone3(2) */
export function placeCloneArgs(
  p: ProgramBuilder,
  flags: number,
  { pidfd = 0, cgroup = 0 }: { pidfd?: number; cgroup?: number } = {},
): number {
  return p.words([flags, pidfd, 0, 0, k.SIGCHLD, 0, 0, 0, 0, 0, cgroup]);
}

/** clone3 with a pidfd; goes to `child` in the child. Returns the slots of pid and pidfd. */
export function addClone(
  p: ProgramBuilder,
  {
    flags,
    shows,
    intoCgroup,
    child,
    note,
  }: { flags: number; shows: string; intoCgroup: boolean; child: ReturnType<ProgramBuilder['label']>; note: string },
): { pid: number; pidfd: number } {
  const pid = p.slot('pid');
  const pidfd = p.slot('pidfd');
  const all = flags + k.CLONE_VFORK + k.CLONE_PIDFD + (intoCgroup ? k.CLONE_INTO_CGROUP : 0);
  const args = placeCloneArgs(p, all, { pidfd, cgroup: intoCgroup ? FD.cgroup : 0 });
  p.op(
    'clone3',
    [
      shown(args, `${[shows, 'CLONE_VFORK', 'CLONE_PIDFD', intoCgroup ? 'CLONE_INTO_CGROUP' : ''].filter(Boolean).join('|')}`),
      k.CLONE_ARGS_BYTES,
    ],
    {
      dst: pid,
      onZero: child,
      note,
    },
  );
  return { pid, pidfd };
}
