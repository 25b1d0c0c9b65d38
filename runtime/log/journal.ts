// Owns the journal: a file in the tmpfs run-dir, mapped into memory, that says how far every log file is written and which batch is on
// its way. It outlives the daemon. A commit is one atomic store; nothing here makes a system call on the way of a batch.
//
//        0  header   4 KiB    magic, version, boot id │ keeper's pid and start time │ the open batch, with its timestamp
//    4 KiB  slots    1024 x 128 B, one per log file
//               ┌ seq ┬ used ┬ record 0 ──────────────────┬ record 1 ──────────────────┐   record (seq & 1) is in force;
//               │ i32 │ i32  │ length, carries, parked,   │ the next one, written      │   seq + 1 commits the other
//               │     │      │ inode                      │ before seq moves           │
//               └─────┴──────┴────────────────────────────┴────────────────────────────┘
//  132 KiB  owners   1024 x 4 KiB   JSON: whose log it is, so that a new daemon finds its slots again
//  4.1 MiB  carries  1024 x 2 streams x 2 halves x 16 KiB   unfinished last lines; the record says which half is in force
// 68.1 MiB  batch    16 KiB + 256 KiB   the carry is put before what was read, so that both are formatted in one go
//
// The file is sparse: pages exist where something was stored.
import { openSharedFile, type SharedFile } from '../linux/shared-file.ts';
import type { ProcessIdentity } from '../state/process-identity.ts';
import { CHUNK_BYTES, type StreamIndex, TIMESTAMP_BYTES } from './cri-format.ts';

export const MAX_LOGS = 1024;
export const MAX_BATCH_BYTES = 256 * 1024;

const MAGIC = 0x676f_6c74;
const VERSION = 1;

const HEADER_BYTES = 4096;
const SLOT_BYTES = 128;
const OWNER_BYTES = 4096;
const OWNERS = HEADER_BYTES + MAX_LOGS * SLOT_BYTES;
const CARRIES = OWNERS + MAX_LOGS * OWNER_BYTES;
const BATCH = CARRIES + MAX_LOGS * 4 * CHUNK_BYTES;
const BATCH_BYTES = CHUNK_BYTES + MAX_BATCH_BYTES;
const FILE_BYTES = BATCH + BATCH_BYTES;

// Byte offsets in the header.
const BOOT_ID = 16;
const BOOT_ID_BYTES = 36;
const KEEPER_PID = 64;
const KEEPER_START = 68;
const KEEPER_START_BYTES = 24;
const TIMESTAMP = 192;
// Index of 32-bit words: the open batch.
const OPEN = 32;
const SLOT = 33;
const STREAM = 34;
const KIND = 35;
const BYTES = 36;
const DONE = 37;
const SEQ = 38;
// Byte offsets in a slot.
const USED = 4;
const RECORD = 16;
const RECORD_BYTES = 48;

/** move: from a FIFO over the staging pipe. flush: the unfinished last line alone. unpark: bytes that a failing log file did not take. */
export const batchKinds = ['move', 'flush', 'unpark'] as const;
export type BatchKind = (typeof batchKinds)[number];

export interface OpenBatch {
  readonly slot: number;
  readonly stream: StreamIndex;
  readonly kind: BatchKind;
  /** How many bytes were taken into the staging pipe; 0: not noted yet. */
  readonly bytes: number;
  /** How many of them are certainly in the batch area. */
  readonly done: number;
  /** The slot's sequence number when the batch was opened: another one now means that it was committed. */
  readonly seq: number;
}

/** Where a log stands. */
export interface LogRecord {
  readonly inode: bigint;
  /** Bytes of the log file that count; the next batch is written here. */
  readonly length: number;
  /** Bytes of an unfinished last line, per stream, and the half of the carry area that they are in. */
  readonly carry: readonly [number, number];
  readonly half: readonly [number, number];
  /** Bytes in the log's parked file, how many of them are in the log already, and whose they are. */
  readonly parked: number;
  readonly unparked: number;
  readonly parkedStream: StreamIndex;
}

export const emptyRecord: LogRecord = { inode: 0n, length: 0, carry: [0, 0], half: [0, 0], parked: 0, unparked: 0, parkedStream: 0 };

export interface LogOwner {
  readonly containerId: string;
  readonly logPath: string;
  readonly fifoPaths: readonly string[];
}

