// Owns where tskubelet's own log goes: stderr, one short line per event, or pino's JSON for machines.
import pino from 'pino';
import { describeError } from './error.ts';

export type LogFormat = 'text' | 'json';

const LEVELS: Readonly<Record<number, string>> = { 10: 'trace', 20: 'debug', 30: '', 40: 'warning', 50: 'error', 60: 'fatal' };
const DIM = '\u001b[2m';
const RED = '\u001b[31m';
const YELLOW = '\u001b[33m';
const RESET = '\u001b[0m';

interface Line {
  readonly level: number;
  readonly time: number;
  readonly msg: string;
  readonly pod?: string;
  readonly container?: string;
  readonly err?: { readonly message: string };
}

/** `12:03:44 default/web: pulled localhost/node:host` */
export function renderLine(line: Line, color: boolean): string {
  const time = new Date(line.time).toTimeString().slice(0, 8);
  const level = LEVELS[line.level] ?? '';
  const about = [line.pod, line.container].filter((part) => part !== undefined && part !== '').join('/');
  const cause = line.err === undefined ? '' : `: ${line.err.message}`;
  const text = `${level === '' ? '' : `${level}: `}${about === '' ? '' : `${about}: `}${line.msg}${cause}`;
  if (!color) return `${time} ${text}\n`;
  const paint = line.level >= 50 ? RED : line.level >= 40 ? YELLOW : '';
  return `${DIM}${time}${RESET} ${paint}${text}${paint === '' ? '' : RESET}\n`;
}

/** Errors are logged as their sentence, causes joined: a stack trace tells a user nothing. */
export function createLogger(format: LogFormat, level = 'info'): pino.Logger {
  const options: pino.LoggerOptions = {
    level,
    base: null,
    serializers: { err: (error: unknown) => ({ message: describeError(error) }) },
  };
  if (format === 'json') return pino({ ...options, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ fd: 2, sync: true }));
  const color = process.stderr.isTTY === true && process.env['NO_COLOR'] === undefined;
  return pino(options, { write: (line: string) => void process.stderr.write(renderLine(JSON.parse(line) as Line, color)) });
}
