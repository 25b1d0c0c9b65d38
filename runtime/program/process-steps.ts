// Owns the last part of every container and exec program: limits, labels, identity, capabilities, seccomp, and execve along PATH.
import { Buffer } from 'node:buffer';
import * as k from '../linux/constants.ts';
import { type ProgramBuilder, ref, shown } from './builder.ts';
import { ALL_CAPABILITIES, capabilityMask, capabilityNames, LAST_CAPABILITY } from './capabilities.ts';
import { DEFAULT_PATH, RLIMITS } from './defaults.ts';
import { FD } from './records.ts';
import { tryWithWarning } from './shim-steps.ts';
import type { Capabilities, Process, SeccompFilter } from './spec.ts';

/** What the planners know of the machine. */
export interface HostLimits {
  /** /proc/sys/kernel/cap_last_cap */
  readonly lastCapability?: number;
  /** Capabilities that the daemon itself has, a bit each: no process gets more. */
  readonly availableCapabilities?: bigint;
  /** Signals that the daemon ignores; absent: any may be. */
  readonly ignoredSignals?: readonly number[];
}

/** Limits above the daemon's own hard limits need CAP_SYS_RESOURCE in the initial user namespace: before any other one is entered. */
export function addRlimits(p: ProgramBuilder, recordId: number, process: Process): void {
  for (const { type, soft, hard } of process.rlimits) {
    const number = RLIMITS[type];
    if (number === undefined) throw new Error(`unknown resource limit "${type}"`);
    const limits = shown(p.words([soft, hard]), `soft ${soft} hard ${hard}`);
    tryWithWarning(p, recordId, [k.EPERM], 'prlimit64', [0, shown(number, type), limits, 0]);
  }
}

/** Lowering it below what the daemon has needs CAP_SYS_RESOURCE: then it stays, and the daemon is told. */
export function addOomScore(p: ProgramBuilder, recordId: number, oomScoreAdj: number | undefined): void {
  if (oomScoreAdj === undefined) return;
  const file = p.slot('oom_score_adj');
  const text = String(oomScoreAdj);
  p.op('openat', [k.AT_FDCWD, '/proc/self/oom_score_adj', k.O_WRONLY | k.O_CLOEXEC, 0], { dst: file });
  tryWithWarning(p, recordId, [k.EACCES, k.EPERM], 'write', [ref(file), text, text.length], {
    note: 'how soon the OOM killer takes this process',
  });
  p.op('close', [ref(file)]);
}

function writeFile(p: ProgramBuilder, path: string, text: string, note: string): void {
  const file = p.slot('file');
  p.op('openat', [k.AT_FDCWD, path, k.O_WRONLY | k.O_CLOEXEC, 0], { dst: file, note });
  p.op('write', [ref(file), text, Buffer.byteLength(text)]);
  p.op('close', [ref(file)]);
}

/** A label applies to the next execve of this task, or of a child. Only the host's root may write it. apparmor(7), selinux(8) */
export function addLabels(p: ProgramBuilder, { apparmorProfile, selinuxLabel }: Process): void {
  if (apparmorProfile !== undefined && apparmorProfile !== '')
    writeFile(p, '/proc/thread-self/attr/apparmor/exec', `exec ${apparmorProfile}`, 'AppArmor profile of the program');
  if (selinuxLabel !== undefined && selinuxLabel !== '')
    writeFile(p, '/proc/thread-self/attr/exec', selinuxLabel, 'SELinux label of the program');
}

/** Places stdio and closes every other descriptor but the event FIFO: an image's cwd may name /proc/self/fd/N (CVE-2024-21626). */
function addStdio(p: ProgramBuilder, terminal: number | undefined): void {
  p.phase('descriptors');
  for (const fd of [0, 1, 2]) p.op('dup3', [terminal === undefined ? FD.stdin + fd : ref(terminal), fd, 0]);
  p.op('close_range', [FD.pidTarget, FD.pidTarget, 0]);
  p.op('close_range', [FD.stdin, 0xffffffff, 0], { note: 'nothing of the host stays open, not even for chdir' });
  p.op('fcntl', [FD.events, shown(2, 'F_SETFD'), shown(1, 'FD_CLOEXEC')]);
}

