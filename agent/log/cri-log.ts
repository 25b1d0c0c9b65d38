// Owns the CRI log format as it is read: one line into its parts, and timestamps of any width. Pure.
//
//   2016-10-06T00:17:09.669794202Z stdout F content
//   time, stream, tags (the first is P or F, more may follow a ':'), content; P: the next piece of the stream goes on without a newline
//
// Lines of Docker's json-file driver are understood too, as the kubelet's reader does: {"log":"…\n","stream":"stdout","time":"…"}

export type LogStream = 'stdout' | 'stderr';

export interface LogPiece {
  /** As it stands in the file. */
  readonly time: string;
  readonly stream: LogStream;
  readonly isPartial: boolean;
  /** Without the newline that ended the line. */
  readonly content: Buffer;
}

const SPACE = 32;
const NEWLINE = 10;
const BRACE = '{'.charCodeAt(0);
const PARTIAL = 'P'.charCodeAt(0);
/** Time, stream and tags end within this many bytes. */
const HEADER_BYTES = 128;

/** Parses a line, with or without its newline; undefined when it is no log line. */
export function parseLogLine(line: Buffer): LogPiece | undefined {
  if (line[0] === BRACE) return parseJsonLine(line);
  const header = line.subarray(0, HEADER_BYTES);
  const timeEnd = header.indexOf(SPACE);
  const streamEnd = header.indexOf(SPACE, timeEnd + 1);
  const tagsEnd = header.indexOf(SPACE, streamEnd + 1);
  if (timeEnd < 0 || streamEnd < 0 || tagsEnd < 0) return undefined;
  const stream = header.toString('latin1', timeEnd + 1, streamEnd);
  if (stream !== 'stdout' && stream !== 'stderr') return undefined;
  const time = header.toString('latin1', 0, timeEnd);
  if (!timePattern.test(time)) return undefined;
  // "P", or "P:" and further tags.
  const tagBytes = tagsEnd - streamEnd - 1;
  const isPartial = header[streamEnd + 1] === PARTIAL && (tagBytes === 1 || header[streamEnd + 2] === 58);
  const end = line.at(-1) === NEWLINE ? line.length - 1 : line.length;
  return { time, stream, isPartial, content: line.subarray(tagsEnd + 1, end) };
}

function parseJsonLine(line: Buffer): LogPiece | undefined {
  let entry: unknown;
  try {
    entry = JSON.parse(line.toString('utf8'));
  } catch {
    return undefined;
  }
  if (typeof entry !== 'object' || entry === null) return undefined;
  const { log, stream, time } = entry as Record<string, unknown>;
  if (typeof log !== 'string' || typeof time !== 'string' || !timePattern.test(time)) return undefined;
  if (stream !== 'stdout' && stream !== 'stderr') return undefined;
  const isPartial = !log.endsWith('\n');
  return { time, stream, isPartial, content: Buffer.from(isPartial ? log : log.slice(0, -1)) };
}

/** Date and time, up to nine digits of a second, and a zone. RFC 3339 */
const timePattern = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/;

/** Nanoseconds since the epoch; undefined when `text` is no RFC 3339 time. */
export function parseTimestamp(text: string): bigint | undefined {
  const match = timePattern.exec(text);
  if (match === null) return undefined;
  const milliseconds = Date.parse(`${match[1]}${match[3]}`);
  if (Number.isNaN(milliseconds)) return undefined;
  return BigInt(milliseconds) * 1_000_000n + BigInt((match[2] ?? '').padEnd(9, '0'));
}

/** The same time with exactly nine digits, as `logs --timestamps` prints it: columns stay aligned, text sorts as time. */
export function widenTimestamp(text: string): string {
  return text.replace(timePattern, (_, seconds: string, digits: string | undefined, zone: string) => {
    return `${seconds}.${(digits ?? '').padEnd(9, '0')}${zone}`;
  });
}
