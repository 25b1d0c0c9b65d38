// Owns classic BPF for seccomp(2): instructions, blocks that always answer, a search tree over system call numbers, bytes. bpf(4), seccomp(2)
import { Buffer } from 'node:buffer';
import type { Arch } from '../linux/numbers.ts';

/** struct sock_filter: opcode, jump if true, jump if false, operand. */
export type Instruction = readonly [code: number, jt: number, jf: number, k: number];

/** Code that ends in a return whichever way it goes. */
export type Block = readonly Instruction[];

export const LOAD = 0x20; // BPF_LD | BPF_W | BPF_ABS
export const AND = 0x54; // BPF_ALU | BPF_AND | BPF_K
export const JUMP = 0x05; // BPF_JMP | BPF_JA
export const JUMP_EQUAL = 0x15;
export const JUMP_GREATER = 0x25;
export const JUMP_GREATER_EQUAL = 0x35;
const RETURN = 0x06;
const MAX_SHORT_JUMP = 255;
/** BPF_MAXINSNS: of one program. */
export const MAX_INSTRUCTIONS = 4096;

// struct seccomp_data { int nr; __u32 arch; __u64 instruction_pointer; __u64 args[6]; }
export const NR_AT = 0;
const ARCH_AT = 4;
export const ARGS_AT = 16;

export const KILL_PROCESS = 0x80000000;
export const ALLOW = 0x7fff0000;
export const ERRNO = 0x00050000;
export const EPERM = 1;
export const ENOSYS = 38;

/** x32 calls are x86_64's with this bit. */
export const X32_BIT = 0x40000000;

/** What a table of numbers is for: AUDIT_ARCH_… of linux/audit.h, and its column in seccompNumbers. */
export const MACHINES = {
  x86_64: { audit: 0xc000003e, column: 0 },
  aarch64: { audit: 0xc00000b7, column: 1 },
  i386: { audit: 0x40000003, column: 2 },
} as const;
export type Machine = keyof typeof MACHINES;

export const nativeMachine = (arch: Arch): Machine => (arch === 'arm64' ? 'aarch64' : 'x86_64');
export const hostArch: Arch = process.arch === 'arm64' ? 'arm64' : 'x64';

export const end = (action: number): Instruction => [RETURN, 0, 0, action >>> 0];

export interface Range {
  readonly from: number;
  readonly block: Block;
}

/** One range per run of numbers with the same treatment, from 0 to the last number that has one; `newer` is all above. */
export function planRanges(
  treatment: ReadonlyMap<number, Block>,
  last: number,
  { otherwise, newer }: { otherwise: Block; newer: Block },
): Range[] {
  const ranges: Range[] = [];
  for (let number = 0; number <= last; number++) {
    const block = treatment.get(number) ?? otherwise;
    if (ranges.at(-1)?.block !== block) ranges.push({ from: number, block });
  }
  return ranges.at(-1)?.block === newer ? ranges : [...ranges, { from: last + 1, block: newer }];
}

/** A balanced tree: the number is in the accumulator. */
function compileTree(ranges: readonly Range[]): Block {
  const [only, second] = ranges;
  if (only === undefined) throw new Error('a seccomp filter without a range of numbers');
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

export function compileRanges(ranges: readonly Range[]): Block {
  return [[LOAD, 0, 0, NR_AT], ...compileTree(ranges)];
}

/** "if the architecture is this one: block", with a jump of any length. */
export function forMachine(machine: Machine, block: Block): Block {
  return [[LOAD, 0, 0, ARCH_AT], [JUMP_EQUAL, 1, 0, MACHINES[machine].audit], [JUMP, 0, 0, block.length], ...block];
}

/** Instructions of 8 bytes. */
export function encodeFilter(instructions: Block): Buffer {
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
