// Owns the static ELF image that carries a syscall program: the stub in one segment that may execute but not be written, the program in
// another that may be written but not execute.
import { Buffer } from 'node:buffer';
import type { Program } from './builder.ts';
import { IMAGE_BASE, put64 } from './builder.ts';
import { stubs } from './stub.ts';

const CODE_ADDRESS = 0x400000;
const CODE_OFFSET = 0x100;
/** The program's place in the file. Its address is congruent to it modulo the page size. */
const PROGRAM_OFFSET = 0x1000;
const PT_LOAD = 1;
const PT_GNU_STACK = 0x6474e551;
const PF_X = 1;
const PF_W = 2;
const PF_R = 4;
const EM_X86_64 = 62;
const EM_AARCH64 = 183;

interface Segment {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly address: number;
  readonly length: number;
}

/** The complete executable. elf(5) */
export function encodeElf(program: Program): Buffer {
  const { arch, bytes } = program;
  if (program.base !== IMAGE_BASE[arch]) throw new Error('an in-process program cannot become an image');
  const stub = stubs[arch];
  const image = Buffer.alloc(PROGRAM_OFFSET + bytes.length);
  // ELFCLASS64, little-endian, version 1, System V.
  Buffer.from('7f454c46020101', 'hex').copy(image);
  image.writeUInt16LE(2, 16); // ET_EXEC
  image.writeUInt16LE(arch === 'x64' ? EM_X86_64 : EM_AARCH64, 18);
  image.writeUInt32LE(1, 20);
  put64(image, 24, CODE_ADDRESS + CODE_OFFSET);
  put64(image, 32, 64); // program headers
  image.writeUInt16LE(64, 52);
  image.writeUInt16LE(56, 54);
  image.writeUInt16LE(3, 56);
  image.writeUInt16LE(64, 58);
  const codeLength = CODE_OFFSET + stub.code.length;
  const segments: Segment[] = [
    { type: PT_LOAD, flags: PF_R | PF_X, offset: 0, address: CODE_ADDRESS, length: codeLength },
    { type: PT_LOAD, flags: PF_R | PF_W, offset: PROGRAM_OFFSET, address: program.base, length: bytes.length },
    { type: PT_GNU_STACK, flags: PF_R | PF_W, offset: 0, address: 0, length: 0 },
  ];
  for (const [i, segment] of segments.entries()) writeSegment(image, 64 + 56 * i, segment, arch === 'x64' ? 0x1000 : 0x10000);
  stub.code.copy(image, CODE_OFFSET);
  pointAtProgram(image, arch, program.base);
  bytes.copy(image, PROGRAM_OFFSET);
  return image;
}

function writeSegment(image: Buffer, at: number, segment: Segment, alignment: number): void {
  image.writeUInt32LE(segment.type, at);
  image.writeUInt32LE(segment.flags, at + 4);
  put64(image, at + 8, segment.offset);
  put64(image, at + 16, segment.address);
  put64(image, at + 24, segment.address);
  put64(image, at + 32, segment.length);
  put64(image, at + 40, segment.length);
  put64(image, at + 48, alignment);
}

/** Aims the first instruction of _start at the program: `lea r12, [rip + disp32]`, or `adr x19, disp21`. */
function pointAtProgram(image: Buffer, arch: Program['arch'], base: number): void {
  const start = CODE_ADDRESS + CODE_OFFSET;
  if (arch === 'x64') {
    const LEA_BYTES = 7;
    image.writeInt32LE(base - (start + LEA_BYTES), CODE_OFFSET + 3);
    return;
  }
  const distance = base - start;
  const ADR_X19 = 0x10000013;
  image.writeUInt32LE((ADR_X19 | ((distance & 3) << 29) | (((distance >> 2) & 0x7ffff) << 5)) >>> 0, CODE_OFFSET);
}