export class Journal {
  /** Every byte of the file; the batch area begins at `batchStart`. */
  readonly bytes: Buffer;
  /** The same as a plain array: its subarrays cost half of a Buffer's, and the formatter makes one per line. */
  readonly array: Uint8Array;
  /** The kernel's address of bytes[0]. */
  readonly address: number;
  /** Where a carry may begin at the earliest, and where bytes read from the staging pipe begin. */
  readonly batchRoom = BATCH;
  readonly batchStart = BATCH + CHUNK_BYTES;
  readonly timestamp: Buffer;
  private readonly file: SharedFile;
  private readonly words: Int32Array<ArrayBuffer>;
  private readonly doubles: Float64Array<ArrayBuffer>;
  private readonly longs: BigUint64Array<ArrayBuffer>;
  private readonly reservedCarries = new Set<number>();

  constructor(file: SharedFile) {
    this.file = file;
    const memory = file.memory.buffer.buffer as ArrayBuffer;
    this.bytes = file.memory.buffer;
    this.address = file.memory.address;
    this.array = new Uint8Array(memory);
    this.words = new Int32Array(memory);
    this.doubles = new Float64Array(memory);
    this.longs = new BigUint64Array(memory);
    this.timestamp = this.bytes.subarray(TIMESTAMP, TIMESTAMP + TIMESTAMP_BYTES);
  }

  // The header.

  /** Makes the journal this boot's; throws when another version of the layout is in it. Returns false when it had to start afresh. */
  adopt(bootId: string): boolean {
    this.reserveFixed();
    const sameBoot = this.bytes.toString('latin1', BOOT_ID, BOOT_ID + BOOT_ID_BYTES) === bootId;
    if (this.words[0] === MAGIC && sameBoot) {
      if (this.words[1] !== VERSION)
        throw new Error(
          `the log journal has layout ${this.words[1]}, this tskubelet knows ${VERSION}; end its containers with the tskubelet that made it`,
        );
      return true;
    }
    this.file.clear();
    this.reserveFixed();
    this.words[1] = VERSION;
    this.bytes.write(bootId, BOOT_ID, BOOT_ID_BYTES, 'latin1');
    Atomics.store(this.words, 0, MAGIC);
    return false;
  }

  private reserveFixed(): void {
    this.file.reserve(0, OWNERS);
    this.file.reserve(BATCH, BATCH_BYTES);
  }

  get keeper(): ProcessIdentity | undefined {
    const pid = this.words[KEEPER_PID >> 2]!;
    if (pid === 0) return undefined;
    const startTime = this.bytes.toString('latin1', KEEPER_START, KEEPER_START + KEEPER_START_BYTES).replace(/\0.*$/s, '');
    return { pid, startTime };
  }

  set keeper(identity: ProcessIdentity | undefined) {
    Atomics.store(this.words, KEEPER_PID >> 2, 0);
    if (identity === undefined) return;
    this.bytes.fill(0, KEEPER_START, KEEPER_START + KEEPER_START_BYTES);
    this.bytes.write(identity.startTime, KEEPER_START, KEEPER_START_BYTES - 1, 'latin1');
    Atomics.store(this.words, KEEPER_PID >> 2, identity.pid);
  }

  // The open batch.

  get batch(): OpenBatch | undefined {
    const { words } = this;
    if (words[OPEN] === 0) return undefined;
    return {
      slot: words[SLOT]!,
      stream: words[STREAM] === 1 ? 1 : 0,
      kind: batchKinds[words[KIND]!] ?? 'move',
      bytes: words[BYTES]!,
      done: words[DONE]!,
      seq: words[SEQ]!,
    };
  }

  /** The slot of the open batch. */
  get openSlot(): number | undefined {
    return this.words[OPEN] === 0 ? undefined : this.words[SLOT];
  }

  openBatch(slot: number, stream: StreamIndex, kind: BatchKind): void {
    const { words } = this;
    words[SLOT] = slot;
    words[STREAM] = stream;
    words[KIND] = batchKinds.indexOf(kind);
    words[BYTES] = 0;
    words[DONE] = 0;
    words[SEQ] = this.seq(slot);
    Atomics.store(words, OPEN, 1);
  }

  /** The batch's timestamp must be in place before. */
  noteBytes(bytes: number): void {
    Atomics.store(this.words, BYTES, bytes);
  }

  noteDone(bytes: number): void {
    Atomics.store(this.words, DONE, bytes);
  }

  closeBatch(): void {
    Atomics.store(this.words, OPEN, 0);
  }

  // Slots.

  seq(slot: number): number {
    return this.words[(HEADER_BYTES + slot * SLOT_BYTES) >> 2]!;
  }