function addSeccomp(p: ProgramBuilder, { programs, flags }: SeccompFilter): void {
  for (const filter of programs) {
    const instructions = filter.length / 8;
    const program = p.words([instructions, p.data(filter)]);
    p.op('seccomp', [k.SECCOMP_SET_MODE_FILTER, flags, shown(program, `filter of ${instructions} instructions`)]);
  }
}

function addBoundingSet(p: ProgramBuilder, capabilities: Capabilities, last: number): void {
  const kept = new Set(capabilityNames(capabilityMask(capabilities.bounding)));
  for (let number = 0; number <= last; number++) {
    // A kernel may know more of them than we do: those go too.
    const name = ALL_CAPABILITIES[number] ?? `${number}`;
    if (!kept.has(name)) p.op('prctl', [k.PR_CAPBSET_DROP, shown(number, name)]);
  }
}

function addCapset(p: ProgramBuilder, effective: bigint, permitted: bigint, inheritable: bigint): void {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(0x20080522, 0); // _LINUX_CAPABILITY_VERSION_3
  const sets = Buffer.alloc(24);
  for (const [i, set] of [effective, permitted, inheritable].entries()) {
    sets.writeUInt32LE(Number(set & 0xffffffffn), 4 * i);
    sets.writeUInt32LE(Number(set >> 32n), 12 + 4 * i);
  }
  const names = capabilityNames(effective);
  p.op('capset', [shown(p.data(header), 'version 3'), shown(p.data(sets), `effective ${names.length === 0 ? 'none' : names.join(' ')}`)]);
}

function addIdentity(
  p: ProgramBuilder,
  process: Process,
  { lastCapability = LAST_CAPABILITY, availableCapabilities = -1n, ignoredSignals = STANDARD_SIGNALS }: HostLimits,
): void {
  const { user, capabilities, noNewPrivileges, seccomp } = process;
  const known = (1n << BigInt(lastCapability + 1)) - 1n;
  const mask = (names: readonly string[]) => capabilityMask(names) & known & availableCapabilities;
  const permitted = mask(capabilities.permitted);
  const inheritable = mask(capabilities.inheritable);
  p.phase('identity');
  addBoundingSet(p, capabilities, lastCapability);
  if (seccomp !== undefined && !noNewPrivileges) addSeccomp(p, seccomp); // needs CAP_SYS_ADMIN, which goes away below
  if (user.uid !== 0) p.op('prctl', [k.PR_SET_KEEPCAPS, 1], { note: 'a change from uid 0 would clear them' });
  const groups =
    user.additionalGids.length === 0
      ? 0
      : shown(p.data(Buffer.from(Uint32Array.from(user.additionalGids).buffer)), user.additionalGids.join(','));
  p.op('setgroups', [user.additionalGids.length, groups]);
  p.op('setresgid', [user.gid, user.gid, user.gid]);
  p.op('setresuid', [user.uid, user.uid, user.uid]);
  // A change of ids sets it to fs.suid_dumpable. commit_creds() in kernel/cred.c
  p.op('prctl', [k.PR_SET_DUMPABLE, 0]);
  if (user.uid !== 0) p.op('prctl', [k.PR_SET_KEEPCAPS, 0]);
  // Raising an ambient capability needs it permitted and inheritable; a user other than root starts with no effective ones.
  addCapset(p, mask(capabilities.effective), permitted, inheritable);
  p.op('prctl', [k.PR_CAP_AMBIENT, k.PR_CAP_AMBIENT_CLEAR_ALL]);
  for (const name of capabilityNames(mask(capabilities.ambient)))
    p.op('prctl', [k.PR_CAP_AMBIENT, k.PR_CAP_AMBIENT_RAISE, shown(ALL_CAPABILITIES.indexOf(name), name)]);
  p.op('chdir', [process.cwd], { note: 'as the user: a directory closed to it is an error' });
  addSignals(p, ignoredSignals);
  if (noNewPrivileges) p.op('prctl', [k.PR_SET_NO_NEW_PRIVS, 1]);
  if (seccomp !== undefined && noNewPrivileges) addSeccomp(p, seccomp);
}

