// Owns the check of a mount's host path; a symbolic link is followed.
import fs from 'node:fs';
import { invalidArgument } from '../errors.ts';
import { hasCode } from '../linux/errno.ts';

/** Whether the source is a directory; refused when it does not exist, before anything is made. */
export async function isDirectory(hostPath: string): Promise<boolean> {
  try {
    return (await fs.promises.stat(hostPath)).isDirectory();
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) throw invalidArgument(`mount source ${hostPath} does not exist on the host`);
    throw error;
  }
}
