// Owns the CRI log format as it is written: what a program printed becomes lines of "timestamp stream tag content". Pure.
//
//   2016-10-06T00:17:09.669794202Z stdout F a whole line
//   2016-10-06T00:17:09.669794202Z stdout P the first 16384 bytes of a longer one
//
// Content is kept byte for byte, a '\r' before the newline included: what `logs` shows is what the program wrote.

/** Longer lines are split into pieces of this size, all but the last tagged P (containerd's max_container_log_line_size). */
export const CHUNK_BYTES = 16384;
/** RFC3339Nano in UTC, always nine digits: every line of a batch has the same width, so a repeated batch has the same bytes. */
export const TIMESTAMP_BYTES = 30;

export const streamNames = ['stdout', 'stderr'] as const;
export type StreamName = (typeof streamNames)[number];
/** 0: stdout, 1: stderr; the number that the journal stores. */
export type StreamIndex = 0 | 1;

const NEWLINE = 10;
const PARTIAL = 'P'.charCodeAt(0);
const TAIL_BYTES = ' stdout F '.length;
const PREFIX_BYTES = TIMESTAMP_BYTES + TAIL_BYTES;
/** The longest piece of output that formatLines writes at once: a target of this size always makes progress. */
export const LONGEST_LINE_BYTES = PREFIX_BYTES + CHUNK_BYTES + 1;

const indexOf = Uint8Array.prototype.indexOf;

export interface FormatRequest {
  /** What the program wrote, oldest first. */
  readonly source: Uint8Array;
  readonly from: number;
  readonly to: number;
  readonly target: Uint8Array;
  /** Nothing is written at or behind this index of `target`. */
  readonly limit: number;
  readonly stream: StreamIndex;
  /** TIMESTAMP_BYTES bytes. */
  readonly timestamp: Uint8Array;
  /** Writes an unfinished last line too, tagged P: readers then show it without inventing the newline that the program never wrote. */
  readonly flush?: boolean;
}

export interface Formatted {
  /** Where the rest begins that is not in `target`: an unfinished line of at most CHUNK_BYTES, or what the limit kept out. */
  readonly next: number;
  readonly written: number;
  /** The limit was reached before everything that can be written was. */
  readonly limited: boolean;
}

const prefix = Buffer.alloc(PREFIX_BYTES);

/** Formats whole lines of `source` into `target` until a line does not fit. */
export function formatLines(request: FormatRequest): Formatted {
  const { source, to, target, limit, stream, timestamp, flush = false } = request;
  const view = source.subarray(0, to);
  prefix.set(timestamp);
  prefix.write(` ${streamNames[stream]} F `, TIMESTAMP_BYTES, 'latin1');
  let from = request.from;
  let written = 0;
  while (from < to) {
    // -1 stands for "no newline yet": the pieces of a long line are then cut without searching it again and again.
    const newline: number = indexOf.call(view, NEWLINE, from);
    const end = newline < 0 ? to : newline;
    while (end - from > CHUNK_BYTES) {
      if (written + LONGEST_LINE_BYTES > limit) return { next: from, written, limited: true };
      written = writePartial(view, from, CHUNK_BYTES, target, written);
      from += CHUNK_BYTES;
    }
    if (newline < 0) {
      if (!flush) break;
      if (written + PREFIX_BYTES + (to - from) + 1 > limit) return { next: from, written, limited: true };
      written = writePartial(view, from, to - from, target, written);
      from = to;
      break;
    }
    if (written + PREFIX_BYTES + (newline + 1 - from) > limit) return { next: from, written, limited: true };
    target.set(prefix, written);
    target.set(view.subarray(from, newline + 1), written + PREFIX_BYTES);
    written += PREFIX_BYTES + newline + 1 - from;
    from = newline + 1;
  }
  return { next: from, written, limited: false };
}

function writePartial(source: Uint8Array, from: number, bytes: number, target: Uint8Array, at: number): number {
  target.set(prefix, at);
  target[at + PREFIX_BYTES - 2] = PARTIAL;
  target.set(source.subarray(from, from + bytes), at + PREFIX_BYTES);
  const end = at + PREFIX_BYTES + bytes;
  target[end] = NEWLINE;
  return end + 1;
}

let cachedSecond = Number.NaN;
let cachedText = '';

/** "2016-10-06T00:17:09.669794202Z" for seconds and nanoseconds since the epoch. */
export function renderTimestamp(seconds: number, nanoseconds: number): string {
  if (seconds !== cachedSecond) {
    cachedSecond = seconds;
    cachedText = new Date(seconds * 1000).toISOString().slice(0, 19);
  }
  return `${cachedText}.${String(nanoseconds).padStart(9, '0')}Z`;
}
