// Owns what a reader sees of a log: pieces joined to lines, the stream and time asked for, timestamps, a limit of bytes. Pure.
import { type LogPiece, type LogStream, parseLogLine, parseTimestamp, widenTimestamp } from './cri-log.ts';

export interface AssembleOptions {
  readonly stream?: LogStream | undefined;
  /** Nanoseconds since the epoch: older lines are left out. */
  readonly since?: bigint | undefined;
  readonly timestamps?: boolean | undefined;
  readonly limitBytes?: number | undefined;
  /** Lines to leave out first: what a search for the tail had to begin too early for. */
  readonly skipLines?: number | undefined;
}

/** A longer line is given out in parts: its pieces are then no longer kept together between those of the other stream. */
export const JOIN_BYTES = 1024 * 1024;
/** What is longer is written by no container runtime, and not shown. */
export const MAX_LINE_BYTES = 4 * JOIN_BYTES;
const NEWLINE = 10;

interface Unfinished {
  readonly time: string;
  pieces: Buffer[];
  bytes: number;
  /** Its beginning was given out already. */
  begun: boolean;
  dropped: boolean;
}

export class Assembler {
  /** The limit of bytes is reached: nothing more will come. */
  isFull = false;
  private readonly options: AssembleOptions;
  private skipLines: number;
  private left: number;
  private fragment: Buffer = Buffer.alloc(0);
  private readonly unfinished: Partial<Record<LogStream, Unfinished>> = {};
  private output: Buffer[] = [];

  constructor(options: AssembleOptions) {
    this.options = options;
    this.skipLines = options.skipLines ?? 0;
    this.left = options.limitBytes ?? Number.POSITIVE_INFINITY;
    this.isFull = this.left <= 0;
  }

  /** Takes the next bytes of the file, cut anywhere, and gives what can be shown. */
  push(bytes: Buffer): Buffer {
    const all = this.fragment.length === 0 ? bytes : Buffer.concat([this.fragment, bytes]);
    let from = 0;
    while (!this.isFull) {
      const end = all.indexOf(NEWLINE, from);
      if (end < 0) break;
      this.take(all.subarray(from, end));
      from = end + 1;
    }
    // A copy: the reader uses its block again.
    this.fragment = all.length - from > MAX_LINE_BYTES ? Buffer.alloc(0) : Buffer.from(all.subarray(from));
    return this.flushOutput();
  }

  /** Another file comes next: half a line at the end of this one will not be finished. */
  dropFragment(): void {
    this.fragment = Buffer.alloc(0);
  }

  /** The end of the log: lines that were never finished are shown as they are. */
  end(): Buffer {
    const piece = this.fragment.length === 0 ? undefined : parseLogLine(this.fragment);
    if (piece !== undefined) this.takePiece({ ...piece, isPartial: true });
    this.dropFragment();
    for (const stream of ['stdout', 'stderr'] as const) {
      const line = this.unfinished[stream];
      if (line !== undefined) this.emit(line, false);
      delete this.unfinished[stream];
    }
    return this.flushOutput();
  }

  private take(line: Buffer): void {
    const piece = parseLogLine(line);
    // What is no log line is not the container's output.
    if (piece !== undefined) this.takePiece(piece);
  }

  private takePiece(piece: LogPiece): void {
    const { stream, isPartial, content } = piece;
    if (this.options.stream !== undefined && stream !== this.options.stream) return;
    const line = this.unfinished[stream] ?? { time: piece.time, pieces: [], bytes: 0, begun: false, dropped: this.isTooOld(piece.time) };
    // Pieces that wait are copied, as the block that they are in is used again.
    line.pieces.push(isPartial ? Buffer.from(content) : content);
    line.bytes += content.length;
    if (isPartial) {
      this.unfinished[stream] = line;
      if (line.bytes > JOIN_BYTES && this.skipLines === 0) this.emit(line, false);
      return;
    }
    delete this.unfinished[stream];
    if (this.skipLines > 0) this.skipLines--;
    else this.emit(line, true);
  }

  private isTooOld(time: string): boolean {
    const { since } = this.options;
    return since !== undefined && (parseTimestamp(time) ?? since) < since;
  }

  private emit(line: Unfinished, isWhole: boolean): void {
    if (!line.dropped) {
      if (this.options.timestamps && !line.begun) this.write(Buffer.from(`${widenTimestamp(line.time)} `, 'latin1'));
      for (const piece of line.pieces) this.write(piece);
      if (isWhole) this.write(newline);
    }
    line.begun = true;
    line.pieces = [];
    line.bytes = 0;
  }

  private write(bytes: Buffer): void {
    const part = bytes.length > this.left ? bytes.subarray(0, this.left) : bytes;
    this.left -= part.length;
    this.output.push(part);
    if (this.left <= 0) this.isFull = true;
  }

  private flushOutput(): Buffer {
    const output = Buffer.concat(this.output);
    this.output = [];
    return output;
  }
}

const newline = Buffer.from('\n');
