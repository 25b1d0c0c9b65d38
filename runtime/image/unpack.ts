// Owns how a layer's entries become files of a directory that this process made and nobody else writes. Runs in a worker thread and so
// uses synchronous calls. Whiteouts become overlayfs' own (a 0:0 character device, an opaque directory; overlayfs.rst), or take effect at
// once where the filesystem refuses those.
import fs from 'node:fs';
import { hasCode } from '../linux/errno.ts';
import { type FileTimes, makeFile, setFileTimes, setTimes } from '../linux/file-maker.ts';
import { encodeDevice, makeNode, S_IFBLK, S_IFCHR, S_IFIFO } from '../linux/mknod.ts';
import { setXattr } from '../linux/xattr.ts';
import type { LowerLink } from './complete-layer.ts';
import { cleanPath, createLayerTree, findDirectory, forget, joinPath, type LayerTree, resolveDirectory } from './layer-tree.ts';
import type { TarEntry } from './tar-header.ts';
import type { TarSink } from './tar-reader.ts';

export interface UnpackLimits {
  readonly bytes: number;
  /** Directories that the archive only implies included. */
  readonly entries: number;
  /** Of the paths of directories and links, all together: they are kept in memory while the archive is read. */
  readonly pathBytes: number;
}

export const defaultUnpackLimits: UnpackLimits = { bytes: 64 * 2 ** 30, entries: 4_000_000, pathBytes: 256 * 2 ** 20 };

/** overlay: record whiteouts for overlayfs. apply: carry them out on what is in the directory already. refuse: archives that are no layers. */
export type Whiteouts = 'overlay' | 'apply' | 'refuse';

export interface Unpacked {
  /** Content of regular files, hard links counted once. */
  readonly sizeBytes: number;
  readonly inodes: number;
  /** Directories that the archive needed but did not describe. They take the attributes of the layers below. */
  readonly impliedDirectories: readonly string[];
  /** Hard links to what only a layer below can have; made once those are there. */
  readonly lowerLinks: readonly LowerLink[];
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
  /** What this archive has made in a directory that had content before; in one that was empty, that is all that there is. */
  const made = whiteouts === 'apply' ? new Set<string>() : undefined;
  const whitedOut = new Set<string>();
  // The root is there before the archive says anything of it.
  const implied = new Set<string>(['']);
  /** Path to what it is a link to. */
  const lowerLinks = new Map<string, string>();
  const times = new Map<string, FileTimes>();
  let entries = 0;
  let pathBytes = 0;
  let bytes = 0;
  let inodes = 0;
  let file: { fd: number; entry: TarEntry; path: string } | undefined;
  /** The directory of the entry before: archives come directory by directory. */
  let lastParent: { readonly name: string; readonly path: string } | undefined;

  const at = (path: string): Buffer => Buffer.concat([rootBytes, Buffer.from(path, 'latin1')]);
  const quote = (path: string): string => JSON.stringify(Buffer.from(path, 'latin1').toString());

  function countEntry(): void {
    if (++entries > limits.entries) throw new Error(`the archive has more than ${limits.entries} entries`);
  }

  function countPath(length: number): void {
    pathBytes += length;
    if (pathBytes > limits.pathBytes)
      throw new Error(`the paths of the archive's directories and links have more than ${limits.pathBytes} bytes`);
  }

  function note(path: string): void {
    if (made === undefined) return;
    countPath(path.length);
    made.add(path);
  }

  const isMade = (path: string): boolean => made?.has(path) ?? (lowerLinks.has(path) || (exists(path) && !whitedOut.has(path)));

  function makeImplied(path: string): void {
    countEntry();
    countPath(path.length);
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
    note(path);
  }

  function remove(path: string): void {
    lastParent = undefined;
    fs.rmSync(at(path), { recursive: true, force: true });
    forget(tree, path);
    whitedOut.delete(path);
    times.delete(path);
    lowerLinks.delete(path);
    for (const link of lowerLinks.keys()) if (link.startsWith(`${path}/`)) lowerLinks.delete(link);
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
    note(path);
    lowerLinks.delete(path);
    inodes++;
  }

