// Owns where the last N lines of a log begin: read backwards from the end, so that a large log costs no more than its tail.
import { JOIN_BYTES, MAX_LINE_BYTES } from './assemble.ts';
import { type LogStream, parseLogLine } from './cri-log.ts';
import type { Generation } from './generations.ts';

const BLOCK_BYTES = 64 * 1024;
const NEWLINE = 10;

export interface TailStart {
  /** Index of the generation to begin with, and the offset in it. */
  readonly index: number;
  readonly offset: number;
  /** Lines to leave out from there: they end between the pieces of a line that is wanted. */
  readonly skipLines: number;
}

interface Place {
  readonly index: number;
  readonly offset: number;
}

/** Decides, line by line from the end, which are wanted. Pure. */
class TailSearch {
  private readonly wanted: number;
  private readonly stream: LogStream | undefined;
  private found = 0;
  private lookedBack = 0;
  private start: Place;
  private passed = 0;
  /** Lines passed over since the start was last moved. */
  private sinceStart = 0;
  private readonly seen = new Set<LogStream>();
  /** Streams with a wanted line, and whether all its pieces are known to be found. */
  private readonly complete = new Map<LogStream, boolean>();

  constructor(wanted: number, stream: LogStream | undefined, end: Place) {
    this.wanted = wanted;
    this.stream = stream;
    this.start = end;
  }

  get result(): TailStart {
    return { ...this.start, skipLines: this.passed };
  }

  /** Takes the line before the last one taken; true when the search is over. */
  take(line: Buffer, place: Place): boolean {
    if (this.giveUp(line.length)) return true;
    const piece = parseLogLine(line);
    if (piece === undefined || (this.stream !== undefined && piece.stream !== this.stream)) return false;
    const { stream } = piece;
    // The last piece of a line, also of one that was never finished.
    const endsLine = !piece.isPartial || !this.seen.has(stream);
    this.seen.add(stream);
    if (endsLine && this.found < this.wanted) {
      this.found++;
      this.complete.set(stream, false);
      this.begin(place);
      return false;
    }
    if (endsLine) {
      if (this.complete.has(stream)) this.complete.set(stream, true);
      if (!piece.isPartial) this.sinceStart++;
    } else if (this.complete.get(stream) === false) this.begin(place);
    return this.found === this.wanted && [...this.complete.values()].every(Boolean);
  }

  /** Passes over bytes; true when a line's first pieces are not worth looking for any further. */
  giveUp(bytes: number): boolean {
    if (this.found < this.wanted) return false;
    this.lookedBack += bytes;
    return this.lookedBack > JOIN_BYTES;
  }

  private begin(place: Place): void {
    this.start = place;
    this.passed += this.sinceStart;
    this.sinceStart = 0;
  }
}

/** Where to begin so that the last `lines` lines (of one stream, or of both) are shown. */
export async function findTail(generations: readonly Generation[], lines: number, stream?: LogStream): Promise<TailStart> {
  const last = generations.length - 1;
  const search = new TailSearch(lines, stream, { index: last, offset: await generations[last]!.size() });
  if (lines === 0) return search.result;
  for (let index = last; index >= 0; index--) {
    if (await searchGeneration(generations[index]!, index, search)) break;
  }
  return search.result;
}

async function searchGeneration(generation: Generation, index: number, search: TailSearch): Promise<boolean> {
  let end = await generation.size();
  // The end of a line that began in a block further forward.
  let rest: Buffer[] = [];
  let restBytes = 0;
  while (end > 0) {
    const from = Math.max(0, end - BLOCK_BYTES);
    const block = await readWhole(generation, from, end);
    let lineEnd = block.length;
    // Behind a block that ends in the middle of a line, the newline before it may be the block's last byte.
    let lookAt = restBytes > 0 ? lineEnd - 1 : lineEnd - 2;
    for (;;) {
      const before = lookAt < 0 ? -1 : block.lastIndexOf(NEWLINE, lookAt);
      if (before < 0) break;
      const line = Buffer.concat([block.subarray(before + 1, lineEnd), ...rest]);
      if (search.take(line, { index, offset: from + before + 1 })) return true;
      [rest, restBytes] = [[], 0];
      lineEnd = before + 1;
      lookAt = lineEnd - 2;
    }
    rest.unshift(block.subarray(0, lineEnd));
    restBytes += lineEnd;
    // No container runtime writes such a line.
    if (restBytes > MAX_LINE_BYTES) {
      if (search.giveUp(restBytes)) return true;
      rest = [Buffer.from('\n')];
      restBytes = 1;
    }
    end = from;
  }
  return restBytes > 0 && search.take(Buffer.concat(rest), { index, offset: 0 });
}

async function readWhole(generation: Generation, from: number, to: number): Promise<Buffer> {
  const block = Buffer.alloc(to - from);
  let got = 0;
  while (got < block.length) {
    const bytes = await generation.read(block.subarray(got), from + got);
    if (bytes === 0) break;
    got += bytes;
  }
  return block.subarray(0, got);
}
