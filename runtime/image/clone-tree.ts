// Owns copying a directory tree by hard links: a layer on a filesystem that refuses overlayfs' whiteouts starts as what lies below it.
// Its files are shared with the layer below and are safe to share: unpacking replaces files and never writes into one.
import fs from 'node:fs';
import { setTimes } from '../linux/file-maker.ts';
import { getXattr, listXattrs, setXattr } from '../linux/xattr.ts';
import { createLayerTree, joinPath, type LayerTree } from './layer-tree.ts';

/** Makes `target` (an existing empty directory) a copy of `base`; gives its directories and links. */
export function cloneTree(base: string, target: string): LayerTree {
  const tree = createLayerTree();
  const at = (root: string, path: string) => Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path === '' ? '.' : path, 'latin1')]);

  function visit(directory: string): void {
    for (const entry of fs.readdirSync(at(base, directory), { withFileTypes: true, encoding: 'latin1' as BufferEncoding })) {
      const path = joinPath(directory, entry.name);
      if (entry.isDirectory()) {
        fs.mkdirSync(at(target, path), 0o755);
        tree.directories.add(path);
        visit(path);
      } else {
        fs.linkSync(at(base, path), at(target, path));
        if (entry.isSymbolicLink()) tree.links.set(path, fs.readlinkSync(at(base, path), 'latin1' as BufferEncoding));
      }
    }
    copyDirectoryAttributes(at(base, directory), at(target, directory));
  }
  visit('');
  return tree;
}

/** Owner, mode, extended attributes and time of a directory, for another one. */
export function copyDirectoryAttributes(from: Buffer, to: Buffer): void {
  const { uid, gid, mode, mtimeNs } = fs.lstatSync(from, { bigint: true });
  fs.lchownSync(to, Number(uid), Number(gid));
  fs.chmodSync(to, Number(mode & 0o7777n));
  copyXattrs(from, to);
  setTimes(to, timesOf(mtimeNs));
}

/** All but overlayfs' own: those speak of one layer. */
export function copyXattrs(from: Buffer, to: Buffer): void {
  for (const name of listXattrs(from)) {
    const value = /^(trusted|user)\.overlay\./.test(name) ? undefined : getXattr(from, name);
    if (value !== undefined) setXattr(to, name, value);
  }
}

/** Nanoseconds since 1970 as whole seconds, rounded down, and the rest. */
export function timesOf(mtimeNs: bigint): { mtimeSeconds: number; mtimeNanoseconds: number } {
  const rest = ((mtimeNs % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  return { mtimeSeconds: Number((mtimeNs - rest) / 1_000_000_000n), mtimeNanoseconds: Number(rest) };
}
