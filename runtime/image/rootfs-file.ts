// Owns reading files of an image through its layers, as overlayfs would show them, without a mount. Symbolic links are followed inside
// the image only: /etc/passwd -> /proc/self/… of an image must never read the host.
import fs from 'node:fs';
import path from 'node:path';
import { getXattr } from '../linux/xattr.ts';

const LINK_LIMIT = 40;

export type Seen =
  | { readonly kind: 'absent' }
  | { readonly kind: 'directory'; readonly dirs: readonly string[] }
  | { readonly kind: 'other'; readonly file: string };

/** What overlayfs shows for `name` in the merged directory whose parts are `dirs`, topmost first. */
export function look(dirs: readonly string[], name: string): Seen {
  const merged: string[] = [];
  for (const dir of dirs) {
    const file = path.join(dir, name);
    const stat = fs.lstatSync(file, { throwIfNoEntry: false });
    if (stat === undefined) continue;
    const isWhiteout = stat.isCharacterDevice() && stat.rdev === 0;
    if (!stat.isDirectory()) {
      // Something other than a directory ends the merge; it shows only when nothing above hides it.
      if (merged.length > 0 || isWhiteout) break;
      return { kind: 'other', file };
    }
    merged.push(file);
    if (getXattr(file, 'trusted.overlay.opaque')?.toString() === 'y') break;
  }
  return merged.length > 0 ? { kind: 'directory', dirs: merged } : { kind: 'absent' };
}

/** The host path of a file of the merged tree; undefined when absent or a directory. Throws on a loop of links. */
export function findRootfsFile(dirs: readonly string[], name: string): string | undefined {
  const seen = findRootfsEntry(dirs, name);
  return seen.kind === 'other' ? seen.file : undefined;
}

/** What the merged tree has at a path, links followed inside it only. */
export function findRootfsEntry(dirs: readonly string[], name: string): Seen {
  const rest = name.split('/');
  const parents: (readonly string[])[] = [];
  let current: readonly string[] = dirs;
  let followed = 0;
  for (let component = rest.shift(); component !== undefined; component = rest.shift()) {
    if (component === '' || component === '.') continue;
    if (component === '..') {
      current = parents.pop() ?? dirs;
      continue;
    }
    const seen = look(current, component);
    if (seen.kind === 'absent') return seen;
    if (seen.kind === 'directory') {
      parents.push(current);
      current = seen.dirs;
      continue;
    }
    if (!fs.lstatSync(seen.file).isSymbolicLink()) return rest.every((part) => part === '' || part === '.') ? seen : { kind: 'absent' };
    if (++followed > LINK_LIMIT) throw new Error(`${name} leads through more than ${LINK_LIMIT} symbolic links`);
    const target = fs.readlinkSync(seen.file);
    if (target.startsWith('/')) {
      parents.length = 0;
      current = dirs;
    }
    rest.unshift(...target.split('/'));
  }
  return { kind: 'directory', dirs: current };
}

/** The host path of a file below one directory, links followed inside it only. */
export function resolveInRoot(root: string, name: string): string | undefined {
  return findRootfsFile([root], name);
}

/**
 * Reads a regular file of a container's tree; `dirs` are its directories, topmost first (the upper one may be the first). undefined
 * when it is absent or not a regular file.
 */
export async function readRootfsFile(
  dirs: readonly string[],
  name: string,
  { limitBytes }: { limitBytes: number },
): Promise<Buffer | undefined> {
  const file = findRootfsFile(dirs, name);
  if (file === undefined) return undefined;
  // The upper directory may change meanwhile: never follow a link here, never wait on a FIFO.
  const handle = await fs.promises.open(file, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK);
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) return undefined;
    if (stat.size > limitBytes) throw new Error(`${name} of the image has ${stat.size} bytes; the limit is ${limitBytes}`);
    const buffer = Buffer.alloc(stat.size);
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}
