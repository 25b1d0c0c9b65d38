// Owns the stub's code page in this process: runs a syscall program between two JavaScript statements, on the calling thread, so that
// steps that must not be separated (join a namespace, act, come back) never are.
import koffi from 'koffi';
import { FAILURE_ERRNO_AT, FAILURE_OP_AT, OP_BYTES, type Program, ProgramBuilder, ref } from '../program/builder.ts';
import { stubs } from '../program/stub.ts';
import { SyscallError } from './errno.ts';
import { type Memory, mapAnonymous, PROT_EXEC, PROT_READ } from './memory.ts';
import { syscall } from './syscall.ts';

const CLONE_NEWNET = 0x40000000;
const O_CLOEXEC = 0o2000000;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const AT_FDCWD = -100;
const ARENA_BYTES = 64 * 1024;
const CODE_BYTES = 64 * 1024;

let run: ((header: number) => number | bigint) | undefined;

/** The stub as a function. Its page is written first and made executable after: never both. */
function loadStub(): (header: number) => number | bigint {
  const stub = stubs[process.arch === 'arm64' ? 'arm64' : 'x64'];
  const code = mapAnonymous(CODE_BYTES);
  stub.code.copy(code.buffer);
  syscall('mprotect', code.address, CODE_BYTES, PROT_READ | PROT_EXEC);
  const prototype = koffi.proto('long run_syscall_program(long header)');
  return koffi.decode(BigInt(code.address + stub.runOffset), prototype) as (header: number) => number | bigint;
}

/** Runs a program that was built for `memory.address`. Returns its result, -errno when an op failed. */
export function runAt(memory: Memory, program: Program): number {
  if (program.base !== memory.address) throw new Error('a syscall program was built for another address');
  if (program.bytes.length > memory.buffer.length) throw new Error(`a syscall program of ${program.bytes.length} bytes exceeds its arena`);
  program.bytes.copy(memory.buffer);
  run ??= loadStub();
  return Number(run(memory.address));
}

/** Runs the program that lies at `memory` already, once more. Its ops must handle their errors. */
export function runPrepared(memory: Memory): number {
  run ??= loadStub();
  return Number(run(memory.address));
}

/** The op that made the last run at `memory` fail, as an error. */
export function failureAt(memory: Memory, program: Program): SyscallError {
  const op = program.ops[memory.buffer.readUInt32LE(FAILURE_OP_AT) / OP_BYTES];
  return new SyscallError(op?.name ?? 'unknown', op?.args.map(plain) ?? [], memory.buffer.readInt32LE(FAILURE_ERRNO_AT));
}

function plain(arg: Program['ops'][number]['args'][number]): unknown {
  return typeof arg === 'object' && 'value' in arg ? arg.value : arg;
}

let arena: Memory | undefined;

/** Builds and runs a program here and now; it must end in `return`. Throws SyscallError naming the op that failed. */
export function runInProcess(build: (program: ProgramBuilder) => void): number {
  arena ??= mapAnonymous(ARENA_BYTES);
  const builder = new ProgramBuilder({ base: arena.address });
  build(builder);
  const program = builder.finish();
  const result = runAt(arena, program);
  // Not the result's sign: a program may well return a negative number.
  if (arena.buffer.readInt32LE(FAILURE_ERRNO_AT) !== 0) throw failureAt(arena, program);
  return result;
}

let ownNetns: number | undefined;

/**
 * A socket in another network namespace (a descriptor of /proc/<pid>/ns/net, or a pidfd). The thread is back in its own namespace
 * when this returns, whatever failed. Close-on-exec and non-blocking are added to `type`.
 */
export function socketInNetns(netns: number, domain: number, type: number, protocol: number): number {
  ownNetns ??= syscall('openat', AT_FDCWD, '/proc/thread-self/ns/net', O_CLOEXEC, 0);
  const own = ownNetns;
  const flags = type | SOCK_CLOEXEC | SOCK_NONBLOCK;
  const result = runInProcess((program) => {
    const socket = program.slot('socket');
    program.op('setns', [netns, CLONE_NEWNET]);
    // A refusal is looked at only after the way back.
    program.op('socket', [domain, flags, protocol], { dst: socket, onError: 'ignore' });
    program.op('setns', [own, CLONE_NEWNET]);
    program.return(ref(socket));
  });
  if (result < 0) throw new SyscallError('socket', [domain, flags, protocol], -result);
  return result;
}

/**
 * Opens a file as a network namespace shows it: /proc/sys/net is that of whoever opens. The thread is back in its own namespace when
 * this returns, whatever failed.
 */
export function openInNetns(netns: number, file: string, flags: number): number {
  ownNetns ??= syscall('openat', AT_FDCWD, '/proc/thread-self/ns/net', O_CLOEXEC, 0);
  const own = ownNetns;
  const result = runInProcess((program) => {
    const fd = program.slot('file');
    program.op('setns', [netns, CLONE_NEWNET]);
    program.op('openat', [AT_FDCWD, file, flags | O_CLOEXEC, 0], { dst: fd, onError: 'ignore' });
    program.op('setns', [own, CLONE_NEWNET]);
    program.return(ref(fd));
  });
  if (result < 0) throw new SyscallError('openat', [AT_FDCWD, file, flags], -result);
  return result;
}
