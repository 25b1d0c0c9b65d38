// Owns making small files: open, write, owner, mode, time and close as one syscall program, because unpacking an image does it ten thousand
// times and six calls through node:fs cost more than the kernel's work for them.
import { ProgramBuilder, ref } from '../program/builder.ts';
import { SyscallError } from './errno.ts';
import { runPrepared } from './in-process.ts';
import { type Memory, mapAnonymous } from './memory.ts';
import { syscall, trySyscall } from './syscall.ts';

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const O_WRONLY = 1;
const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_CLOEXEC = 0o2000000;
const PATH_LIMIT_BYTES = 4096;
const ENOSPC = 28;
const KEEP_ID = 0xffffffff;

export const SMALL_FILE_BYTES = 64 * 1024;

export interface FileAttributes {
  readonly mode: number;
  /** Absent: as the process makes it. */
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
}

interface Maker {
  readonly memory: Memory;
  readonly words: BigInt64Array;
  readonly results: Int32Array;
  readonly pathAt: number;
  readonly contentAt: number;
  /** Indexes of the inputs in `words`: length, mode, uid, gid, then two timespecs. */
  readonly inputsAt: number;
}

const inputNames = ['length', 'mode', 'uid', 'gid'] as const;
const resultNames = ['openat', 'pwrite64', 'fchown', 'fchmod', 'utimensat'] as const;

let maker: Maker | undefined;

function createMaker(): Maker {
  const memory = mapAnonymous(16 * 1024 + PATH_LIMIT_BYTES + SMALL_FILE_BYTES);
  const p = new ProgramBuilder({ base: memory.address });
  const inputs = p.alloc(8 * inputNames.length);
  const times = p.alloc(32);
  const results = p.alloc(8 * resultNames.length);
  const path = p.alloc(PATH_LIMIT_BYTES);
  const content = p.alloc(SMALL_FILE_BYTES);
  const input = (name: (typeof inputNames)[number]) => ref(inputs + 8 * inputNames.indexOf(name));
  const result = (name: (typeof resultNames)[number]) => results + 8 * resultNames.indexOf(name);
  const fd = ref(result('openat'));
  const end = p.label();
  // Failures are looked at afterwards: the descriptor has to be closed first.
  p.op('openat', [AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600], { dst: result('openat'), onError: end });
  p.op('pwrite64', [fd, content, input('length'), 0], { dst: result('pwrite64'), onError: 'ignore' });
  // Before the mode: chown(2) clears the setuid bit.
  p.op('fchown', [fd, input('uid'), input('gid')], { dst: result('fchown'), onError: 'ignore' });
  p.op('fchmod', [fd, input('mode')], { dst: result('fchmod'), onError: 'ignore' });
  p.op('utimensat', [fd, 0, times, 0], { dst: result('utimensat'), onError: 'ignore' });
  p.op('close', [fd], { onError: 'ignore' });
  p.place(end);
  p.return(0);
  const program = p.finish();
  program.bytes.copy(memory.buffer);
  const { buffer, byteOffset } = memory.buffer;
  const at = (address: number) => address - memory.address;
  return {
    memory,
    words: new BigInt64Array(buffer, byteOffset, 2048),
    results: new Int32Array(buffer, byteOffset + at(results), 2 * resultNames.length),
    pathAt: at(path),
    contentAt: at(content),
    inputsAt: at(inputs) / 8,
  };
}

/**
 * Makes a regular file that is not there yet; at most SMALL_FILE_BYTES of content. Throws SyscallError and leaves what was made. Symbolic
 * links are not followed at the end of the path (O_EXCL).
 */
export function makeFile(path: Buffer, content: Buffer, attributes: FileAttributes): void {
  if (path.length >= PATH_LIMIT_BYTES || path.includes(0)) throw new Error(`the path ${JSON.stringify(path.toString())} is not one`);
  if (content.length > SMALL_FILE_BYTES) throw new Error(`a small file has at most ${SMALL_FILE_BYTES} bytes`);
  maker ??= createMaker();
  const { memory, words, results, inputsAt } = maker;
  path.copy(memory.buffer, maker.pathAt);
  memory.buffer[maker.pathAt + path.length] = 0;
  content.copy(memory.buffer, maker.contentAt);
  words[inputsAt] = BigInt(content.length);
  words[inputsAt + 1] = BigInt(attributes.mode);
  words[inputsAt + 2] = BigInt(attributes.uid ?? KEEP_ID);
  words[inputsAt + 3] = BigInt(attributes.gid ?? KEEP_ID);
  putTimes(words, inputsAt + 4, attributes);
  runPrepared(memory);
  for (let i = 0; i < resultNames.length; i++) {
    const result = results[2 * i] ?? 0;
    if (result < 0) throw new SyscallError(resultNames[i] ?? '', [path.toString()], -result);
  }
  const written = results[2] ?? 0;
  // Regular files are written in part only where the space ends.
  if (written < content.length) throw new SyscallError('pwrite64', [path.toString(), `${content.length} bytes`], ENOSPC);
}

function putTimes(words: BigInt64Array, at: number, { mtimeSeconds, mtimeNanoseconds }: FileTimes): void {
  // Access times begin as the modification time.
  words[at] = words[at + 2] = BigInt(mtimeSeconds);
  words[at + 1] = words[at + 3] = BigInt(mtimeNanoseconds);
}

export type FileTimes = Pick<FileAttributes, 'mtimeSeconds' | 'mtimeNanoseconds'>;

let timesMemory: Memory | undefined;
let timesWords: BigInt64Array | undefined;

function place(times: FileTimes): Memory {
  timesMemory ??= mapAnonymous(4096 + PATH_LIMIT_BYTES);
  timesWords ??= new BigInt64Array(timesMemory.buffer.buffer, timesMemory.buffer.byteOffset, 4);
  putTimes(timesWords, 0, times);
  return timesMemory;
}

/** utimensat(2), links not followed; exact to the nanosecond, which a number of seconds is not. */
export function setTimes(path: Buffer, times: FileTimes): void {
  if (path.length >= PATH_LIMIT_BYTES || path.includes(0)) throw new Error(`the path ${JSON.stringify(path.toString())} is not one`);
  const { address, buffer } = place(times);
  path.copy(buffer, 4096);
  buffer[4096 + path.length] = 0;
  const result = trySyscall('utimensat', AT_FDCWD, address + 4096, address, AT_SYMLINK_NOFOLLOW);
  if (result < 0) throw new SyscallError('utimensat', [path.toString()], -result);
}

/** The same for an open file. */
export function setFileTimes(fd: number, times: FileTimes): void {
  syscall('utimensat', fd, 0, place(times).address, 0);
}
