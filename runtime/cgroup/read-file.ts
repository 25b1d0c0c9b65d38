// Reads one file of a cgroup. What a kernel or hierarchy does not have, and what has gone, is absent.
import fs from 'node:fs';
import path from 'node:path';
import { hasCode } from '../linux/errno.ts';

export async function readFile(directory: string | undefined, file: string): Promise<string | undefined> {
  if (directory === undefined) return undefined;
  try {
    return await fs.promises.readFile(path.join(directory, file), 'utf8');
  } catch (error) {
    // EOPNOTSUPP: pressure files of a kernel that was started with psi=0.
    if (hasCode(error, 'ENOENT', 'ENODEV', 'EOPNOTSUPP', 'ENOTSUP')) return undefined;
    throw error;
  }
}