const STANDARD_SIGNALS = Array.from({ length: 31 }, (_, i) => i + 1).filter((signal) => signal !== k.SIGKILL && signal !== k.SIGSTOP);

/** Ignored signals stay ignored over execve, and Node ignores SIGPIPE; handlers need no reset. */
export function addSignals(p: ProgramBuilder, ignored: readonly number[]): void {
  const defaultAction = shown(p.words([0, 0, 0, 0]), 'SIG_DFL');
  for (const signal of ignored) p.op('rt_sigaction', [signal, defaultAction, 0, 8]);
  p.op('rt_sigprocmask', [k.SIG_SETMASK, shown(p.words([0]), 'none'), 0, 8]);
}

/** Notes by which explain.ts recognises why an execve failed. */
export const EXEC_NOTE = {
  path: 'the program as it was named',
  search: 'the program, along PATH',
  interpreter: 'the file exists, so its interpreter does not',
  notFound: 'no directory of PATH has the program',
} as const;

/** Every directory of PATH in turn, as the shell does; a relative one is skipped, as Go's exec.LookPath refuses it. */
function addExecute(p: ProgramBuilder, { args, env }: Process): void {
  p.phase('execute');
  const file = args[0];
  if (file === undefined || file === '') throw new Error('no command given');
  const argv = shown(p.stringArray(args), JSON.stringify(args));
  const envp = shown(p.stringArray(env), `${env.length} variables`);
  const search = env.findLast((variable) => variable.startsWith('PATH='))?.slice('PATH='.length) ?? DEFAULT_PATH;
  const directories = file.includes('/') ? [] : search.split(':').filter((directory) => directory.startsWith('/'));
  const candidates = file.includes('/') ? [file] : directories.map((directory) => `${directory.replace(/\/+$/, '')}/${file}`);
  for (const path of candidates) addAttempt(p, path, argv, envp, directories.length > 0);
  if (!file.includes('/')) p.op('execve', [candidates.at(-1) ?? file, argv, envp], { note: EXEC_NOTE.notFound });
}

function addAttempt(
  p: ProgramBuilder,
  path: string,
  argv: ReturnType<typeof shown>,
  envp: ReturnType<typeof shown>,
  searching: boolean,
): void {
  const result = p.slot('result');
  const refused = p.label();
  const missing = p.label();
  const interpreter = p.label();
  const next = p.label();
  const note = searching ? EXEC_NOTE.search : EXEC_NOTE.path;
  p.op('execve', [path, argv, envp], { dst: result, onError: refused, note });
  p.place(refused);
  p.ifEquals(result, -k.ENOENT, missing);
  if (searching) for (const errno of [k.ENOTDIR, k.EACCES]) p.ifEquals(result, -errno, next);
  p.repeat('execve', [path, argv, envp], { note });
  p.place(missing);
  // ENOENT is said of the file and of the interpreter that it names alike: look which.
  p.op('openat', [k.AT_FDCWD, path, k.O_PATH | k.O_CLOEXEC, 0], { onSuccess: interpreter, onError: next });
  p.place(interpreter);
  p.repeat('execve', [path, argv, envp], { note: EXEC_NOTE.interpreter });
  p.place(next);
  if (!searching) p.repeat('execve', [path, argv, envp], { note });
}

/** From the set-up's root to the user's program. `terminal`: the slot of the pty's other end, which becomes its stdio. */
export function addProcess(
  p: ProgramBuilder,
  process: Process,
  { host, terminal }: { host: HostLimits; terminal: number | undefined },
): void {
  p.phase('identity');
  p.op('keyctl', [shown(k.KEYCTL_JOIN_SESSION_KEYRING, 'KEYCTL_JOIN_SESSION_KEYRING'), 0], {
    onError: 'ignore',
    note: "the daemon's keys are not the container's",
  });
  addStdio(p, terminal);
  p.op('umask', [0o022]);
  addIdentity(p, process, host);
  addExecute(p, process);
}
