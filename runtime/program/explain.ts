// Owns a program in words: one line per step, and the sentence for a step that failed.
import { describeErrno, errnoName } from '../linux/errno.ts';
import { OP_BYTES, type Op, type Program, type Value } from './builder.ts';
import { renderFlags } from './flag-names.ts';
import { EXEC_NOTE } from './process-steps.ts';

const pseudo = new Set<string>(['subtract', 'return', 'child']);

function renderValue(op: Op, index: number, program: Program): string {
  const value: Value = op.args[index] ?? 0;
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'object') return 'ref' in value ? `$${slotName(program, value.ref)}` : value.shows;
  if (op.name === 'umask') return `0${value.toString(8)}`;
  return renderFlags(op.name, index, value) ?? String(value);
}

function slotName(program: Program, address: number): string {
  return (program.slotNames.get(address) ?? 'result').replaceAll(/\s+/g, '_');
}

/** `mount("overlay", "/…/rootfs", "overlay", 0, "lowerdir=…")` */
export function describeOp(program: Program, op: Op): string {
  return `${op.name}(${op.args.map((_, index) => renderValue(op, index, program)).join(', ')})`;
}

/** Longer values say nothing more in an error: an argument list may be megabytes. */
const MAX_SHOWN_CHARS = 1_000;

function describeFailedOp(program: Program, op: Op): string {
  const values = op.args.map((_, index) => {
    const value = renderValue(op, index, program);
    return value.length <= MAX_SHOWN_CHARS ? value : `${value.slice(0, MAX_SHOWN_CHARS)}…`;
  });
  return `${op.name}(${values.join(', ')})`;
}

export interface ExplainedStep {
  /** The op's number, as failures name it. */
  readonly number: number;
  readonly phase: string;
  readonly call: string;
  readonly note?: string;
}

/** The steps that a reader wants: the stub's own arithmetic and repeated tries are left out. */
export function explainProgram(program: Program): readonly ExplainedStep[] {
  return program.ops.flatMap((op, number) => {
    if (pseudo.has(op.name) || op.repeated) return [];
    const { dst, note, onError } = op.options;
    const named = dst !== undefined && program.slotNames.has(dst) ? `$${slotName(program, dst)} = ` : '';
    const fine = op.tolerated.length > 0 ? op.tolerated.map(errnoName).join(' or ') : onError === 'ignore' ? 'failure' : '';
    const notes = [note, fine === '' ? undefined : `${fine} is fine`].filter((text) => text !== undefined);
    return [
      { number, phase: op.phase, call: `${named}${describeOp(program, op)}`, ...(notes.length === 0 ? {} : { note: notes.join('; ') }) },
    ];
  });
}

/** The program as text, grouped by phase. */
export function renderProgram(program: Program): string {
  const lines: string[] = [];
  let phase: string | undefined;
  for (const step of explainProgram(program)) {
    if (step.phase !== phase) {
      phase = step.phase;
      lines.push(lines.length === 0 ? phase : `\n${phase}`);
    }
    lines.push(`  ${String(step.number).padStart(4)}  ${step.call}${step.note === undefined ? '' : `   # ${step.note}`}`);
  }
  return `${lines.join('\n')}\n`;
}

export interface ProgramFailure {
  readonly sentence: string;
  /** errno name. */
  readonly code: string;
  /** What a shell would say: 126 not executable, 127 not found, 128 for everything before. */
  readonly exitCode: 126 | 127 | 128;
}

export function describeFailure(program: Program, offset: number, errno: number): ProgramFailure {
  const code = errnoName(errno);
  const op = program.ops[offset / OP_BYTES];
  if (op === undefined) return { sentence: `an unknown step at ${offset}: ${describeErrno(errno)}`, code, exitCode: 128 };
  if (op.name === 'execve') return describeExecFailure(program, op, errno, code);
  const hint = hints[`${op.name} ${code}`];
  const sentence = `${describeFailedOp(program, op)}: ${describeErrno(errno)}`;
  return { sentence: hint === undefined ? sentence : `${sentence}: ${hint}`, code, exitCode: 128 };
}

/** What the usual refusals mean here. */
const hints: Readonly<Record<string, string>> = {
  'open_tree ENOENT': 'the source of this mount does not exist on the host',
  'move_mount EINVAL': 'a directory can only be mounted on a directory, a file on a file',
  'move_mount ENOENT': 'the mount target could not be made in the image',
  'chdir ENOENT': 'the working directory does not exist',
  'chdir EACCES': 'the working directory is closed to the user of the container',
  'chdir ENOTDIR': 'the working directory is a file',
  'clone3 EAGAIN': 'a limit on processes is reached (pids cgroup, RLIMIT_NPROC, threads-max)',
  'clone3 EBUSY': 'the cgroup passes controllers on to children, so it may hold no process itself',
  'clone3 ENOENT': 'the cgroup was removed',
  'clone3 ENOSPC': 'a limit on namespaces is reached (/proc/sys/user/max_*_namespaces)',
  'unshare ENOSPC': 'a limit on namespaces is reached (/proc/sys/user/max_*_namespaces)',
  'pivot_root EINVAL': 'the root of this machine cannot be left: is it an initramfs?',
  'setns ESRCH': 'the process whose namespaces were to be joined has ended',
  'capset EPERM': 'the daemon lacks one of these capabilities itself',
};

function describeExecFailure(program: Program, op: Op, errno: number, code: string): ProgramFailure {
  const path = typeof op.args[0] === 'string' ? op.args[0] : '';
  const exec = (name: string) => `exec ${JSON.stringify(name)}`;
  switch (op.options.note) {
    case EXEC_NOTE.notFound:
      return { sentence: `${exec(path.slice(path.lastIndexOf('/') + 1))}: executable file not found in $PATH`, code, exitCode: 127 };
    case EXEC_NOTE.interpreter:
      return { sentence: `${exec(path)}: the file is there, its interpreter is not (#! line or ELF loader)`, code, exitCode: 127 };
  }
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return { sentence: `${exec(path)}: no such file or directory in the container`, code, exitCode: 127 };
    case 'EACCES':
      return { sentence: `${exec(path)}: permission denied (not an executable file, or closed to the user)`, code, exitCode: 126 };
    case 'ENOEXEC':
      return { sentence: `${exec(path)}: exec format error (no #! line, or built for another architecture)`, code, exitCode: 126 };
    case 'E2BIG': {
      const limit = 'one of them is over 128 KiB, or all are over a quarter of the stack limit';
      return { sentence: `${exec(path)}: its arguments and environment are too long: ${limit}`, code, exitCode: 126 };
    }
    default:
      return { sentence: `${describeFailedOp(program, op)}: ${describeErrno(errno)}`, code, exitCode: 126 };
  }
}
