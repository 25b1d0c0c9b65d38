// Describes a directory tree entry by entry, so that two trees can be compared and a difference be read.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { getXattr, listXattrs } from '../../linux/xattr.ts';

const types: readonly (readonly [(stat: fs.BigIntStats) => boolean, string])[] = [
  [(stat) => stat.isFile(), 'file'],
  [(stat) => stat.isDirectory(), 'directory'],
  [(stat) => stat.isSymbolicLink(), 'symlink'],
  [(stat) => stat.isCharacterDevice(), 'character'],
  [(stat) => stat.isBlockDevice(), 'block'],
  [(stat) => stat.isFIFO(), 'fifo'],
];

function describe(path: Buffer): string {
  const stat = fs.lstatSync(path, { bigint: true });
  const type = types.find(([is]) => is(stat))?.[1] ?? 'other';
  const xattrs = listXattrs(path)
    .filter((name) => !name.startsWith('trusted.overlay.') && name !== 'security.selinux')
    .sort()
    .map((name) => `${name}=${getXattr(path, name)?.toString('hex')}`);
  return [
    type,
    (stat.mode & 0o7777n).toString(8),
    `${stat.uid}:${stat.gid}`,
    `mtime ${stat.mtimeNs}`,
    // Of directories, overlayfs and others count as they like.
    ...(type === 'directory' ? [] : [`links ${stat.nlink}`]),
    ...(type === 'character' || type === 'block' ? [`device ${stat.rdev}`] : []),
    ...(type === 'symlink' ? [`-> ${fs.readlinkSync(path, { encoding: 'latin1' })}`] : []),
    ...(type === 'file' ? [`${stat.size} bytes`, createHash('sha256').update(fs.readFileSync(path)).digest('hex').slice(0, 12)] : []),
    ...xattrs,
  ].join(', ');
}

/** Every path below `root`, and "" for itself, with all that is known of it. Paths are latin1. */
export function describeTree(root: string): Record<string, string> {
  const found: Record<string, string> = {};
  const at = (path: string) => Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path === '' ? '.' : path, 'latin1')]);
  const visit = (path: string): void => {
    found[path] = describe(at(path));
    if (!fs.lstatSync(at(path)).isDirectory()) return;
    for (const name of fs.readdirSync(at(path), { encoding: 'latin1' }).sort()) visit(path === '' ? name : `${path}/${name}`);
  };
  visit('');
  return found;
}
