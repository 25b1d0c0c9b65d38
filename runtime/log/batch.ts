// Owns the way of a batch: FIFO -> staging pipe -> journal -> log file -> commit. Each step is harmless to repeat, and the journal says
// after a crash which steps were done, so that a byte is in the log exactly once.
//
//   open batch ─▶ splice ─▶ note time, n ─▶ read (noted) ─▶ format, pwrite at the noted length ─▶ commit (one store) ─▶ close batch
//   killed at     │          │               │                │                                    │
//   ··············┘          │               │                └ same bytes again, same place       └ seq moved: only close
//   staged = FIONREAD; 0: nothing taken      └ n - staged bytes are here, the rest is still staged
//
// The staging pipe is empty between batches: whatever is in it belongs to the open one.
import fs from 'node:fs';
import path from 'node:path';
import { readWallClock, type WallClock } from '../linux/clock.ts';
import { SyscallError } from '../linux/errno.ts';
import { mapAnonymous } from '../linux/memory.ts';
import { bytesInPipe, movePipe } from '../linux/pipe.ts';
import { syscall, trySyscall } from '../linux/syscall.ts';
import { formatLines, renderTimestamp, type StreamIndex } from './cri-format.ts';
import { type BatchKind, type Journal, type LogRecord, MAX_BATCH_BYTES } from './journal.ts';
import { findLogFile, openLogFile } from './log-file.ts';

/** The steps between which the crash tests kill the pump. */
export const faultPoints = ['opened', 'spliced', 'noted', 'read', 'written', 'parked', 'committing', 'committed', 'closed'] as const;
export type FaultPoint = (typeof faultPoints)[number];

/** The open log of a slot. */
export interface LogTarget {
  readonly slot: number;
  readonly fd: number;
  /** Sees each batch before it is written; the bytes are only lent. */
  tap?(stream: StreamIndex, bytes: Uint8Array): void;
}

export interface BatchOptions {
  readonly journal: Journal;
  /** Both ends of the staging pipe. */
  readonly stagingFd: number;
  /** Folder for the bytes that a failing log file did not take. */
  readonly parkedDir: string;
  /** The most that one pwrite(2) is given. */
  readonly writeBytes?: number | undefined;
  readonly fault?: ((point: FaultPoint) => void) | undefined;
}

export interface Outcome {
  /** Bytes written to the log. */
  readonly written: number;
  /** Why the log did not take everything. What is left waits in the carry, in the parked file, or in the batch, which then stays open. */
  readonly failure?: Error;
  /** The log file has no name any more. */
  readonly unlinked: boolean;
}

export interface Moved extends Outcome {
  /** Bytes taken from the FIFO. */
  readonly bytes: number;
}

export interface Recovery {
  readonly found: 'idle' | 'empty' | 'committed' | 'redo from journal' | 'redo from staging' | 'lost';
  readonly containerId?: string;
  readonly stream?: StreamIndex;
  /** Bytes that were staged when the keeper died too; undefined with `found: 'lost'`: not even their number is known. */
  readonly lostBytes?: number;
  readonly failure?: Error;
}

const OUTPUT_BYTES = 1024 * 1024;
const nothing: Outcome = { written: 0, unlinked: false };

export class Batches {
  private readonly journal: Journal;
  private readonly stagingFd: number;
  private readonly parkedDir: string;
  private readonly writeBytes: number;
  private readonly fault: (point: FaultPoint) => void;
  private readonly output = mapAnonymous(OUTPUT_BYTES);
  private readonly clock: WallClock = { seconds: 0, nanoseconds: 0 };

  constructor(options: BatchOptions) {
    this.journal = options.journal;
    this.stagingFd = options.stagingFd;
    this.parkedDir = options.parkedDir;
    this.writeBytes = options.writeBytes ?? OUTPUT_BYTES;
    this.fault = options.fault ?? (() => {});
  }

  /** The slot whose batch could neither be written nor parked: nothing moves before `resume` succeeds. */
  get blockedSlot(): number | undefined {
    return this.journal.openSlot;
  }

  /** One batch from a FIFO into its log: undefined when the FIFO is empty, `bytes` 0 when nobody can write to it any more. */
  move(log: LogTarget, stream: StreamIndex, fifoFd: number, limit: number): Moved | undefined {
    const { journal } = this;
    journal.openBatch(log.slot, stream, 'move');
    this.fault('opened');
    const bytes = movePipe(fifoFd, this.stagingFd, Math.min(limit, MAX_BATCH_BYTES));
    if (bytes === undefined || bytes === 0) {
      journal.closeBatch();
      return bytes === undefined ? undefined : { bytes: 0, ...nothing };
    }
    this.fault('spliced');
    this.note(bytes);
    this.readStaged(0, bytes);
    log.tap?.(stream, journal.bytes.subarray(journal.batchStart, journal.batchStart + bytes));
    return { bytes, ...this.write(log, stream, 'move', bytes) };
  }

