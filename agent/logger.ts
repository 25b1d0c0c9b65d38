// Owns where tskubelet's own log goes: stderr, one short line per event, or pino's JSON for machines.
import pino from 'pino';
import { describeError } from './error.ts';

export type LogFormat = 'text' | 'json';
export type LogLevel = 'debug' | 'info' | 'warn';

const LEVELS: Readonly<Record<number, string>> = { 10: 'trace', 20: 'debug', 30: '', 40: 'warning', 50: 'error', 60: 'fatal' };
const DIM = '\u001b[2m';
const RED = '\u001b[31m';
const YELLOW = '\u001b[33m';
const RESET = '\u001b[0m';

/** What pino gives for a line; beyond these names a line may have any field. */
interface Line {
  readonly level: number;
  readonly time: number;
  readonly msg: string;
  readonly pod?: string;
  readonly container?: string;
  /** The sentence of an error. */
  readonly err?: string;
  readonly stack?: string;
  readonly [field: string]: unknown;
}

/** Told elsewhere in the line, or for machines only: the sentence has them in its own words. */
const TOLD = new Set('level time msg pod container err stack event severity file document fieldPath directory'.split(' '));

/** 64 hex digits tell a person no more than 12 do. */
const shorten = (value: unknown) => String(value).replace(/\b[0-9a-f]{64}\b/g, (id) => id.slice(0, 12));

/** `12:03:44 default/web: pulled localhost/node:host` */
export function renderLine(line: Line, color: boolean): string {
  const time = new Date(line.time).toTimeString().slice(0, 8);
  const level = LEVELS[line.level] ?? '';
  const about = [line.pod, line.container].filter((part) => part !== undefined && part !== '').join('/');
  const extras = Object.entries(line).filter(
    ([field, value]) => !TOLD.has(field) && value !== undefined && value !== '' && !line.msg.includes(String(value)),
  );
  const text = [
    level === '' ? '' : `${level}: `,
    about === '' ? '' : `${shorten(about)}: `,
    line.msg,
    line.err === undefined ? '' : `: ${line.err}`,
    extras.length === 0 ? '' : ` (${extras.map(([field, value]) => `${field} ${renderValue(value)}`).join(', ')})`,
    line.stack === undefined ? '' : `\n${line.stack}`,
  ].join('');
  if (!color) return `${time} ${text}\n`;
  const paint = line.level >= 50 ? RED : line.level >= 40 ? YELLOW : '';
  return `${DIM}${time}${RESET} ${paint}${text}${paint === '' ? '' : RESET}\n`;
}

function renderValue(value: unknown): string {
  return typeof value === 'object' ? JSON.stringify(value) : shorten(value);
}

interface LoggerOptions {
  /** False: what happens to pods is not told here, only what is wrong with tskubelet and the machine. */
  readonly events?: boolean;
}

/** Errors are logged as their sentence, causes joined: a stack trace tells a user nothing. */
export function createLogger(format: LogFormat, level: LogLevel = 'info', { events = true }: LoggerOptions = {}): pino.Logger {
  const options: pino.LoggerOptions = {
    level,
    base: null,
    serializers: { err: describeError },
    hooks: {
      logMethod(args, method) {
        const [fields] = args as unknown as [unknown];
        if (events || !(typeof fields === 'object' && fields !== null && 'event' in fields)) method.apply(this, args);
      },
    },
  };
  if (format === 'json')
    return pino(
      { ...options, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) } },
      pino.destination({ fd: 2, sync: true }),
    );
  const color = process.stderr.isTTY === true && process.env.NO_COLOR === undefined;
  return pino(options, { write: (line: string) => void process.stderr.write(renderLine(JSON.parse(line) as Line, color)) });
}
