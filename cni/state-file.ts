// Owns how the network's state is kept on disk: small JSON files that are replaced whole. They are not synced: what they name lives in
// the kernel, and the boot that each names tells whether it still can.
import fs from 'node:fs/promises';
import path from 'node:path';
import { hasCode } from '../runtime/linux/errno.ts';

export async function readBootId(): Promise<string> {
  return (await fs.readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

/** Replaces the file in one step: a reader sees the old content or the new. */
export async function writeState(file: string, content: unknown): Promise<void> {
  const temporary = path.join(path.dirname(file), `.${path.basename(file)}.tmp`);
  await fs.writeFile(temporary, JSON.stringify(content));
  await fs.rename(temporary, file);
}

/** The file's content; undefined when there is no such file, or one that was cut short. */
export async function readState(file: string): Promise<unknown> {
  try {
    return JSON.parse(await fs.readFile(file, 'utf8'));
  } catch (error) {
    if (hasCode(error, 'ENOENT') || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

export async function removeState(file: string): Promise<void> {
  await fs.rm(file, { force: true });
}

/** Names of the files in a state directory, which is made if missing. What a write that was cut short left there is removed. */
export async function listState(directory: string): Promise<string[]> {
  await fs.mkdir(directory, { recursive: true, mode: 0o700 });
  const names = await fs.readdir(directory);
  const isTemporary = (name: string) => name.startsWith('.') && name.endsWith('.tmp');
  await Promise.all(names.filter(isTemporary).map((name) => removeState(path.join(directory, name))));
  return names.filter((name) => !name.startsWith('.'));
}
