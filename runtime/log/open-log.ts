// Owns the open log of one container: its file, its one or two output streams, and what happens when the file cannot be written.
//
//          add                        failure of a write                      finish
//   (none) ───▶ pumping ─────────────▶ stalled: bytes stay in the FIFOs, ──┐  ┌───▶ draining ─▶ unfinished lines written ─▶ released
//                  ▲                   one batch is parked, tried every 1 s │  │
//                  └────────────────────────────────────────────────────────┘──┘
import fs from 'node:fs';
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import { openFifoToRead, setPipeCapacity } from '../linux/pipe.ts';
import type { Logger } from '../logger.ts';
import type { Batches, LogTarget, Outcome } from './batch.ts';
import { type StreamIndex, type StreamName, streamNames } from './cri-format.ts';
import { emptyRecord, type Journal, type LogOwner, MAX_BATCH_BYTES } from './journal.ts';
import { findLogFile, type LogFile, openLogFile } from './log-file.ts';
import { type Next, planPause, type Readiness, type Source } from './readiness.ts';

export interface OpenLogOptions {
  readonly journal: Journal;
  readonly batches: Batches;
  readonly readiness: Readiness;
  readonly logger: Logger;
  /** Asks for a call of `retry` a little later. */
  readonly stalled: () => void;
}

/** Someone who reads a container's output as it comes. The bytes are lent for the time of the call. */
export type OutputListener = (stream: StreamName, bytes: Uint8Array) => void;

export interface FinishOptions {
  /**
   * Processes outside the container's own PID namespace may still hold the pipe (a shared PID namespace): goes on reading until they
   * close it, for at most 2 s. Otherwise an empty pipe is the end: the kernel has killed every writer before init's end is reported.
   */
  readonly othersMayWrite?: boolean;
  /** Gives up on output that cannot be written (a full disk, the container removed); what is dropped is logged. */
  readonly signal?: AbortSignal;
}

const FIRST_STEP_BYTES = 64 * 1024;
const MIN_STEP_BYTES = 16 * 1024;
// A step that writes more takes longer than a turn should: very short lines grow twentyfold on their way.
const MAX_STEP_OUTPUT_BYTES = 1024 * 1024;
const NO_WRITER_PAUSE_MS = 1000;
const BLOCKED_PAUSE_MS = 1000;
const RENEW_MS = 1000;
const OTHERS_MS = 2000;
const POLL_MS = 20;

/** How much the next step may take, after one that took `bytes` and wrote `written`. */
export function planStep(stepBytes: number, bytes: number, written: number): number {
  if (written > MAX_STEP_OUTPUT_BYTES) return Math.max(stepBytes / 2, MIN_STEP_BYTES);
  if (bytes === stepBytes && written < MAX_STEP_OUTPUT_BYTES / 2) return Math.min(stepBytes * 2, MAX_BATCH_BYTES);
  return stepBytes;
}

interface OutputSource extends Source {
  readonly index: StreamIndex;
  stepBytes: number;
  pauseMs: number;
}

export class OpenLog implements LogTarget {
  readonly slot: number;
  fd: number;
  private readonly owner: LogOwner;
  private readonly options: OpenLogOptions;
  private readonly streams: OutputSource[] = [];
  private readonly listeners = new Set<OutputListener>();
  private failure: Error | undefined;
  private finishing = false;
  private closed = false;
  private renewedAt = Number.NEGATIVE_INFINITY;

  private constructor(slot: number, fd: number, owner: LogOwner, options: OpenLogOptions) {
    this.slot = slot;
    this.fd = fd;
    this.owner = owner;
    this.options = options;
  }

  /** A container's first use of a free slot: its log may have lines of an earlier journal already. */
  static create(slot: number, owner: LogOwner, options: OpenLogOptions): OpenLog {
    const file = openLogFile(owner.logPath);
    options.journal.take(slot, owner, { ...emptyRecord, inode: file.inode, length: file.size });
    return new OpenLog(slot, file.fd, owner, options);
  }