  /** Writes an unfinished last line. */
  flush(log: LogTarget, stream: StreamIndex): Outcome {
    const carry = this.journal.record(log.slot).carry[stream];
    if (carry === 0) return nothing;
    this.journal.openBatch(log.slot, stream, 'flush');
    this.fault('opened');
    this.note(carry);
    return this.write(log, stream, 'flush', carry);
  }

  /** Tries again to write what is parked. */
  unpark(log: LogTarget): Outcome {
    const { parkedStream, parked, unparked } = this.journal.record(log.slot);
    if (parked === 0) return nothing;
    this.journal.openBatch(log.slot, parkedStream, 'unpark');
    this.fault('opened');
    this.note(parked - unparked);
    return this.write(log, parkedStream, 'unpark', parked - unparked);
  }

  /** Goes on with the batch of this process that could not be parked. */
  resume(log: LogTarget): Outcome {
    const batch = this.journal.batch;
    if (batch === undefined) return nothing;
    return this.write(log, batch.stream, batch.kind, batch.bytes);
  }

  /**
   * Settles what an earlier process left open. `samePipe`: the keeper that held the staging pipe then still holds it; without it the
   * staged bytes are gone, and only those noted as read are known to be good.
   */
  recover(samePipe: boolean): Recovery {
    const { journal } = this;
    const batch = journal.batch;
    if (batch === undefined) return { found: 'idle' };
    if (journal.seq(batch.slot) !== batch.seq) {
      journal.closeBatch();
      return { found: 'committed' };
    }
    const owner = journal.owner(batch.slot);
    const about = { containerId: owner.containerId, stream: batch.stream };
    const staged = batch.kind === 'move' ? bytesInPipe(this.stagingFd) : 0;
    let { bytes } = batch;
    if (bytes === 0) {
      if (staged === 0 && batch.kind === 'move') {
        journal.closeBatch();
        return samePipe ? { found: 'empty' } : { found: 'lost', ...about };
      }
      bytes = staged;
      this.note(bytes);
    }
    let lostBytes = 0;
    if (batch.kind === 'move' && staged === 0 && !samePipe) {
      lostBytes = bytes - batch.done;
      bytes = batch.done;
      // Noted, as the next recovery finds a living keeper.
      journal.noteBytes(bytes);
    } else if (staged > 0) this.readStaged(bytes - staged, bytes);
    const log = this.findTarget(batch.slot, owner.logPath);
    try {
      const { failure } = this.write(log, batch.stream, batch.kind, bytes);
      const found = lostBytes > 0 ? 'lost' : staged > 0 ? 'redo from staging' : 'redo from journal';
      return { found, ...about, ...(lostBytes > 0 && { lostBytes }), ...(failure && { failure }) };
    } finally {
      fs.closeSync(log.fd);
    }
  }

  /** The file that the open batch was being written to, also when it was rotated since: a part of the batch may be in it already. */
  private findTarget(slot: number, logPath: string): LogTarget {
    const found = findLogFile(logPath, this.journal.record(slot).inode);
    if (found !== undefined) return { slot, fd: found.fd };
    const fresh = openLogFile(logPath);
    this.journal.relocate(slot, fresh.inode, fresh.size);
    return { slot, fd: fresh.fd };
  }

  /** The time first: the byte count is what makes it count. */
  private note(bytes: number): void {
    const { seconds, nanoseconds } = readWallClock(this.clock);
    this.journal.timestamp.write(renderTimestamp(seconds, nanoseconds), 'latin1');
    this.journal.noteBytes(bytes);
    this.fault('noted');
  }

  private readStaged(from: number, to: number): void {
    const { journal } = this;
    for (let done = from; done < to; ) {
      const read = syscall('read', this.stagingFd, journal.address + journal.batchStart + done, to - done);
      if (read === 0) throw new Error(`the log staging pipe ended ${to - done} bytes early`);
      done += read;
      journal.noteDone(done);
      this.fault('read');
    }
  }

