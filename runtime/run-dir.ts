// Owns that run-dir is a tmpfs: what lies there must not outlive the boot, and the log journal in it is written for every line.
// Where its filesystem is another one, a tmpfs of our own is mounted on it; a file in root-dir says so before mount(2) does.
import fs from 'node:fs';
import path from 'node:path';
import { MNT_DETACH, MS_NODEV, MS_NOEXEC, MS_NOSUID } from './linux/constants.ts';
import { hasCode } from './linux/errno.ts';
import { syscall } from './linux/syscall.ts';
import { readJsonFile, writeJsonFile } from './state/json-file.ts';

const TMPFS_MAGIC = 0x01021994;
const UMOUNT_NOFOLLOW = 8;
// As systemd gives /run. Only FIFOs, small records and the log journal lie here; the tmpfs of /dev/shm are mounts of their own.
const OPTIONS = 'mode=0711,size=20%';

export interface RunDir {
  /** Takes away what the runtime made in it. */
  empty(): void;
  /** Then, without any file of ours open in it: the mount, if it is ours, and the directory, if nothing else is in it. */
  remove(): void;
}

/** What the runtime makes in it beside the sockets. */
const CONTENT = ['sandboxes', 'containers', 'events', 'log-journal', 'log-staging', 'log-parked', 'network', 'boot_id'];

interface Note {
  readonly mounted: string;
}

function readNote(file: string): Note | undefined {
  const note = readJsonFile(file);
  return typeof note === 'object' && note !== null && 'mounted' in note && typeof note.mounted === 'string'
    ? { mounted: note.mounted }
    : undefined;
}

const isTmpfs = (directory: string) => fs.statfsSync(directory).type === TMPFS_MAGIC;

/** Called under the lock of `rootDir`. */
export function openRunDir(runDir: string, rootDir: string): RunDir {
  const noteFile = path.join(rootDir, 'run-dir.json');
  const note = readNote(noteFile);
  if (note !== undefined && note.mounted !== runDir && fs.existsSync(note.mounted) && isTmpfs(note.mounted))
    throw new Error(`what ${rootDir} holds was started with --run-dir ${note.mounted}: use that one again, or another --root-dir`);
  fs.mkdirSync(runDir, { recursive: true, mode: 0o711 });
  if (!isTmpfs(runDir)) {
    writeJsonFile(noteFile, { mounted: runDir });
    try {
      syscall('mount', 'tskubelet', runDir, 'tmpfs', MS_NODEV | MS_NOEXEC | MS_NOSUID, OPTIONS);
    } catch (cause) {
      fs.rmSync(noteFile, { force: true });
      throw new Error(`run-dir ${runDir} is not on a tmpfs, and mounting one there is refused; choose a --run-dir on a tmpfs`, { cause });
    }
  }
  return {
    empty() {
      for (const name of CONTENT) fs.rmSync(path.join(runDir, name), { recursive: true, force: true });
    },
    remove() {
      fs.rmSync(path.join(runDir, 'lock'), { force: true });
      if (readNote(noteFile)?.mounted === runDir) {
        // Detached: this process' own mapping of the log journal keeps the file system until it ends.
        if (isTmpfs(runDir)) syscall('umount2', runDir, UMOUNT_NOFOLLOW | MNT_DETACH);
        fs.rmSync(noteFile, { force: true });
      }
      unlessIn(['ENOTEMPTY', 'ENOENT', 'EBUSY'], () => fs.rmdirSync(runDir));
    },
  };
}

function unlessIn(codes: readonly string[], act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!hasCode(error, ...codes)) throw error;
  }
}
