// Owns log files on disk: opened without following a link that a container could have planted, mode 0640, their folder made again when it
// vanished, and found under another name when they were rotated.
import fs from 'node:fs';
import path from 'node:path';
import { hasCode } from '../linux/errno.ts';

// kubectl's node-log readers and log collectors run in a group, not as root (containerd's mode).
const LOG_FILE_MODE = 0o640;
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = fs.constants;

/** The log of a container that shall have none: read all the same, so that it never waits and clients can attach. */
export const NO_LOG = '/dev/null';

export interface LogFile {
  readonly fd: number;
  readonly inode: bigint;
  readonly size: number;
}

function describe(fd: number, logPath: string): LogFile {
  const stat = fs.fstatSync(fd, { bigint: true });
  if (!stat.isFile() && logPath !== NO_LOG) {
    fs.closeSync(fd);
    throw new Error(`${logPath} is not a regular file`);
  }
  return { fd, inode: stat.ino, size: Number(stat.size) };
}

/** Opens the log at `logPath`, made with its folder when absent. */
export function openLogFile(logPath: string): LogFile {
  try {
    return create(logPath);
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return describe(fs.openSync(logPath, O_WRONLY | O_NOFOLLOW), logPath);
    if (!hasCode(error, 'ENOENT')) throw error;
    fs.mkdirSync(path.dirname(logPath), { recursive: true, mode: 0o755 });
    return create(logPath);
  }
}

function create(logPath: string): LogFile {
  const fd = fs.openSync(logPath, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, LOG_FILE_MODE);
  // Whatever the umask left.
  fs.fchmodSync(fd, LOG_FILE_MODE);
  return describe(fd, logPath);
}

/** The file that is or was the log at `logPath`: rotation renames it to `<logPath>.<time>`. Undefined when it is gone. */
export function findLogFile(logPath: string, inode: bigint): LogFile | undefined {
  const folder = path.dirname(logPath);
  const base = path.basename(logPath);
  let names: string[];
  try {
    names = fs.readdirSync(folder).filter((name) => name === base || name.startsWith(`${base}.`));
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
  for (const name of names) {
    const candidate = path.join(folder, name);
    const stat = fs.lstatSync(candidate, { bigint: true, throwIfNoEntry: false });
    if (stat?.isFile() && stat.ino === inode) return describe(fs.openSync(candidate, O_WRONLY | O_NOFOLLOW), candidate);
  }
  return undefined;
}