  /** Goes on where an earlier process stopped. */
  static resume(slot: number, owner: LogOwner, options: OpenLogOptions): OpenLog {
    const { journal, batches } = options;
    const file = openLogFile(owner.logPath);
    const record = journal.record(slot);
    if (file.inode !== record.inode) {
      // Renamed while no daemon ran, or by a rotation that was cut short. Unfinished lines go on in the new file.
      if (batches.blockedSlot === slot) journal.relocate(slot, file.inode, file.size);
      else {
        if (record.parked > 0) cutTornLine(findLogFile(owner.logPath, record.inode), record.length);
        journal.commit(slot, { ...record, inode: file.inode, length: file.size });
      }
    }
    const log = new OpenLog(slot, file.fd, owner, options);
    if (record.parked > 0 || batches.blockedSlot === slot) log.stall(new Error('its output was kept by an earlier tskubelet'));
    return log;
  }

  get isStalled(): boolean {
    return this.failure !== undefined;
  }

  addStream(name: StreamName, fifoPath: string): void {
    const index = name === 'stdout' ? 0 : 1;
    if (this.streams.some((stream) => stream.index === index)) return;
    const fd = openFifoToRead(fifoPath);
    setPipeCapacity(fd, MAX_BATCH_BYTES);
    const stream: OutputSource = { fd, index, stepBytes: FIRST_STEP_BYTES, pauseMs: 0, step: () => this.step(stream) };
    this.streams.push(stream);
    this.options.readiness.add(stream);
  }

