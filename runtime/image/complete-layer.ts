// Owns what a layer takes from the layers below it once those are whole: the attributes of directories that it implied, the place of
// what it put below their symbolic links, and files of theirs that it links to. Runs in the worker thread, on a directory that nobody
// else writes; every path that is handed to the kernel has real directories of the layer for parents.
import fs from 'node:fs';
import { hasCode } from '../linux/errno.ts';
import { setTimes } from '../linux/file-maker.ts';
import { makeNode } from '../linux/mknod.ts';
import { getXattr, setXattr } from '../linux/xattr.ts';
import { copyDirectoryAttributes, copyXattrs, timesOf } from './clone-tree.ts';
import { joinPath } from './layer-tree.ts';
import { look } from './rootfs-file.ts';
import { quote } from './tar-header.ts';

/** A hard link to something that the layer itself does not have. */
export interface LowerLink {
  readonly path: string;
  readonly source: string;
}

export interface CompleteJob {
  readonly target: string;
  /** Parents before what lies in them. */
  readonly impliedDirectories: readonly string[];
  readonly lowerLinks: readonly LowerLink[];
  /** Directories of the layers below, topmost first. */
  readonly lowerDirs: readonly string[];
}

/** What completing adds to the layer. */
export interface Completed {
  readonly sizeBytes: number;
  readonly inodes: number;
}

const LINK_LIMIT = 40;
const OPAQUE = 'trusted.overlay.opaque';
const textOf = (path: string): string => Buffer.from(path, 'latin1').toString();

type Found =
  | { readonly kind: 'absent' }
  | { readonly kind: 'directory'; readonly path: string; readonly top: string }
  | { readonly kind: 'other'; readonly path: string; readonly file: string };

/** Where a path leads in the merged tree, links of its parents followed inside it; of the last one too where `followLast`. */
function find(dirs: readonly string[], name: string, followLast: boolean): Found {
  const rest = name.split('/');
  const parents: { dirs: readonly string[]; path: string }[] = [];
  let current = { dirs, path: '' };
  let followed = 0;
  for (let component = rest.shift(); component !== undefined; component = rest.shift()) {
    if (component === '' || component === '.') continue;
    if (component === '..') {
      current = parents.pop() ?? { dirs, path: '' };
      continue;
    }
    const seen = look(current.dirs, textOf(component));
    const path = joinPath(current.path, component);
    if (seen.kind === 'absent') return seen;
    if (seen.kind === 'directory') {
      parents.push(current);
      current = { dirs: seen.dirs, path };
      continue;
    }
    const isLast = rest.every((part) => part === '' || part === '.');
    if (!fs.lstatSync(seen.file).isSymbolicLink() || (isLast && !followLast))
      return isLast ? { kind: 'other', path, file: seen.file } : { kind: 'absent' };
    if (++followed > LINK_LIMIT) throw new Error(`${quote(name)} leads through more than ${LINK_LIMIT} symbolic links`);
    const target = fs.readlinkSync(seen.file, { encoding: 'latin1' });
    if (target.startsWith('/')) {
      parents.length = 0;
      current = { dirs, path: '' };
    }
    rest.unshift(...target.split('/'));
  }
  const [top] = current.dirs;
  return top === undefined ? { kind: 'absent' } : { kind: 'directory', path: current.path, top };
}

