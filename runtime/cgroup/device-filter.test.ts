import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compileDeviceFilter, DEFAULT_DEVICE_RULES } from './device-filter.ts';

/** Runs the few instructions that device filters use. */
function interpret(program: Buffer, context: { type: number; access: number; major: number; minor: number }): number {
  const memory = [(context.access << 16) | context.type, context.major, context.minor];
  const r = Array<number>(10).fill(0);
  for (let at = 0; ; at++) {
    const code = program.readUInt8(at * 8);
    const [dst, src] = [program.readUInt8(at * 8 + 1) & 15, program.readUInt8(at * 8 + 1) >> 4];
    const [offset, immediate] = [program.readInt16LE(at * 8 + 2), program.readInt32LE(at * 8 + 4)];
    const value = r[dst] ?? 0;
    if (code === 0x61) r[dst] = memory[offset / 4] ?? Number.NaN;
    else if (code === 0x54) r[dst] = value & immediate;
    else if (code === 0x74) r[dst] = value >>> immediate;
    else if (code === 0xb4) r[dst] = immediate;
    else if (code === 0xbc) r[dst] = r[src] ?? 0;
    else if (code === 0x56) at += value === immediate ? 0 : offset;
    else if (code === 0x95) return r[0] ?? 0;
    else throw new Error(`unknown instruction ${code}`);
  }
}

const [BLOCK, CHAR] = [1, 2];
const [MKNOD, READ, WRITE] = [1, 2, 4];

for (const [title, type, access, major, minor, allowed] of [
  ['read /dev/null', CHAR, READ, 1, 3, 1],
  ['read and write /dev/null', CHAR, READ | WRITE, 1, 3, 1],
  ['open a pty', CHAR, READ | WRITE, 136, 17, 1],
  ['make any block node', BLOCK, MKNOD, 8, 0, 1],
  ['read a disk', BLOCK, READ, 8, 0, 0],
  ['read /dev/mem', CHAR, READ, 1, 1, 0],
  ['make and read /dev/kmsg at once', CHAR, MKNOD | READ, 1, 11, 0],
  ['a block device with the numbers of /dev/null', BLOCK, READ, 1, 3, 0],
] as const)
  test(`the default device rules ${allowed === 1 ? 'allow' : 'refuse'} to ${title}`, () => {
    assert.equal(interpret(compileDeviceFilter(DEFAULT_DEVICE_RULES), { type, access, major, minor }), allowed);
  });
