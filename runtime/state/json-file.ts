// Owns how a record gets onto the disk: written beside, synced, renamed over. A reader sees the old or the new record, never a part.
import fs from 'node:fs';
import { hasCode } from '../linux/errno.ts';

/** Replaces `path` by `value` as JSON. Synchronous: records are small and must be on disk before the effect that they announce. */
export function writeJsonFile(path: string, value: unknown): void {
  const temporary = `${path}.new`;
  const fd = fs.openSync(temporary, 'w', 0o600);
  try {
    fs.writeSync(fd, JSON.stringify(value));
  } finally {
    fs.closeSync(fd);
  }
  fs.renameSync(temporary, path);
}

/** The same, and on disk when it returns: for exit codes, which exist nowhere else once the tmpfs is gone. */
export async function writeJsonFileDurably(path: string, value: unknown): Promise<void> {
  const temporary = `${path}.new`;
  const file = await fs.promises.open(temporary, 'w', 0o600);
  try {
    await file.writeFile(JSON.stringify(value));
    await file.datasync();
  } finally {
    await file.close();
  }
  await fs.promises.rename(temporary, path);
}

/** The parsed file; undefined when it is absent or was cut short by a power loss (a record is only renamed whole otherwise). */
export function readJsonFile(path: string): unknown {
  let text: string;
  try {
    text = fs.readFileSync(path, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
