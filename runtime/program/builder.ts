// Owns the encoding of syscall programs: ops, labels, slots and data at final addresses. Pure: it knows no effect and no policy.
//
//   header (64 bytes)                                          op (80 bytes)
//    0 u32 magic   4 u32 flags                                  0 u32 number      4 u32 flags
//    8 u32 report fd     12 u32 exit code after a failure       8 u64 a[6]       56 u64 address for the result, or 0
//   16 u64 address of the ops                                  64 u32 target when the result is 0
//   24 u64 initial stack pointer (stored by the stub)          68 u32 target when it is positive
//   32 failure record: u32 id, u32 type 9, u32 op offset,      72 u32 target on error
//      s32 errno, 16 spare bytes                               76 u32 unused
//
// Targets are byte offsets from the first op: 0 goes on (on error: fails), 1 goes on, all else jumps. Nothing is relocated: data comes
// first, so every address is final the moment it is handed out.
import { Buffer } from 'node:buffer';
import { type Arch, type SyscallName, syscallNames, syscallNumber } from '../linux/numbers.ts';

export const OP_BYTES = 80;
const OP_WORDS = OP_BYTES / 4;
export const HEADER_BYTES = 64;
/** Where the header of a program that runs as a static ELF image lives: the second segment of elf.ts. */
export const IMAGE_BASE: Readonly<Record<Arch, number>> = { x64: 0x401000, arm64: 0x411000 };
/** The report descriptor that the launcher places for every image: the daemon's event FIFO. */
export const EVENTS_FD = 4;
/** Exit status of an image whose program failed; the reason is in its failure record. */
export const FAILED_EXIT_CODE = 125;
/** Type of the 32-byte record that names the failing op. */
export const FAILURE_RECORD = 9;

/** Where a header holds the offset of the op that failed, and its errno (0: none failed). */
export const FAILURE_OP_AT = 40;
export const FAILURE_ERRNO_AT = 44;

const MAGIC = 0x6b757073;
const pseudoNumbers = { subtract: 0x1000, return: 0x1001, child: 0x1002 } as const;
const FLAG_STORE32 = 0x80;
const FLAG_RETRY = 0x100;

export type OpName = SyscallName | keyof typeof pseudoNumbers;

const numbers: Readonly<Record<Arch, Map<OpName, number>>> = { x64: new Map(), arm64: new Map() };
for (const arch of ['x64', 'arm64'] as const) {
  for (const name of syscallNames) numbers[arch].set(name, syscallNumber(name, arch));
  for (const [name, number] of Object.entries(pseudoNumbers)) numbers[arch].set(name as OpName, number);
}
/** What most ops tolerate. */
const NONE: readonly number[] = [];

/** An argument that is read from memory when the op runs: `*(u64 *)address`. */
export interface Ref {
  readonly ref: number;
}

/** A number (mostly an address) together with the words that explain shows for it. */
export interface Shown {
  readonly value: number | bigint;
  readonly shows: string;
}

/** Strings are placed in the program as C strings. */
export type Value = number | bigint | string | Ref | Shown;

export interface Label {
  /** Index of the op that it stands before; -1 while unplaced. */
  index: number;
}

export interface OpOptions {
  /** Address that the result is stored to. */
  readonly dst?: number;
  /** Store 32 bits only. */
  readonly dst32?: boolean;
  /** Repeat after EINTR. */
  readonly retry?: boolean;
  readonly onZero?: Label;
  readonly onPositive?: Label;
  /** For a result that is zero or positive. */
  readonly onSuccess?: Label;
  /** Absent: the program fails, naming this op. */
  readonly onError?: 'ignore' | Label;
  /** Why this op is here, for explain. */
  readonly note?: string;
}

export interface Op {
  readonly name: OpName;
  readonly args: readonly Value[];
  readonly options: OpOptions;
  readonly phase: string;
  /** A second try of the op before it, so that an unexpected errno is reported with the right op. */
  readonly repeated: boolean;
  /** Errnos that are no failure here, for explain. */
  readonly tolerated: readonly number[];
}

export interface Program {
  readonly arch: Arch;
  readonly base: number;
  readonly bytes: Buffer;
  readonly ops: readonly Op[];
  /** Slot address to name. */
  readonly slotNames: ReadonlyMap<number, string>;
}

export interface ProgramOptions {
  /** Address at which the program will live. Default: that of an ELF image. */
  readonly base?: number;
  readonly arch?: Arch;
  /** First field of its records. */
  readonly recordId?: number;
  readonly reportFd?: number;
  /** Type of the record that names a failing op. */
  readonly failureType?: number;
}

/** The value at `address` when the op runs. */
export function ref(address: number): Ref {
  return { ref: address };
}

export function shown(value: number | bigint, shows: string): Shown {
  return { value, shows };
}

