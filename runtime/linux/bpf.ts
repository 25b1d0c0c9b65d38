// Owns bpf(2): loading a cgroup device program and attaching it.

import fs from 'node:fs';
import { mapAnonymous } from './memory.ts';
import { syscall } from './syscall.ts';

const BPF_PROG_LOAD = 5;
const BPF_PROG_ATTACH = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE = 15;
const BPF_CGROUP_DEVICE = 6;
const BPF_F_ALLOW_MULTI = 2;
const MAX_PROGRAM_BYTES = 32 * 1024;
// union bpf_attr is larger; what lies beyond what is given counts as zero.
const ATTR_BYTES = 72;

const memory = mapAnonymous(ATTR_BYTES + 8 + MAX_PROGRAM_BYTES);

/** Attaches a device filter (instructions of 8 bytes) to the cgroup2 directory; it goes with the cgroup. */
export function attachDeviceFilter(directory: string, instructions: Buffer): void {
  if (instructions.length > MAX_PROGRAM_BYTES)
    throw new Error(`a device filter of ${instructions.length} bytes exceeds ${MAX_PROGRAM_BYTES}`);
  const { buffer, address } = memory;
  const license = address + ATTR_BYTES;
  buffer.fill(0, 0, ATTR_BYTES + 8);
  buffer.write('GPL', ATTR_BYTES);
  instructions.copy(buffer, ATTR_BYTES + 8);
  buffer.writeUInt32LE(BPF_PROG_TYPE_CGROUP_DEVICE, 0);
  buffer.writeUInt32LE(instructions.length / 8, 4);
  buffer.writeBigUInt64LE(BigInt(license + 8), 8);
  buffer.writeBigUInt64LE(BigInt(license), 16);
  const program = syscall('bpf', BPF_PROG_LOAD, address, ATTR_BYTES);
  const cgroup = fs.openSync(directory, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  try {
    buffer.fill(0, 0, ATTR_BYTES);
    buffer.writeUInt32LE(cgroup, 0);
    buffer.writeUInt32LE(program, 4);
    buffer.writeUInt32LE(BPF_CGROUP_DEVICE, 8);
    buffer.writeUInt32LE(BPF_F_ALLOW_MULTI, 12);
    syscall('bpf', BPF_PROG_ATTACH, address, ATTR_BYTES);
  } finally {
    fs.closeSync(cgroup);
    fs.closeSync(program);
  }
}
