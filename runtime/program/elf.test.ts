import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import type { Arch } from '../linux/numbers.ts';
import { OP_BYTES, ProgramBuilder, ref } from './builder.ts';
import { encodeElf } from './elf.ts';

/** Exercises what the stub can do, and exits with 42 if all of it worked: branches, slots, 32-bit stores, tolerated errors, a loop. */
function unitProgram(arch: Arch): ProgramBuilder {
  const p = new ProgramBuilder({ arch, reportFd: 1, recordId: 77 });
  const counter = p.slot('counter', 1000);
  const loop = p.label();
  p.op('getpid');
  p.place(loop);
  p.op('subtract', [ref(counter), 1], { dst: counter, onPositive: loop });
  p.tolerate([2], 'openat', [-100, '/nonexistent', 0, 0]);
  const word = p.slot('word', 0x7_0000_0009n);
  p.op('subtract', [2, 0], { dst: word, dst32: true });
  p.op('subtract', [ref(word), 0x7_0000_0000], { dst: word });
  const good = p.label();
  p.ifEquals(word, 2, good);
  p.op('exit_group', [1]);
  p.place(good);
  const text = 'hello from the stub\n';
  p.op('write', [1, text, text.length]);
  const code = p.slot('code');
  p.op('subtract', [44, 2], { dst: code });
  p.op('exit_group', [ref(code)]);
  return p;
}

function failingProgram(arch: Arch): ProgramBuilder {
  const p = new ProgramBuilder({ arch, reportFd: 1, recordId: 77 });
  p.op('getpid');
  p.op('close', [9999]);
  p.op('exit_group', [0]);
  return p;
}

/** How to run an image of an architecture here: directly, by emulation, or why not at all. */
function runner(arch: Arch): readonly string[] | string {
  if (process.arch === arch) return [];
  if (arch === 'x64') return 'no x86_64 machine';
  const emulator = ['qemu-aarch64-static', 'qemu-aarch64'].find((name) => spawnSync(name, ['--version']).status === 0);
  return emulator === undefined ? 'needs qemu-aarch64 (qemu-user-static)' : [emulator];
}

function run(arch: Arch, program: ProgramBuilder): { status: number | null; stdout: Buffer } {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'tsk-elf-'));
  try {
    const image = path.join(directory, 'image');
    fs.writeFileSync(image, encodeElf(program.finish()), { mode: 0o755 });
    const command = [...(runner(arch) as readonly string[]), image];
    const { status, stdout } = spawnSync(command[0] ?? '', command.slice(1));
    return { status, stdout };
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

for (const arch of ['x64', 'arm64'] as const) {
  const how = runner(arch);
  const skip = typeof how === 'string' ? how : false;

  test(`the unit program runs as a static image on ${arch}`, { skip }, () => {
    const { status, stdout } = run(arch, unitProgram(arch));
    assert.deepEqual([status, stdout.toString()], [42, 'hello from the stub\n']);
  });

  test(`a failing op is reported with its offset and errno on ${arch}, then the image exits with 125`, { skip }, () => {
    const { status, stdout } = run(arch, failingProgram(arch));
    const record = [0, 4, 8, 12].map((offset) => stdout.readUInt32LE(offset));
    assert.deepEqual([status, stdout.length, record], [125, 32, [77, 9, OP_BYTES, 9]]);
  });

  test(`no segment of the ${arch} image is both writable and executable`, () => {
    const image = encodeElf(unitProgram(arch).finish());
    for (const at of [64, 120, 176]) assert.notEqual(image.readUInt32LE(at + 4) & 3, 3);
  });
}
