// Owns copying a directory tree by hard links: a layer on a filesystem that refuses overlayfs' whiteouts starts as what lies below it.
// Its files are shared with the layer below and are safe to share: unpacking replaces files and never writes into one.
import fs from 'node:fs';
import { getXattr, setXattr } from '../linux/xattr.ts';
import { createLayerTree, joinPath, type LayerTree } from './layer-tree.ts';

const keptXattrs = ['security.capability', 'system.posix_acl_access', 'system.posix_acl_default'];

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

/** Owner, mode, access lists and times of a directory, for another one. */
export function copyDirectoryAttributes(from: Buffer, to: Buffer): void {
  const { uid, gid, mode, mtime } = fs.lstatSync(from);
  fs.lchownSync(to, uid, gid);
  fs.chmodSync(to, mode & 0o7777);
  for (const name of keptXattrs) {
    const value = getXattr(from, name);
    if (value !== undefined) setXattr(to, name, value);
  }
  fs.utimesSync(to, mtime, mtime);
}
