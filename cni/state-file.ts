// Owns how the network's state is kept on disk: small JSON files that are replaced whole. They are not synced: what they name lives in
// the kernel, and the boot that each names tells whether it still can. Writes are synchronous: on a tmpfs they take
// microseconds, a thread's turn takes more.
import fs from 'node:fs';
import path from 'node:path';
import { hasCode } from '../runtime/linux/errno.ts';

export async function readBootId(): Promise<string> {
  return (await fs.promises.readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

/** Replaces the file in one step: a reader sees the old content or the new. */
export function writeState(file: string, content: unknown): void {
  const temporary = path.join(path.dirname(file), `.${path.basename(file)}.tmp`);
  fs.writeFileSync(temporary, JSON.stringify(content));
  fs.renameSync(temporary, file);
}

/** The file's content; undefined when there is no such file, or one that was cut short. */
export async function readState(file: string): Promise<unknown> {
  try {
    return JSON.parse(await fs.promises.readFile(file, 'utf8'));
  } catch (error) {
    if (hasCode(error, 'ENOENT') || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Absent is success. */
export function removeState(file: string): void {
  try {
    fs.unlinkSync(file);
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
  }
}

/** Names of the files in a state directory, which is made if missing. What a write that was cut short left there is removed. */
export async function listState(directory: string): Promise<string[]> {
  await fs.promises.mkdir(directory, { recursive: true, mode: 0o700 });
  const names = await fs.promises.readdir(directory);
  const isTemporary = (name: string) => name.startsWith('.') && name.endsWith('.tmp');
  for (const name of names.filter(isTemporary)) removeState(path.join(directory, name));
  return names.filter((name) => !name.startsWith('.'));
}