  isUsed(slot: number): boolean {
    return this.words[(HEADER_BYTES + slot * SLOT_BYTES + USED) >> 2] !== 0;
  }

  findFree(): number | undefined {
    for (let slot = 0; slot < MAX_LOGS; slot++) if (!this.isUsed(slot)) return slot;
    return undefined;
  }

  /** Takes a free slot; throws when the owner's paths are too long for it or the run-dir is full. */
  take(slot: number, owner: LogOwner, record: LogRecord): void {
    const at = OWNERS + slot * OWNER_BYTES;
    const json = Buffer.from(JSON.stringify(owner));
    if (json.length > OWNER_BYTES - 4) throw new Error(`the log path of container ${owner.containerId} is too long`);
    this.file.reserve(at, OWNER_BYTES);
    this.bytes.writeUInt32LE(json.length, at);
    json.copy(this.bytes, at + 4);
    this.commit(slot, record);
    Atomics.store(this.words, (HEADER_BYTES + slot * SLOT_BYTES + USED) >> 2, 1);
  }

  release(slot: number): void {
    Atomics.store(this.words, (HEADER_BYTES + slot * SLOT_BYTES + USED) >> 2, 0);
  }

  owner(slot: number): LogOwner {
    const at = OWNERS + slot * OWNER_BYTES;
    const length = this.bytes.readUInt32LE(at);
    return JSON.parse(this.bytes.toString('utf8', at + 4, at + 4 + length)) as LogOwner;
  }

  // Records.

  record(slot: number): LogRecord {
    const at = this.recordOffset(slot, this.seq(slot));
    const word = at >> 2;
    const { words } = this;
    const halves = words[word + 4]!;
    return {
      length: this.doubles[at >> 3]!,
      carry: [words[word + 2]!, words[word + 3]!],
      half: [halves & 1, (halves >> 1) & 1],
      parked: words[word + 5]!,
      unparked: words[word + 6]!,
      parkedStream: words[word + 7] === 1 ? 1 : 0,
      inode: this.longs[(at >> 3) + 4]!,
    };
  }

  /** Puts `record` in force by one atomic store; `beforeStore` is the last moment at which the old one still is. */
  commit(slot: number, record: LogRecord, beforeStore?: () => void): void {
    const seq = (this.seq(slot) + 1) | 0;
    const at = this.recordOffset(slot, seq);
    const word = at >> 2;
    const { words } = this;
    this.doubles[at >> 3] = record.length;
    words[word + 2] = record.carry[0];
    words[word + 3] = record.carry[1];
    words[word + 4] = record.half[0] | (record.half[1] << 1);
    words[word + 5] = record.parked;
    words[word + 6] = record.unparked;
    words[word + 7] = record.parkedStream;
    this.longs[(at >> 3) + 4] = record.inode;
    beforeStore?.();
    Atomics.store(words, (HEADER_BYTES + slot * SLOT_BYTES) >> 2, seq);
  }

  /**
   * Says that the log is another file now, for a batch that is still to be written: the sequence number stays, as it must not look
   * committed. The inode comes last: without it the file is not found and this is done again.
   */
  relocate(slot: number, inode: bigint, length: number): void {
    const at = this.recordOffset(slot, this.seq(slot));
    this.doubles[at >> 3] = length;
    Atomics.store(this.longs, (at >> 3) + 4, inode);
  }

  private recordOffset(slot: number, seq: number): number {
    return HEADER_BYTES + slot * SLOT_BYTES + RECORD + (seq & 1) * RECORD_BYTES;
  }

  // Carries.

  /** Index in `bytes` of one half of a stream's carry area. */
  carryOffset(slot: number, stream: StreamIndex, half: number): number {
    return CARRIES + ((slot * 2 + stream) * 2 + half) * CHUNK_BYTES;
  }

  /** Before the first carry of a stream is stored; throws ENOSPC when the run-dir is full. */
  reserveCarry(slot: number, stream: StreamIndex): void {
    const key = slot * 2 + stream;
    if (this.reservedCarries.has(key)) return;
    this.file.reserve(this.carryOffset(slot, stream, 0), 2 * CHUNK_BYTES);
    this.reservedCarries.add(key);
  }

  close(): void {
    this.file.close();
  }
}

/** Opens the journal at `path` for this process; throws a sentence when another one has it. */
export function openJournal(path: string): Journal {
  const file = openSharedFile(path, FILE_BYTES);
  if (file === undefined) throw new Error(`the log journal ${path} is in use by another tskubelet; stop it or choose another --run-dir`);
  return new Journal(file);
}
