// Owns the daemon's one event FIFO: every shim and pause process writes its 32-byte records there, and holds it open, so that records
// wait while no daemon runs.
import fs from 'node:fs';
import net from 'node:net';
import { makeFifo, openFifoToHold, openFifoToRead } from '../linux/pipe.ts';
import { RECORD_BYTES } from '../program/records.ts';

export interface EventRecord {
  readonly recordId: number;
  readonly type: number;
  /** The whole record. records.ts says what is in it. */
  readonly bytes: Buffer;
}

export type EventListener = (record: EventRecord) => void;

export interface Events {
  /** What shims are given: readable and writable, so that it is never without a reader. */
  readonly fd: number;
  /** Records with this id go to `listener`, first those that came before anyone listened. Returns the end of it. */
  listen(recordId: number, listener: EventListener): () => void;
  close(): void;
}

/** Records of ids that nobody listens to yet (shims of an earlier daemon, until they are adopted) wait here. */
const MAX_WAITING = 10_000;

/** Opens the FIFO at `path`, making it when it is not there. */
export function openEvents(path: string): Events {
  makeFifo(path, 0o600);
  const fd = openFifoToHold(path);
  const listeners = new Map<number, EventListener>();
  let waiting: EventRecord[] = [];
  const dispatch = (record: EventRecord) => {
    const listener = listeners.get(record.recordId);
    if (listener !== undefined) listener(record);
    else if (waiting.push({ ...record, bytes: Buffer.from(record.bytes) }) > MAX_WAITING) waiting.shift();
  };
  const reader = readRecords(openFifoToRead(path), dispatch);
  return {
    fd,
    listen: (recordId, listener) => {
      listeners.set(recordId, listener);
      const early = waiting.filter((record) => record.recordId === recordId);
      if (early.length > 0) waiting = waiting.filter((record) => record.recordId !== recordId);
      for (const record of early) listener(record);
      return () => {
        if (listeners.get(recordId) === listener) listeners.delete(recordId);
      };
    },
    close: () => {
      reader.destroy();
      fs.closeSync(fd);
    },
  };
}

/** Cuts what is read from a descriptor into records. Writes of 32 bytes are atomic (PIPE_BUF), reads need not end on a record. */
export function readRecords(fd: number, dispatch: EventListener): net.Socket {
  const socket = new net.Socket({ fd, readable: true, writable: false });
  let rest: Buffer = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const whole = bytes.length - (bytes.length % RECORD_BYTES);
    for (let at = 0; at < whole; at += RECORD_BYTES) {
      const record = bytes.subarray(at, at + RECORD_BYTES);
      dispatch({ recordId: record.readUInt32LE(0), type: record.readUInt32LE(4), bytes: record });
    }
    rest = bytes.subarray(whole);
  });
  // The daemon holds the other end itself; an error here has no one else to tell.
  socket.on('error', (error) => {
    throw new Error('read of the event FIFO', { cause: error });
  });
  return socket;
}
