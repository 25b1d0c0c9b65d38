// Owns a classic BPF machine for tests: what the kernel would answer.
import assert from 'node:assert/strict';
import type { SeccompFilter } from '../spec.ts';

export const X64 = 0xc000003e;
export const I386 = 0x40000003;
export const ARM64 = 0xc00000b7;

/** Strictest first. seccomp(2) */
const ACTIONS: readonly (readonly [number, string])[] = [
  [0x80000000, 'kill'],
  [0x00000000, 'kill thread'],
  [0x00030000, 'trap'],
  [0x00050000, 'errno'],
  [0x7ff00000, 'trace'],
  [0x7ffc0000, 'log'],
  [0x7fff0000, 'allow'],
];

function describe(answer: number): string {
  const name = ACTIONS.find(([action]) => action === (answer & 0xffff0000) >>> 0)?.[1];
  return name === 'errno' || name === 'trace' ? `${name} ${answer & 0xffff}` : (name ?? `${answer}`);
}

/** What the kernel would do: a tiny classic BPF machine over struct seccomp_data. */
export function interpret(filter: Buffer, arch: number, number: number, args: readonly bigint[] = []): string {
  const data = Buffer.alloc(64);
  data.writeInt32LE(number | 0, 0);
  data.writeUInt32LE(arch, 4);
  args.forEach((arg, i) => {
    data.writeBigUInt64LE(arg, 16 + 8 * i);
  });
  let accumulator = 0;
  for (let at = 0; at < filter.length / 8; at++) {
    const code = filter.readUInt16LE(at * 8);
    const k = filter.readUInt32LE(at * 8 + 4);
    const jump = (condition: boolean) => filter[at * 8 + (condition ? 2 : 3)] ?? 0;
    if (code === 0x20) accumulator = data.readUInt32LE(k);
    else if (code === 0x54) accumulator = (accumulator & k) >>> 0;
    else if (code === 0x05) at += k;
    else if (code === 0x15) at += jump(accumulator === k);
    else if (code === 0x25) at += jump(accumulator > k);
    else if (code === 0x35) at += jump(accumulator >= k);
    else if (code === 0x06) return describe(k);
    else assert.fail(`opcode ${code}`);
  }
  return assert.fail('ran off the end');
}

/** All programs of a filter: the strictest answer counts. */
export function interpretAll({ programs }: SeccompFilter, arch: number, number: number, args: readonly bigint[] = []): string {
  const answers = programs.map((program) => interpret(program, arch, number, args));
  const rank = (answer: string) => ACTIONS.findIndex(([, name]) => name === answer.replace(/ \d+$/, ''));
  return answers.reduce((strictest, answer) => (rank(answer) < rank(strictest) ? answer : strictest));
}
