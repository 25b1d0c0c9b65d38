// Owns which block devices lie below a container's files: those that io.max can limit.
import fs from 'node:fs';
import path from 'node:path';
import { invalidArgument } from '../errors.ts';
import type { IoMax } from './annotations.ts';

/** "8:1" of a path's file system; undefined where no block device is below it (tmpfs, overlay, a network). */
async function deviceOf(file: string): Promise<string | undefined> {
  const { dev } = await fs.promises.stat(file, { bigint: true }).catch(() => ({ dev: 0n }));
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xfffff000n);
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xffffff00n);
  return major === 0n ? undefined : wholeDisk(`${major}:${minor}`);
}

/** The kernel limits disks, not their partitions. */
async function wholeDisk(device: string): Promise<string> {
  const directory = await fs.promises.realpath(`/sys/dev/block/${device}`).catch(() => undefined);
  if (directory === undefined || !fs.existsSync(path.join(directory, 'partition'))) return device;
  return (await fs.promises.readFile(path.join(directory, '..', 'dev'), 'utf8')).trim();
}

/** The text of io.max, a line per device. `files`: the container's upper directory and the sources of its volumes. */
export async function findIoMax(limits: readonly IoMax[], files: readonly string[]): Promise<string> {
  const lines = await Promise.all(
    limits.map(async ({ device, settings }) => {
      if (device !== undefined) return [`${await wholeDisk(device)} ${settings}`];
      const found = new Set((await Promise.all(files.map(deviceOf))).filter((entry) => entry !== undefined));
      if (found.size === 0) throw invalidArgument(`io.max: no block device is below ${files.join(', ')}; name one as MAJOR:MINOR`);
      return [...found].map((entry) => `${entry} ${settings}`);
    }),
  );
  return lines.flat().join('\n');
}
