// Owns how a layer's entries become files of a directory that this process made and nobody else writes. Runs in a worker thread and so
// uses synchronous calls. Whiteouts become overlayfs' own (a 0:0 character device, an opaque directory; overlayfs.rst), or take effect at
// once where the filesystem refuses those.
import fs from 'node:fs';
import { hasCode } from '../linux/errno.ts';
import { encodeDevice, makeNode, S_IFBLK, S_IFCHR, S_IFIFO } from '../linux/mknod.ts';
import { setXattr } from '../linux/xattr.ts';
import { cleanPath, createLayerTree, forget, joinPath, type LayerTree, resolveDirectory } from './layer-tree.ts';
import type { TarEntry, TarSink } from './tar-reader.ts';

export interface UnpackLimits {
  readonly bytes: number;
  readonly entries: number;
}

export const defaultUnpackLimits: UnpackLimits = { bytes: 64 * 2 ** 30, entries: 4_000_000 };

/** overlay: record whiteouts for overlayfs. apply: carry them out on what is in the directory already. refuse: archives that are no layers. */
export type Whiteouts = 'overlay' | 'apply' | 'refuse';

export interface Unpacked {
  /** Content of regular files, hard links counted once. */
  readonly sizeBytes: number;
  readonly inodes: number;
  /** Directories that the archive needed but did not describe. They take the attributes of the layers below. */
  readonly impliedDirectories: readonly string[];
}

export interface Unpacker extends TarSink {
  finish(): Unpacked;
  /** Closes what is open, after a failure. */
  abandon(): void;
}

const MAX_ID = 2 ** 32 - 2;
const OPAQUE = '.wh..wh..opq';
// What an image may bring. trusted.* is overlayfs' own namespace: a layer that could set it could redirect into other layers.
const allowedXattr = /^(user\.(?!overlay\.)|security\.capability$|system\.posix_acl_(access|default)$)/;