  function checkOwner(entry: TarEntry): void {
    if (keepOwners && !(entry.uid >= 0 && entry.uid <= MAX_ID && entry.gid >= 0 && entry.gid <= MAX_ID))
      throw new Error(`it has the owner ${entry.uid}:${entry.gid}, which is out of range`);
  }

  function setXattrs(target: Buffer, entry: TarEntry): void {
    for (const [name, value] of entry.xattrs) {
      if (!allowedXattr.test(name)) continue;
      try {
        setXattr(target, name, value);
      } catch (error) {
        // User attributes are not possible on links and some filesystems; the program does not depend on them, unlike on capabilities.
        if (name === 'security.capability' || !hasCode(error, 'EOPNOTSUPP', 'EPERM')) throw error;
      }
    }
  }

  function setAttributes(path: string, entry: TarEntry): void {
    const target = at(path);
    checkOwner(entry);
    // Before the mode: chown(2) clears the setuid bit and file capabilities.
    if (keepOwners) fs.lchownSync(target, entry.uid, entry.gid);
    if (entry.type !== 'symlink') fs.chmodSync(target, entry.mode);
    setXattrs(target, entry);
    const { mtimeSeconds, mtimeNanoseconds } = entry;
    if (entry.type === 'directory') times.set(path, { mtimeSeconds, mtimeNanoseconds });
    else setTimes(target, entry);
  }

  function makeDirectory(path: string, entry: TarEntry): void {
    if (!tree.directories.has(path)) {
      countPath(path.length);
      const opaque = whitedOut.has(path);
      place(path, (target) => fs.mkdirSync(target, 0o755));
      tree.directories.add(path);
      if (opaque) makeOpaque(path);
    }
    note(path);
    implied.delete(path);
    setAttributes(path, entry);
  }

  function hardlink(path: string, entry: TarEntry): void {
    const target = cleanPath(entry.linkName);
    const name = target.pop();
    const absent = () => new Error(`it is a hard link to ${quote(entry.linkName)}, which the layer does not have`);
    if (name === undefined) throw absent();
    const parent = findDirectory(tree, target);
    const source = joinPath(parent ?? target.join('/'), name);
    if (source === path) return;
    if (tree.directories.has(source)) throw new Error(`it is a hard link to the directory ${quote(source)}`);
    if (whitedOut.has(source)) throw absent();
    if (parent === undefined || lowerLinks.has(source) || !exists(source)) {
      // With `apply` the layers below are in the directory already.
      if (whiteouts !== 'overlay') throw absent();
      if (exists(path)) remove(path);
      countPath(path.length + source.length);
      lowerLinks.set(path, lowerLinks.get(source) ?? source);
      return;
    }
    place(path, (to) => fs.linkSync(at(source), to));
    inodes--;
    const link = tree.links.get(source);
    if (link !== undefined) rememberLink(path, link);
  }

  function rememberLink(path: string, target: string): void {
    countPath(path.length + target.length);
    tree.links.set(path, target);
  }

  const exists = (path: string): boolean => fs.lstatSync(at(path), { throwIfNoEntry: false }) !== undefined;

