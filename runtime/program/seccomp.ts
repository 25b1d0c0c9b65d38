// Owns the way from a profile to a classic BPF program for seccomp(2): a search tree over system call numbers, of any size. bpf(4), seccomp(2)
import { Buffer } from 'node:buffer';
import type { Arch } from '../linux/numbers.ts';
import { seccompNumbers } from './seccomp-numbers.ts';
import { type Condition, type Profile, planDefaultProfile } from './seccomp-profile.ts';

/** struct sock_filter: opcode, jump if true, jump if false, operand. */
type Instruction = readonly [code: number, jt: number, jf: number, k: number];

const LOAD = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL = 0x15;
const JUMP_GREATER_EQUAL = 0x35;
const RETURN = 0x06;
const MAX_SHORT_JUMP = 255;
const MAX_INSTRUCTIONS = 4096;

// struct seccomp_data { int nr; __u32 arch; __u64 instruction_pointer; __u64 args[6]; }
const NR_AT = 0;
const ARCH_AT = 4;
const ARGS_AT = 16;

const KILL_PROCESS = 0x80000000;
const ALLOW = 0x7fff0000;
const ERRNO = 0x00050000;
const EPERM = 1;
const ENOSYS = 38;

const AUDIT_ARCH_X86_64 = 0xc000003e;
const AUDIT_ARCH_I386 = 0x40000003;
const AUDIT_ARCH_AARCH64 = 0xc00000b7;
/** x32 calls are x86_64's with this bit. */
const X32_BIT = 0x40000000;

/** The column of seccompNumbers. */
const columns = { x64: 0, arm64: 1, i386: 2 } as const;

const end = (action: number): Instruction => [RETURN, 0, 0, action >>> 0];

/** Code that ends in a return whichever way it goes. */
type Block = readonly Instruction[];

interface Range {
  readonly from: number;
  readonly block: Block;
}

/** Allowed when any of them holds, else EPERM. Arguments are compared as 64-bit numbers, in two halves. */
function compileConditions(conditions: readonly Condition[]): Block {
  return [...conditions.flatMap(compileCondition), end(ERRNO | EPERM)];
}

/** Returns ALLOW when it holds, and falls through when not. */
function compileCondition({ argument, operator, mask, value }: Condition): Instruction[] {
  const low = ARGS_AT + 8 * argument;
  if (mask !== undefined) return [[LOAD, 0, 0, low], [AND, 0, 0, mask], [JUMP_EQUAL, 0, 1, value], end(ALLOW)];
  if (operator === 'equal') return [[LOAD, 0, 0, low + 4], [JUMP_EQUAL, 0, 3, 0], [LOAD, 0, 0, low], [JUMP_EQUAL, 0, 1, value], end(ALLOW)];
  // The kernel reads an int: only the low half says what it is.
  return [[LOAD, 0, 0, low], [JUMP_EQUAL, 1, 0, value], end(ALLOW)];
}

/** One range per run of numbers with the same treatment; the last one reaches to the end of all numbers. */
function planRanges(profile: Profile, column: number): Range[] {
  const treatment = new Map<number, Block>();
  let last = 0;
  for (const [name, numbers] of Object.entries(seccompNumbers)) {
    const number = numbers[column] ?? -1;
    if (number < 0) continue;
    last = Math.max(last, number);
    const conditions = profile.conditional.get(name);
    if (profile.allowed.has(name)) treatment.set(number, allow);
    else if (conditions !== undefined) treatment.set(number, compileConditions(conditions));
    else if (profile.absent.has(name)) treatment.set(number, absent);
  }
  const ranges: Range[] = [];
  for (let number = 0; number <= last; number++) {
    const block = treatment.get(number) ?? refuse;
    if (ranges.at(-1)?.block !== block) ranges.push({ from: number, block });
  }
  // Calls newer than the profile do not exist, as far as libraries can tell: EPERM would stop them from using their older ways.
  return [...ranges, { from: last + 1, block: absent }];
}

const allow: Block = [end(ALLOW)];
const refuse: Block = [end(ERRNO | EPERM)];
const absent: Block = [end(ERRNO | ENOSYS)];

/** A balanced tree: the number is in the accumulator. */
function compileTree(ranges: readonly Range[]): Block {
  const [only, second] = ranges;
  if (only === undefined) return refuse;
  if (second === undefined) return only.block;
  const middle = Math.floor(ranges.length / 2);
  const left = compileTree(ranges.slice(0, middle));
  const right = compileTree(ranges.slice(middle));
  const split = ranges[middle]?.from ?? 0;
  // Jumps on a condition reach 255 instructions, those without one any number.
  const test: Block =
    left.length <= MAX_SHORT_JUMP
      ? [[JUMP_GREATER_EQUAL, left.length, 0, split]]
      : [
          [JUMP_GREATER_EQUAL, 0, 1, split],
          [JUMP, 0, 0, left.length],
        ];
  return [...test, ...left, ...right];
}

function compileTable(profile: Profile, column: number): Block {
  return [[LOAD, 0, 0, NR_AT], ...compileTree(planRanges(profile, column))];
}

/** "if the architecture is this one: block", with a jump of any length. */
function forArchitecture(audit: number, block: Block): Instruction[] {
  return [[LOAD, 0, 0, ARCH_AT], [JUMP_EQUAL, 1, 0, audit], [JUMP, 0, 0, block.length], ...block];
}

/** Instructions of 8 bytes. An architecture that the profile does not know ends the process. */
export function compileProfile(profile: Profile, arch: Arch): Buffer {
  const x32: Block = [[LOAD, 0, 0, NR_AT], [JUMP_GREATER_EQUAL, 0, 1, X32_BIT], end(ERRNO | ENOSYS)];
  const tables =
    arch === 'arm64'
      ? forArchitecture(AUDIT_ARCH_AARCH64, compileTable(profile, columns.arm64))
      : [
          ...forArchitecture(AUDIT_ARCH_X86_64, [...x32, ...compileTable(profile, columns.x64)]),
          ...forArchitecture(AUDIT_ARCH_I386, compileTable(profile, columns.i386)),
        ];
  return encode([...tables, end(KILL_PROCESS)]);
}

function encode(instructions: Block): Buffer {
  if (instructions.length > MAX_INSTRUCTIONS) throw new Error(`a seccomp filter of ${instructions.length} instructions`);
  const bytes = Buffer.alloc(instructions.length * 8);
  for (const [i, [code, jt, jf, k]] of instructions.entries()) {
    bytes.writeUInt16LE(code, i * 8);
    bytes[i * 8 + 2] = jt;
    bytes[i * 8 + 3] = jf;
    bytes.writeUInt32LE(k >>> 0, i * 8 + 4);
  }
  return bytes;
}

const compiled = new Map<string, Buffer>();

/** The default profile for a bounding set of capabilities; compiled once for each. */
export function defaultSeccompFilter(bounding: readonly string[], arch: Arch = process.arch === 'arm64' ? 'arm64' : 'x64'): Buffer {
  const key = [arch, ...bounding].join(' ');
  let filter = compiled.get(key);
  if (filter === undefined) {
    filter = compileProfile(planDefaultProfile(bounding), arch);
    compiled.set(key, filter);
  }
  return filter;
}
