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
import { type Arch, type SyscallName, syscallNumber } from '../linux/numbers.ts';

export const OP_BYTES = 80;
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
  #bytes = Buffer.from(new ArrayBuffer(16 * 1024));
  #used = HEADER_BYTES;
  #phase = '';
  readonly #ops: Op[] = [];
  readonly #strings = new Map<string, number>();
  readonly #slotNames = new Map<number, string>();

  constructor(options: ProgramOptions = {}) {
    this.arch = options.arch ?? (process.arch === 'arm64' ? 'arm64' : 'x64');
    this.base = options.base ?? IMAGE_BASE[this.arch];
    this.#bytes.writeUInt32LE(MAGIC, 0);
    this.#bytes.writeInt32LE(options.reportFd ?? EVENTS_FD, 8);
    this.#bytes.writeUInt32LE(FAILED_EXIT_CODE, 12);
    this.#bytes.writeUInt32LE((options.recordId ?? 0) >>> 0, 32);
    this.#bytes.writeUInt32LE(options.failureType ?? FAILURE_RECORD, 36);
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
    const larger = Buffer.from(new ArrayBuffer(Math.max(length, this.#bytes.length * 2)));
    this.#bytes.copy(larger);
    this.#bytes = larger;
  }

  store32(address: number, value: number): void {
    this.#bytes.writeUInt32LE(value >>> 0, address - this.base);
  }

  store64(address: number, value: number | bigint): void {
    put64(this.#bytes, address - this.base, value);
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
    const length = Buffer.byteLength(text);
    const address = this.alloc(length + 1, 1);
    this.#bytes.write(text, address - this.base);
    this.#strings.set(text, address);
    return address;
  }

  /** An array of u64. */
  words(values: readonly (number | bigint)[]): number {
    const address = this.alloc(values.length * 8);
    for (const [i, value] of values.entries()) this.store64(address + 8 * i, value);
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
    this.#push(name, args, options, { repeated: false, tolerated: [] });
  }

  /** An op that was tried before: reported with its own words when it fails now. */
  repeat(name: OpName, args: readonly Value[], options: OpOptions = {}): void {
    this.#push(name, args, options, { repeated: true, tolerated: [] });
  }

  #push(name: OpName, args: readonly Value[], options: OpOptions, rest: Pick<Op, 'repeated' | 'tolerated'>): void {
    for (const arg of args) if (typeof arg === 'string') this.string(arg);
    this.#ops.push({ name, args, options, phase: this.#phase, ...rest });
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
    const { onTolerated, ...rest } = options;
    const result = rest.dst ?? this.alloc(8);
    const failed = this.label();
    const done = this.label();
    const after = rest.onSuccess ?? done;
    this.#push(name, args, { ...rest, dst: result, onSuccess: after, onError: failed }, { repeated: false, tolerated: errnos });
    this.place(failed);
    for (const errno of errnos) this.ifEquals(result, -errno, onTolerated ?? done);
    this.repeat(name, args, { ...rest, onSuccess: after });
    this.place(done);
  }

  finish(): Program {
    const opsOffset = (this.#used + 15) & ~15;
    const total = opsOffset + this.#ops.length * OP_BYTES;
    this.#grow(total);
    const bytes = this.#bytes.subarray(0, total);
    put64(bytes, 16, this.base + opsOffset);
    // As 32-bit words: a start encodes some 250 ops on the event loop, and Buffer's checked writes take four times as long.
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, total >> 2);
    for (const [i, op] of this.#ops.entries()) this.#encode(words, (opsOffset + i * OP_BYTES) >> 2, op);
    return { arch: this.arch, base: this.base, bytes, ops: this.#ops, slotNames: this.#slotNames };
  }

  #encode(words: Uint32Array, at: number, { name, args, options }: Op): void {
    let flags = (options.dst32 ? FLAG_STORE32 : 0) | (options.retry ? FLAG_RETRY : 0);
    for (let i = 0; i < args.length; i++) {
      const arg = args[i] as Value;
      if (typeof arg === 'object' && 'ref' in arg) flags |= 1 << i;
      putWords(words, at + 2 + 2 * i, this.#resolve(arg));
    }
    words[at] = numberOf(name, this.arch);
    words[at + 1] = flags;
    putWords(words, at + 14, options.dst ?? 0);
    words[at + 16] = this.#target(options.onZero ?? options.onSuccess);
    words[at + 17] = this.#target(options.onPositive ?? options.onSuccess);
    words[at + 18] = options.onError === 'ignore' ? 1 : this.#target(options.onError);
  }

  #resolve(arg: Value): number | bigint {
    if (typeof arg === 'string') return this.string(arg);
    if (typeof arg !== 'object') return arg;
    return 'ref' in arg ? arg.ref : arg.value;
  }

  #target(label: Label | undefined): number {
    if (label === undefined) return 0;
    // Offsets 0 and 1 mean "go on": the first op cannot be jumped to.
    if (label.index <= 0 || label.index > this.#ops.length) throw new Error(`label at op ${label.index} of ${this.#ops.length}`);
    return label.index * OP_BYTES;
  }
}

function numberOf(name: OpName, arch: Arch): number {
  return name in pseudoNumbers ? pseudoNumbers[name as keyof typeof pseudoNumbers] : syscallNumber(name as SyscallName, arch);
}

/** The same in an array of 32-bit words; both architectures are little-endian. */
function putWords(words: Uint32Array, at: number, value: number | bigint): void {
  if (typeof value === 'bigint') {
    words[at] = Number(BigInt.asUintN(32, value));
    words[at + 1] = Number(BigInt.asUintN(64, value) >> 32n);
    return;
  }
  words[at] = value;
  words[at + 1] = value >= 0 && value <= 0xffffffff ? 0 : Math.floor(value / 2 ** 32);
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