export class ProgramBuilder {
  readonly base: number;
  readonly arch: Arch;
  // Written as 32-bit words, and every op once, as it comes: a start encodes some 280 ops on the event loop, and Buffer's checked writes
  // take four times as long.
  #bytes = Buffer.from(new ArrayBuffer(4 * 1024));
  #words = new Uint32Array(this.#bytes.buffer);
  #used = HEADER_BYTES;
  #code = new Uint32Array(128 * OP_WORDS);
  #phase = '';
  readonly #ops: Op[] = [];
  readonly #strings = new Map<string, number>();
  readonly #slotNames = new Map<number, string>();

  constructor(options: ProgramOptions = {}) {
    this.arch = options.arch ?? (process.arch === 'arm64' ? 'arm64' : 'x64');
    this.base = options.base ?? IMAGE_BASE[this.arch];
    this.#words[0] = MAGIC;
    this.#words[2] = options.reportFd ?? EVENTS_FD;
    this.#words[3] = FAILED_EXIT_CODE;
    this.#words[8] = options.recordId ?? 0;
    this.#words[9] = options.failureType ?? FAILURE_RECORD;
  }

  /** Reserves zeroed bytes and returns their address. */
  alloc(length: number, alignment = 8): number {
    const offset = (this.#used + alignment - 1) & ~(alignment - 1);
    this.#used = offset + length;
    this.#grow(this.#used);
    return this.base + offset;
  }

  #grow(length: number): void {
    if (length <= this.#bytes.length) return;
    const larger = Buffer.from(new ArrayBuffer(Math.max((length + 3) & ~3, this.#bytes.length * 2)));
    this.#bytes.copy(larger);
    this.#bytes = larger;
    this.#words = new Uint32Array(larger.buffer);
  }

  /** Addresses are multiples of four here and in store64. */
  store32(address: number, value: number): void {
    this.#words[(address - this.base) >> 2] = value;
  }

  store64(address: number, value: number | bigint): void {
    putWords(this.#words, (address - this.base) >> 2, value);
  }

  /** Eight bytes that ops store to and read from; its name is what explain shows. */
  slot(name: string, initial: number | bigint = 0): number {
    const address = this.alloc(8);
    this.#slotNames.set(address, name);
    if (initial !== 0) this.store64(address, initial);
    return address;
  }

  /** Names an address that ops store to, such as a field of a record. */
  nameSlot(address: number, name: string): void {
    this.#slotNames.set(address, name);
  }

  data(bytes: Buffer, alignment = 8): number {
    const address = this.alloc(bytes.length, alignment);
    bytes.copy(this.#bytes, address - this.base);
    return address;
  }

  string(text: string): number {
    const known = this.#strings.get(text);
    if (known !== undefined) return known;
    if (text.includes('\0')) throw new Error(`a NUL byte in ${JSON.stringify(text)}`);
    // A UTF-16 unit takes three bytes of UTF-8 at most.
    this.#grow(this.#used + 3 * text.length + 1);
    const address = this.base + this.#used;
    this.#used += this.#bytes.write(text, this.#used) + 1;
    this.#strings.set(text, address);
    return address;
  }

  /** An array of u64. */
  words(values: readonly (number | bigint)[]): number {
    const address = this.alloc(values.length * 8);
    for (let i = 0; i < values.length; i++) this.store64(address + 8 * i, values[i] ?? 0);
    return address;
  }

  /** A NULL-terminated array of C strings, as execve(2) wants. */
  stringArray(values: readonly string[]): number {
    return this.words([...values.map((value) => this.string(value)), 0]);
  }

  /** Offset of the op that comes next, as failure and warning records name it. */
  get nextOffset(): number {
    return this.#ops.length * OP_BYTES;
  }

  /** Ops from here on belong to this phase, a few words for explain. */
  phase(name: string): void {
    this.#phase = name;
  }

  label(): Label {
    return { index: -1 };
  }

  /** Places a label before the next op. */
  place(label: Label = this.label()): Label {
    label.index = this.#ops.length;
    return label;
  }

  op(name: OpName, args: readonly Value[] = [], options: OpOptions = {}): void {
    this.#push(name, args, options, false, NONE);
  }

  /** An op that was tried before: reported with its own words when it fails now. */
  repeat(name: OpName, args: readonly Value[], options: OpOptions = {}): void {
    this.#push(name, args, options, true, NONE);
  }

  #push(name: OpName, args: readonly Value[], options: OpOptions, repeated: boolean, tolerated: readonly number[]): void {
    const at = this.#ops.length * OP_WORDS;
    this.#ops.push({ name, args, options, phase: this.#phase, repeated, tolerated });
    if (at === this.#code.length) {
      const larger = new Uint32Array(2 * at);
      larger.set(this.#code);
      this.#code = larger;
    }
    const code = this.#code;
    let flags = (options.dst32 === true ? FLAG_STORE32 : 0) | (options.retry === true ? FLAG_RETRY : 0);
    for (let i = 0; i < args.length; i++) {
      let value = args[i] as Value;
      if (typeof value === 'string') value = this.string(value);
      else if (typeof value === 'object') {
        if ('ref' in value) {
          flags |= 1 << i;
          value = value.ref;
        } else value = value.value;
      }
      putWords(code, at + 2 + 2 * i, value);
    }
    code[at] = numbers[this.arch].get(name) as number;
    code[at + 1] = flags;
    if (options.dst !== undefined) putWords(code, at + 14, options.dst);
  }

  /** Goes to a label when `slot` holds `value`. */
  ifEquals(slot: number, value: number, target: Label): void {
    // A difference of -4095 … -1 looks like an error to the stub.
    this.op('subtract', [ref(slot), value], { onZero: target, onError: 'ignore' });
  }

  /** Copies the value in one slot to another address. */
  copy(slot: number, dst: number): void {
    this.op('subtract', [ref(slot), 0], { dst });
  }

  /** The same for a value that may be a negative errno. */
  copySigned(slot: number, dst: number): void {
    this.op('subtract', [ref(slot), 0], { dst, onError: 'ignore' });
  }

  jump(target: Label): void {
    this.op('subtract', [0, 0], { onZero: target });
  }

  /** Ends an in-process program with this result. */
  return(value: Value): void {
    this.op('return', [value]);
  }

  /** From here on this is a child of its own: an error is reported and ends it, instead of returning to the caller. */
  child(): void {
    this.op('child');
  }

  /**
   * An op whose listed errnos are no failure. Any other one repeats the op, which then fails and is reported as what it is.
   * `onTolerated` is where the listed errnos lead (default: on).
   */
  tolerate(errnos: readonly number[], name: OpName, args: readonly Value[], options: OpOptions & { onTolerated?: Label } = {}): void {
    const { onTolerated } = options;
    const result = options.dst ?? this.alloc(8);
    const failed = this.label();
    const done = this.label();
    const after = options.onSuccess ?? done;
    this.#push(name, args, { ...options, dst: result, onSuccess: after, onError: failed }, false, errnos);
    this.place(failed);
    for (const errno of errnos) this.ifEquals(result, -errno, onTolerated ?? done);
    this.repeat(name, args, { ...options, onSuccess: after });
    this.place(done);
  }

  finish(): Program {
    const opsOffset = (this.#used + 15) & ~15;
    const length = this.#ops.length * OP_WORDS;
    const words = new Uint32Array((opsOffset >> 2) + length);
    words.set(this.#words.subarray(0, Math.min(opsOffset >> 2, this.#words.length)));
    words.set(this.#code.subarray(0, length), opsOffset >> 2);
    putWords(words, 4, this.base + opsOffset);
    let at = (opsOffset >> 2) + 16;
    for (const { options } of this.#ops) {
      const { onSuccess, onError } = options;
      words[at] = this.#target(options.onZero ?? onSuccess);
      words[at + 1] = this.#target(options.onPositive ?? onSuccess);
      words[at + 2] = onError === 'ignore' ? 1 : this.#target(onError);
      at += OP_WORDS;
    }
    return { arch: this.arch, base: this.base, bytes: Buffer.from(words.buffer), ops: this.#ops, slotNames: this.#slotNames };
  }

  #target(label: Label | undefined): number {
    if (label === undefined) return 0;
    // Offsets 0 and 1 mean "go on": the first op cannot be jumped to.
    if (label.index <= 0 || label.index > this.#ops.length) throw new Error(`label at op ${label.index} of ${this.#ops.length}`);
    return label.index * OP_BYTES;
  }
}

/** Stores a signed or unsigned 64-bit value as two 32-bit words; both architectures are little-endian. */
function putWords(words: Uint32Array, at: number, value: number | bigint): void {
  if (typeof value === 'bigint') {
    words[at] = Number(BigInt.asUintN(32, value));
    words[at + 1] = Number(BigInt.asUintN(64, value) >> 32n);
    return;
  }
  words[at] = value;
  // Most are small: then the upper word repeats the sign.
  words[at + 1] = (value | 0) === value ? value >> 31 : Math.floor(value / 2 ** 32);
}

/** Stores a signed or unsigned 64-bit value, little-endian. */
export function put64(bytes: Buffer, offset: number, value: number | bigint): void {
  if (typeof value === 'bigint') {
    bytes.writeBigUInt64LE(BigInt.asUintN(64, value), offset);
    return;
  }
  bytes.writeUInt32LE(value >>> 0, offset);
  bytes.writeInt32LE(Math.floor(value / 2 ** 32) | 0, offset + 4);
}
