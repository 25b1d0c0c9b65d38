// Owns where a container's log goes: the request's path, kept inside the sandbox's log directory.
import path from 'node:path';
import { invalidArgument } from '../errors.ts';

/** Absolute path of the log file; "" when the request wants no log. */
export function planLogPath(logDirectory: string, logPath: string): string {
  if (logDirectory === '' || logPath === '') return '';
  if (!path.isAbsolute(logDirectory)) throw invalidArgument(`log_directory "${logDirectory}" is not an absolute path`);
  const directory = path.normalize(logDirectory);
  const file = path.join(directory, logPath);
  if (!file.startsWith(directory.endsWith('/') ? directory : `${directory}/`) || logPath.includes('\0'))
    throw invalidArgument(`log_path "${logPath}" leads out of log_directory ${directory}`);
  return file;
}