/** Fills the existing directory `root`. With `tree`, that directory has content already. */
export function createUnpacker(
  root: string,
  options: { whiteouts: Whiteouts; limits?: UnpackLimits; tree?: LayerTree; keepOwners?: boolean },
): Unpacker {
  const { whiteouts, limits = defaultUnpackLimits, tree = createLayerTree(), keepOwners = true } = options;
  const rootBytes = Buffer.from(`${root}/`);
  const made = new Set<string>();
  const whitedOut = new Set<string>();
  const implied = new Set<string>();
  const times = new Map<string, number>();
  let entries = 0;
  let bytes = 0;
  let inodes = 0;
  let file: { fd: number; entry: TarEntry; path: string } | undefined;

  const at = (path: string): Buffer => Buffer.concat([rootBytes, Buffer.from(path, 'latin1')]);
  const quote = (path: string): string => JSON.stringify(Buffer.from(path, 'latin1').toString());

  function makeImplied(path: string): void {
    const opaque = whitedOut.has(path);
    if (opaque) remove(path);
    try {
      fs.mkdirSync(at(path), 0o755);
    } catch (cause) {
      if (hasCode(cause, 'EEXIST')) throw new Error(`an entry lies below ${quote(path)}, which is not a directory`, { cause });
      throw cause;
    }
    if (opaque) makeOpaque(path);
    inodes++;
    implied.add(path);
    made.add(path);
  }

  function remove(path: string): void {
    fs.rmSync(at(path), { recursive: true, force: true });
    forget(tree, path);
    whitedOut.delete(path);
    times.delete(path);
  }

  /** Makes something at `path`, in place of what an earlier entry or layer has put there. */
  function place(path: string, make: (target: Buffer) => void): void {
    try {
      make(at(path));
    } catch (error) {
      if (!hasCode(error, 'EEXIST')) throw error;
      remove(path);
      make(at(path));
    }
    made.add(path);
    inodes++;
  }

  function setAttributes(path: string, entry: TarEntry): void {
    const target = at(path);
    if (keepOwners) {
      if (!(entry.uid >= 0 && entry.uid <= MAX_ID && entry.gid >= 0 && entry.gid <= MAX_ID)) {
        throw new Error(`${quote(path)} has the owner ${entry.uid}:${entry.gid}, which is out of range`);
      }
      // Before the mode: chown(2) clears the setuid bit and file capabilities.
      fs.lchownSync(target, entry.uid, entry.gid);
    }
    if (entry.type !== 'symlink') fs.chmodSync(target, entry.mode);
    for (const [name, value] of entry.xattrs) {
      if (!allowedXattr.test(name)) continue;
      try {
        setXattr(target, name, value);
      } catch (error) {
        // User attributes are not possible on links and some filesystems; the program does not depend on them, unlike on capabilities.
        if (name === 'security.capability' || !hasCode(error, 'EOPNOTSUPP', 'EPERM')) throw error;
      }
    }
    if (entry.type === 'directory') times.set(path, entry.mtimeSeconds);
    else fs.lutimesSync(target, entry.mtimeSeconds, entry.mtimeSeconds);
  }

  function makeDirectory(path: string, entry: TarEntry): void {
    if (!tree.directories.has(path)) {
      const opaque = whitedOut.has(path);
      place(path, (target) => fs.mkdirSync(target, 0o755));
      tree.directories.add(path);
      if (opaque) makeOpaque(path);
    }
    made.add(path);
    implied.delete(path);
    setAttributes(path, entry);
  }

  function hardlink(path: string, entry: TarEntry): void {
    const target = cleanPath(entry.linkName);
    const name = target.pop();
    const absent = (): never => {
      throw new Error(`${quote(path)} is a hard link to ${quote(entry.linkName)}, which the layer does not have`);
    };
    if (name === undefined) absent();
    const source = joinPath(resolveDirectory(tree, target, absent), name ?? '');
    if (source === path) return;
    if (tree.directories.has(source)) throw new Error(`${quote(path)} is a hard link to the directory ${quote(source)}`);
    if (whitedOut.has(source)) absent();
    try {
      place(path, (to) => fs.linkSync(at(source), to));
    } catch (error) {
      if (hasCode(error, 'ENOENT')) absent();
      throw error;
    }
    inodes--;
    const link = tree.links.get(source);
    if (link !== undefined) tree.links.set(path, link);
  }

  function makeOpaque(path: string): void {
    if (whiteouts === 'overlay') setXattr(at(path), 'trusted.overlay.opaque', Buffer.from('y'));
    else {
      for (const name of fs.readdirSync(at(path === '' ? '.' : path), 'latin1')) {
        const child = joinPath(path, name);
        if (!made.has(child)) remove(child);
      }
    }
  }

  function whiteout(parent: string, name: string): void {
    if (name === OPAQUE) {
      makeOpaque(parent);
      return;
    }
    // aufs' own bookkeeping (.wh..wh.plnk and the like) means nothing here.
    if (name.startsWith('.wh..wh.')) return;
    const hidden = name.slice('.wh.'.length);
    if (hidden === '' || hidden === '.' || hidden === '..') throw new Error(`${quote(joinPath(parent, name))} is not a valid whiteout`);
    const path = joinPath(parent, hidden);
    // A whiteout speaks of the layers below only: what this layer has made stays, a directory without what lies below it.
    if (made.has(path)) {
      if (tree.directories.has(path)) makeOpaque(path);
      return;
    }
    if (whiteouts === 'apply') {
      remove(path);
      return;
    }
    makeNode(at(path), S_IFCHR, 0);
    whitedOut.add(path);
    inodes++;
  }

  function makeSpecial(path: string, entry: TarEntry): void {
    const kind = entry.type === 'character' ? S_IFCHR : entry.type === 'block' ? S_IFBLK : S_IFIFO;
    const device = entry.type === 'fifo' ? 0 : encodeDevice(entry.major, entry.minor);
    place(path, (target) => makeNode(target, kind | 0o600, device));
    setAttributes(path, entry);
  }

  function open(path: string, entry: TarEntry): void {
    const flags = fs.constants.O_WRONLY | fs.constants.O_CREAT | fs.constants.O_EXCL | fs.constants.O_NOFOLLOW;
    place(path, (target) => {
      file = { fd: fs.openSync(target, flags, 0o600), entry, path };
    });
  }

  return {
    entry(entry) {
      if (++entries > limits.entries) throw new Error(`the archive has more than ${limits.entries} entries`);
      bytes += entry.sizeBytes;
      if (bytes > limits.bytes) throw new Error(`the archive unpacks to more than ${limits.bytes} bytes`);
      const components = cleanPath(entry.name);
      const name = components.pop();
      if (name === undefined) {
        if (entry.type === 'directory') makeDirectory('', entry);
        return;
      }
      const parent = resolveDirectory(tree, components, makeImplied);
      const path = joinPath(parent, name);
      if (name.startsWith('.wh.') && whiteouts !== 'refuse') whiteout(parent, name);
      else if (entry.type === 'file') open(path, entry);
      else if (entry.type === 'directory') makeDirectory(path, entry);
      else if (entry.type === 'hardlink') hardlink(path, entry);
      else if (entry.type === 'symlink') {
        if (entry.linkName === '') throw new Error(`${quote(path)} is a symbolic link to nothing`);
        place(path, (target) => fs.symlinkSync(Buffer.from(entry.linkName, 'latin1'), target));
        tree.links.set(path, entry.linkName);
        setAttributes(path, entry);
      } else makeSpecial(path, entry);
    },
    content(piece) {
      if (file === undefined) return;
      for (let done = 0; done < piece.length; ) done += fs.writeSync(file.fd, piece, done);
    },
    entryEnd() {
      if (file === undefined) return;
      const { fd, entry, path } = file;
      file = undefined;
      fs.closeSync(fd);
      setAttributes(path, entry);
    },
    finish() {
      // Last, because making an entry changes the time of its directory.
      for (const [path, seconds] of times) fs.utimesSync(at(path === '' ? '.' : path), seconds, seconds);
      return { sizeBytes: bytes, inodes, impliedDirectories: [...implied] };
    },
    abandon() {
      if (file !== undefined) fs.closeSync(file.fd);
      file = undefined;
    },
  };
}
