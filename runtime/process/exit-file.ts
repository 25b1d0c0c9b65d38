// Owns what is known of a process' end: the 32 bytes that its shim writes before it sends the event, and what they mean.
import fs from 'node:fs';
import { hasCode } from '../linux/errno.ts';
import { RECORD, RECORD_BYTES } from '../program/records.ts';

export interface ExitStatus {
  /** 0 … 255; 0 when a signal ended it. */
  readonly code: number;
  /** 0 unless a signal ended it. */
  readonly signal: number;
  /** Nanoseconds since the epoch. */
  readonly finishedAt: bigint;
}

/** A raw wait status: WEXITSTATUS and WTERMSIG of wait(2). */
export function decodeWaitStatus(raw: number): { readonly code: number; readonly signal: number } {
  const signal = raw & 0x7f;
  return signal === 0 ? { code: (raw >> 8) & 0xff, signal } : { code: 0, signal };
}

/** The status in an exit record; undefined in bytes that no shim has written. */
export function decodeExitRecord(record: Buffer): ExitStatus | undefined {
  if (record.length < RECORD_BYTES || record.readUInt32LE(4) !== RECORD.exited) return undefined;
  const finishedAt = record.readBigUInt64LE(16) * 1_000_000_000n + record.readBigUInt64LE(24);
  return { ...decodeWaitStatus(record.readUInt32LE(8)), finishedAt };
}

/** An empty exit file, its bytes allocated: a full file system cannot lose an exit. Returns it open for writing. */
export function createExitFile(path: string): number {
  const fd = fs.openSync(path, 'w', 0o600);
  try {
    fs.writeSync(fd, Buffer.alloc(RECORD_BYTES), 0, RECORD_BYTES, 0);
    return fd;
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}

/** Undefined while the process runs, when it was never started, and when its shim was killed: an exit is never invented. */
export function readExitFile(path: string): ExitStatus | undefined {
  try {
    return decodeExitRecord(fs.readFileSync(path));
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}