export function completeLayer({ target, impliedDirectories, lowerLinks, lowerDirs }: CompleteJob): Completed {
  const rootBytes = Buffer.from(`${target}/`);
  const at = (path: string): Buffer => Buffer.concat([rootBytes, Buffer.from(path === '' ? '.' : path, 'latin1')]);
  let inodes = 0;
  let sizeBytes = 0;

  /** Times of directories that something is put into or taken from: given back at the end. */
  const times = new Map<string, bigint>();
  const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));
  function keepTime(directory: string): void {
    if (!times.has(directory)) times.set(directory, fs.lstatSync(at(directory), { bigint: true }).mtimeNs);
  }

  /** Makes the directories that lead to `path` real ones of this layer, as the layers below have them. */
  function ensureParents(path: string): void {
    for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1)) {
      const parent = path.slice(0, slash);
      const stat = fs.lstatSync(at(parent), { throwIfNoEntry: false });
      if (stat === undefined) {
        keepTime(parentOf(parent));
        fs.mkdirSync(at(parent), 0o755);
        inodes++;
        inherit(parent);
      } else if (!stat.isDirectory()) throw new Error(`${quote(parent)} is not a directory, and ${quote(path)} lies below it`);
    }
  }

  function inherit(directory: string): void {
    const below = find(lowerDirs, directory, false);
    if (below.kind === 'directory') copyDirectoryAttributes(Buffer.from(below.top), at(directory));
  }

  /** The layer wrote below what is a link underneath: it meant the directory that the link leads to. Gives that one's path. */
  function moveThroughLink(directory: string): string | undefined {
    const aim = find(lowerDirs, directory, true);
    // Opaque: the layer took the link away itself.
    if (aim.kind !== 'directory' || aim.path === '' || getXattr(at(directory), OPAQUE) !== undefined) return undefined;
    ensureParents(`${aim.path}/`);
    merge(directory, aim.path);
    return aim.path;
  }

  function merge(from: string, to: string): void {
    keepTime(parentOf(from));
    keepTime(to);
    if (getXattr(at(from), OPAQUE) !== undefined) setXattr(at(to), OPAQUE, Buffer.from('y'));
    for (const name of fs.readdirSync(at(from), { encoding: 'latin1' })) {
      const [source, aim] = [joinPath(from, name), joinPath(to, name)];
      const isDirectory = (path: string) => fs.lstatSync(at(path), { throwIfNoEntry: false })?.isDirectory() ?? false;
      if (isDirectory(source) && isDirectory(aim)) merge(source, aim);
      else {
        fs.rmSync(at(aim), { recursive: true, force: true });
        fs.renameSync(at(source), at(aim));
      }
    }
    fs.rmdirSync(at(from));
    times.delete(from);
  }

  function copyUp(file: string, path: string): void {
    ensureParents(path);
    keepTime(parentOf(path));
    const [from, to] = [Buffer.from(file), at(path)];
    const stat = fs.lstatSync(from, { bigint: true });
    if (stat.isFile()) {
      fs.copyFileSync(from, to, fs.constants.COPYFILE_FICLONE | fs.constants.COPYFILE_EXCL);
      sizeBytes += Number(stat.size);
    } else if (stat.isSymbolicLink()) fs.symlinkSync(fs.readlinkSync(from, { encoding: 'buffer' }), to);
    else makeNode(to, Number(stat.mode), Number(stat.rdev));
    inodes++;
    fs.lchownSync(to, Number(stat.uid), Number(stat.gid));
    if (!stat.isSymbolicLink()) fs.chmodSync(to, Number(stat.mode & 0o7777n));
    copyXattrs(from, to);
    setTimes(to, timesOf(stat.mtimeNs));
  }

  function link({ path, source }: LowerLink): void {
    const found = find([target, ...lowerDirs], source, false);
    if (found.kind !== 'other') {
      const what = found.kind === 'directory' ? 'is a directory' : 'neither the layer nor one below it has';
      throw new Error(`${quote(path)}: it is a hard link to ${quote(source)}, which ${what}`);
    }
    if (fs.lstatSync(at(found.path), { throwIfNoEntry: false }) === undefined) copyUp(found.file, found.path);
    ensureParents(path);
    keepTime(parentOf(path));
    try {
      fs.linkSync(at(found.path), at(path));
    } catch (error) {
      if (!hasCode(error, 'EEXIST')) throw error;
    }
  }

  const moves: { readonly from: string; readonly to: string }[] = [];
  const placeOf = (path: string): string => {
    let place = path;
    for (const { from, to } of moves) if (place === from || place.startsWith(`${from}/`)) place = to + place.slice(from.length);
    return place;
  };
  for (const implied of impliedDirectories) {
    const directory = placeOf(implied);
    const below = find(lowerDirs, directory, false);
    if (below.kind === 'directory') copyDirectoryAttributes(Buffer.from(below.top), at(directory));
    else if (below.kind === 'other' && fs.lstatSync(below.file).isSymbolicLink()) {
      const to = moveThroughLink(directory);
      if (to !== undefined) moves.push({ from: directory, to });
    }
  }
  for (const { path, source } of lowerLinks) link({ path: placeOf(path), source });
  for (const [directory, mtimeNs] of times) setTimes(at(directory), timesOf(mtimeNs));
  return { sizeBytes, inodes };
}