  /** Every byte from now on, until the end of the log. Gives an end to the listening. */
  listen(listener: OutputListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  tap(stream: StreamIndex, bytes: Uint8Array): void {
    for (const listener of this.listeners) listener(streamNames[stream], bytes);
  }

  private step(stream: OutputSource): Next {
    const { batches } = this.options;
    if (this.failure !== undefined) return 'stop';
    if (batches.blockedSlot !== undefined) return BLOCKED_PAUSE_MS;
    const moved = batches.move(this, stream.index, stream.fd, stream.stepBytes);
    if (moved === undefined) {
      stream.pauseMs = 0;
      return 'wait';
    }
    if (moved.bytes === 0) return NO_WRITER_PAUSE_MS;
    this.heed(moved);
    if (moved.failure !== undefined) return 'stop';
    const isFull = moved.bytes === stream.stepBytes;
    stream.stepBytes = planStep(stream.stepBytes, moved.bytes, moved.written);
    stream.pauseMs = isFull ? 0 : planPause(moved.bytes, stream.pauseMs);
    return stream.pauseMs === 0 ? 'again' : stream.pauseMs;
  }

  private heed({ failure, unlinked }: Outcome): void {
    if (failure !== undefined) this.stall(failure);
    if (unlinked && !this.finishing) this.renew();
  }

  private stall(failure: Error): void {
    const { logger, stalled } = this.options;
    if (this.failure === undefined)
      logger.warn(
        { containerId: this.owner.containerId, logPath: this.owner.logPath, err: failure },
        'container log cannot be written: output is kept and tried again, the container waits once its pipe is full',
      );
    this.failure = failure;
    stalled();
  }

  /** Tries a stalled log again. */
  retry(): void {
    if (this.failure === undefined || this.closed) return;
    const { batches, journal, logger, readiness } = this.options;
    const outcome = batches.blockedSlot === this.slot ? batches.resume(this) : batches.unpark(this);
    if (outcome.unlinked && !this.finishing) this.renew();
    if (outcome.failure !== undefined || journal.record(this.slot).parked > 0) {
      this.stall(outcome.failure ?? this.failure);
      return;
    }
    this.failure = undefined;
    logger.info({ containerId: this.owner.containerId, logPath: this.owner.logPath }, 'container log is written again');
    for (const stream of this.streams) readiness.wake(stream);
  }

  /** Someone removed the log file, perhaps with its folder: what comes from now on gets a new one. */
  private renew(): void {
    const now = performance.now();
    if (now - this.renewedAt < RENEW_MS) return;
    this.renewedAt = now;
    try {
      this.reopen();
    } catch (error) {
      this.options.logger.warn({ containerId: this.owner.containerId, err: error }, 'make a removed container log again');
    }
  }

  /** After a rotation renamed the log. Throws, and keeps the old file, when a new one cannot be had. */
  reopen(): void {
    const { journal, batches } = this.options;
    if (batches.blockedSlot === this.slot) throw new Error(`${this.owner.logPath} is half written`, { cause: this.failure });
    const file = openLogFile(this.owner.logPath);
    const record = journal.record(this.slot);
    if (file.inode === record.inode) {
      fs.closeSync(file.fd);
      return;
    }
    const old = this.fd;
    journal.commit(this.slot, { ...record, inode: file.inode, length: file.size });
    this.fd = file.fd;
    if (record.parked > 0) cutTornLine({ fd: old, inode: record.inode, size: 0 }, record.length);
    else fs.closeSync(old);
  }

  /** Reads what is left, writes unfinished lines, and gives the slot back. */
  async finish({ othersMayWrite = false, signal }: FinishOptions): Promise<void> {
    const { journal, readiness } = this.options;
    this.finishing = true;
    for (const stream of this.streams) readiness.remove(stream);
    const isOver = () => this.closed || signal?.aborted === true;
    await Promise.all(this.streams.map((stream) => this.drain(stream, othersMayWrite, isOver)));
    await this.flush(isOver);
    // A pump that closes meanwhile leaves the rest to the next one.
    if (this.closed) return;
    if (signal?.aborted) this.reportDropped();
    this.close();
    journal.release(this.slot);
  }

  private async drain(stream: OutputSource, othersMayWrite: boolean, isOver: () => boolean): Promise<void> {
    const { batches, logger } = this.options;
    const deadline = performance.now() + OTHERS_MS;
    let drained = 0;
    while (!isOver()) {
      if (this.failure !== undefined || batches.blockedSlot !== undefined) {
        await delay(POLL_MS);
        continue;
      }
      const moved = batches.move(this, stream.index, stream.fd, stream.stepBytes);
      const isLate = performance.now() > deadline;
      if (moved === undefined) {
        if (!othersMayWrite || isLate) return;
        await delay(POLL_MS);
        continue;
      }
      if (moved.bytes === 0) return;
      this.heed(moved);
      stream.stepBytes = planStep(stream.stepBytes, moved.bytes, moved.written);
      drained += moved.bytes;
      // More than the pipe holds, and still no end: someone goes on writing.
      if (isLate && drained > 2 * MAX_BATCH_BYTES) {
        logger.warn(
          { containerId: this.owner.containerId, stream: streamNames[stream.index] },
          'the container has ended but another process goes on writing to its output: no longer read',
        );
        return;
      }
      await nextTurn();
    }
  }

  private async flush(isOver: () => boolean): Promise<void> {
    const { batches, logger } = this.options;
    let warned = false;
    for (const { index } of this.streams) {
      while (!isOver()) {
        const busy = this.failure !== undefined || batches.blockedSlot !== undefined;
        const failure = busy ? this.failure : batches.flush(this, index).failure;
        if (!busy && failure === undefined) break;
        if (!busy && !warned) logger.warn({ containerId: this.owner.containerId, err: failure }, 'write the last line of a container');
        warned ||= !busy;
        await delay(POLL_MS);
      }
    }
  }

  private reportDropped(): void {
    const { journal, logger } = this.options;
    const { parked, unparked, carry } = journal.record(this.slot);
    const bytes = parked - unparked + carry[0] + carry[1];
    logger.warn({ containerId: this.owner.containerId, bytes }, 'gave up on container output that its log did not take');
  }

  /** Closes the descriptors; the slot stays, and with it what the journal knows. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    for (const stream of this.streams) {
      this.options.readiness.remove(stream);
      fs.closeSync(stream.fd);
    }
    fs.closeSync(this.fd);
  }
}

/** Removes what a failed write left behind the last whole line of a file that gets no more lines. */
function cutTornLine(file: LogFile | undefined, length: number): void {
  if (file === undefined) return;
  try {
    if (fs.fstatSync(file.fd).size > length) fs.ftruncateSync(file.fd, length);
  } finally {
    fs.closeSync(file.fd);
  }
}