  /** Formats, writes, commits and closes the open batch. */
  private write(log: LogTarget, stream: StreamIndex, kind: BatchKind, bytes: number): Outcome {
    const { journal } = this;
    const record = journal.record(log.slot);
    const { from, to } = this.gather(log.slot, stream, kind, bytes, record);
    const stat = fs.fstatSync(log.fd);
    const unlinked = stat.nlink === 0;
    // Shorter than noted: someone truncated the log. Going on at its end leaves no hole.
    const length = Math.min(record.length, stat.size);
    const { next, written, failure } = this.writeLines(log.fd, length, { from, to, stream, flush: kind === 'flush' });
    const outcome = { written, unlinked, ...(failure && { failure }) };

    let after: LogRecord | undefined = { ...record, length: length + written };
    try {
      if (failure === undefined) after = this.keepCarry(log.slot, stream, next, to, kind, after);
      else if (kind === 'move') after = this.park(log.slot, stream, next, to, after);
      else if (kind === 'unpark') after = { ...after, unparked: record.unparked + next - from };
      else after = undefined;
    } catch (error) {
      return { ...outcome, failure: failure ?? asError(error) };
    }
    if (after !== undefined) journal.commit(log.slot, after, () => this.fault('committing'));
    this.fault('committed');
    journal.closeBatch();
    this.fault('closed');
    if (kind === 'unpark' && failure === undefined) fs.rmSync(this.parkedPath(log.slot), { force: true });
    return outcome;
  }

  /** Brings what the batch is to write together in the batch area. */
  private gather(slot: number, stream: StreamIndex, kind: BatchKind, bytes: number, record: LogRecord): { from: number; to: number } {
    const { journal } = this;
    if (kind === 'unpark') {
      fs.readFileSync(this.parkedPath(slot)).copy(journal.bytes, journal.batchRoom);
      return { from: journal.batchRoom + record.unparked, to: journal.batchRoom + record.parked };
    }
    const carry = record.carry[stream];
    const from = journal.batchStart - carry;
    const offset = journal.carryOffset(slot, stream, record.half[stream]);
    if (carry > 0) journal.bytes.copyWithin(from, offset, offset + carry);
    return { from, to: kind === 'flush' ? journal.batchStart : journal.batchStart + bytes };
  }

  private writeLines(fd: number, length: number, part: { from: number; to: number; stream: StreamIndex; flush: boolean }) {
    const request = { ...part, source: this.journal.array, target: this.output.buffer, timestamp: this.journal.timestamp };
    let next = part.from;
    let written = 0;
    for (;;) {
      const lines = formatLines({ ...request, from: next, limit: OUTPUT_BYTES });
      const { taken, failure } = this.writeOutput(fd, lines.written, length + written);
      if (failure !== undefined) {
        // Only whole lines count; what is behind them in the file is overwritten by the next try.
        const whole = formatLines({ ...request, from: next, limit: taken });
        return { next: whole.next, written: written + whole.written, failure };
      }
      next = lines.next;
      written += lines.written;
      if (!lines.limited) return { next, written, failure: undefined };
    }
  }

  private writeOutput(fd: number, bytes: number, offset: number): { taken: number; failure?: Error } {
    let taken = 0;
    while (taken < bytes) {
      const count = Math.min(bytes - taken, this.writeBytes);
      const result = trySyscall('pwrite64', fd, this.output.address + taken, count, offset + taken);
      if (result < 0) return { taken, failure: new SyscallError('pwrite64', [fd, '…', count, offset + taken], -result) };
      taken += result;
      this.fault('written');
    }
    return { taken };
  }

  private keepCarry(slot: number, stream: StreamIndex, from: number, to: number, kind: BatchKind, record: LogRecord): LogRecord {
    const { journal } = this;
    const bytes = to - from;
    const half = 1 - record.half[stream];
    if (bytes > 0) {
      journal.reserveCarry(slot, stream);
      journal.bytes.copyWithin(journal.carryOffset(slot, stream, half), from, to);
    }
    const carry = withIndex(record.carry, stream, bytes);
    const kept = { ...record, carry, half: withIndex(record.half, stream, half) };
    return kind === 'unpark' ? { ...kept, parked: 0, unparked: 0 } : kept;
  }

  /** One log that cannot be written must not hold up the others: its bytes leave the batch area for a file in the run-dir. */
  private park(slot: number, stream: StreamIndex, from: number, to: number, record: LogRecord): LogRecord {
    fs.mkdirSync(this.parkedDir, { recursive: true, mode: 0o700 });
    fs.writeFileSync(this.parkedPath(slot), this.journal.bytes.subarray(from, to), { mode: 0o600 });
    this.fault('parked');
    return { ...record, carry: withIndex(record.carry, stream, 0), parked: to - from, unparked: 0, parkedStream: stream };
  }

  private parkedPath(slot: number): string {
    return path.join(this.parkedDir, String(slot));
  }
}

function withIndex(pair: readonly [number, number], index: StreamIndex, value: number): readonly [number, number] {
  return index === 0 ? [value, pair[1]] : [pair[0], value];
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