  function makeOpaque(path: string): void {
    if (whiteouts === 'overlay') setXattr(at(path), 'trusted.overlay.opaque', Buffer.from('y'));
    else {
      for (const name of fs.readdirSync(at(path === '' ? '.' : path), 'latin1')) {
        const child = joinPath(path, name);
        if (!isMade(child)) remove(child);
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
    if (hidden === '' || hidden === '.' || hidden === '..') throw new Error('it is not a valid whiteout');
    const path = joinPath(parent, hidden);
    // A whiteout speaks of the layers below only: what this layer has made stays, a directory without what lies below it.
    if (isMade(path)) {
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

  function makeWhole(path: string, entry: TarEntry, content: Buffer): void {
    checkOwner(entry);
    const { mode, mtimeSeconds, mtimeNanoseconds } = entry;
    const { uid, gid } = keepOwners ? entry : {};
    place(path, (target) => makeFile(target, content, { mode, uid, gid, mtimeSeconds, mtimeNanoseconds }));
    if (entry.xattrs.size > 0) setXattrs(at(path), entry);
  }

  function open(path: string, entry: TarEntry): void {
    checkOwner(entry);
    const flags = fs.constants.O_WRONLY | fs.constants.O_CREAT | fs.constants.O_EXCL | fs.constants.O_NOFOLLOW;
    place(path, (target) => {
      file = { fd: fs.openSync(target, flags, 0o600), entry, path };
    });
  }

  function close({ fd, entry, path }: NonNullable<typeof file>): void {
    try {
      if (entry.isSparse) fs.ftruncateSync(fd, entry.sizeBytes);
      if (keepOwners) fs.fchownSync(fd, entry.uid, entry.gid);
      fs.fchmodSync(fd, entry.mode);
      if (entry.xattrs.size > 0) setXattrs(at(path), entry);
      setFileTimes(fd, entry);
    } finally {
      fs.closeSync(fd);
    }
  }

  /** The path at which the entry is to be made; undefined for the root itself. */
  function locate(entryName: string): { parent: string; name: string } | undefined {
    const slash = entryName.lastIndexOf('/');
    const parentName = entryName.slice(0, Math.max(slash, 0));
    const name = entryName.slice(slash + 1);
    const plain = name !== '' && name !== '.' && name !== '..' && !name.includes('\0') && name.length < 256;
    if (plain && lastParent?.name === parentName) return { parent: lastParent.path, name };
    const components = cleanPath(entryName);
    const last = components.pop();
    if (last === undefined) return undefined;
    const parent = resolveDirectory(tree, components, makeImplied);
    if (plain) lastParent = { name: parentName, path: parent };
    return { parent, name: last };
  }

  return {
    entry(entry, whole) {
      countEntry();
      bytes += entry.storedBytes;
      if (bytes > limits.bytes) throw new Error(`the archive unpacks to more than ${limits.bytes} bytes`);
      const found = locate(entry.name);
      if (found === undefined) {
        if (entry.type === 'directory') makeDirectory('', entry);
        return;
      }
      const { parent, name } = found;
      const path = joinPath(parent, name);
      // Whatever is no plain file may change what names mean.
      if (entry.type !== 'file') lastParent = undefined;
      if (name.startsWith('.wh.') && whiteouts !== 'refuse') whiteout(parent, name);
      else if (entry.type === 'file') {
        if (whole === undefined) open(path, entry);
        else makeWhole(path, entry, whole);
      } else if (entry.type === 'directory') makeDirectory(path, entry);
      else if (entry.type === 'hardlink') hardlink(path, entry);
      else if (entry.type === 'symlink') {
        if (entry.linkName === '') throw new Error('it is a symbolic link to nothing');
        place(path, (target) => fs.symlinkSync(Buffer.from(entry.linkName, 'latin1'), target));
        rememberLink(path, entry.linkName);
        setAttributes(path, entry);
      } else makeSpecial(path, entry);
    },
    content(piece, offset) {
      if (file === undefined) return;
      for (let done = 0; done < piece.length; ) done += fs.writeSync(file.fd, piece, done, piece.length - done, offset + done);
    },
    entryEnd() {
      if (file === undefined) return;
      const whole = file;
      file = undefined;
      close(whole);
    },
    finish() {
      // Last, because making an entry changes the time of its directory.
      for (const [path, entry] of times) setTimes(at(path === '' ? '.' : path), entry);
      return {
        sizeBytes: bytes,
        inodes,
        impliedDirectories: [...implied],
        lowerLinks: [...lowerLinks].map(([path, source]) => ({ path, source })),
      };
    },
    abandon() {
      if (file !== undefined) fs.closeSync(file.fd);
      file = undefined;
    },
  };
}
