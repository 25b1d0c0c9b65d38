// Owns host images: images made of this host's own programs, so that a machine without any registry has something to run.
//
// Their one layer is a directory that no archive stands behind. Its diff ID is the digest of the recipe (every step of the plan, and of
// each host file its device, inode, size and time), so that the same host gives the same image id and a changed program a new one.
//
// Large files are hard links to the host's own. That is safe: a container sees a layer only as overlayfs' lowerdir, which the kernel never
// writes to. Opening for writing, chmod, chown, truncate and setxattr copy the file up into the container's own directory first. Nothing
// in this program opens a file of a layer for writing either (unpacking replaces files). A file that others may not read and execute is
// copied, since its mode cannot be changed without changing the host's.
import fs from 'node:fs';
import path from 'node:path';
import { hasCode } from '../linux/errno.ts';
import { readApplets } from './busybox-applets.ts';
import { digestOf } from './digest.ts';
import { commandImagePath, commandPath, type HostStep, planHostImage } from './host-plan.ts';
import { hostArchitecture } from './platform.ts';
import { findCommand, findSharedLibraries } from './shared-libraries.ts';
import type { Unpacked } from './unpack.ts';

export const nodeHostImage = 'localhost/node:host';
export const busyboxHostImage = 'localhost/busybox:host';

const LINK_FROM_BYTES = 1024 * 1024;

/** A host image before it is made. */
export interface HostImage {
  readonly steps: readonly HostStep[];
  readonly diffId: string;
  /** The image config's bytes. */
  readonly config: Buffer;
  /** Host files and what tells that one has changed. */
  readonly sources: Readonly<Record<string, string>>;
}

/** "dev:ino:size:mtime" of a host file; undefined when it is gone. */
export async function fileIdentity(file: string): Promise<string | undefined> {
  try {
    const { dev, ino, size, mtimeNs } = await fs.promises.stat(file, { bigint: true });
    return `${dev}:${ino}:${size}:${mtimeNs}`;
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}

async function describe(
  steps: readonly HostStep[],
  run: { entrypoint: readonly string[]; cmd: readonly string[]; env?: readonly string[] },
): Promise<HostImage> {
  const sources: Record<string, string> = {};
  for (const step of steps) if (step.kind === 'host-file') sources[step.source] = (await fileIdentity(step.source)) ?? 'absent';
  const diffId = digestOf(JSON.stringify({ steps, sources }));
  const config = {
    architecture: hostArchitecture(),
    os: 'linux',
    config: { Entrypoint: run.entrypoint, Cmd: run.cmd, Env: [commandPath, ...(run.env ?? [])], WorkingDir: '/' },
    rootfs: { type: 'layers', diff_ids: [diffId] },
  };
  return { steps, diffId, config: Buffer.from(JSON.stringify(config)), sources };
}

async function describeNode(): Promise<HostImage> {
  const node = process.execPath;
  const steps = planHostImage(findSharedLibraries([node]), new Map([[node, '/usr/bin/node']]));
  return describe(steps, { entrypoint: ['node'], cmd: [], env: [`NODE_VERSION=${process.versions.node}`] });
}

async function describeBusybox(): Promise<HostImage> {
  const busybox = findCommand('busybox');
  if (busybox === undefined)
    throw new Error(`image ${busyboxHostImage} cannot be made: this host has no busybox; install it, or use ${nodeHostImage}`);
  const applets = await readApplets(busybox);
  return describe(planHostImage(findSharedLibraries([busybox]), new Map([[busybox, '/usr/bin/busybox']]), applets), {
    entrypoint: [],
    cmd: applets.includes('sh') ? ['sh'] : ['/usr/bin/busybox'],
  });
}

/** The images that every host offers, by reference. */
export const builtInHostImages: Readonly<Record<string, () => Promise<HostImage>>> = {
  [nodeHostImage]: describeNode,
  [busyboxHostImage]: describeBusybox,
};

/** A host image of the user's choice; its first binary is what it runs. */
export async function describeHostImage(binaries: readonly string[]): Promise<HostImage> {
  const first = binaries[0];
  if (first === undefined) throw new Error('a host image needs at least one binary');
  const placed = new Map(binaries.map((file) => [file, commandImagePath(file)]));
  return describe(planHostImage(findSharedLibraries(binaries), placed), { entrypoint: [commandImagePath(first)], cmd: [] });
}

/** Carries out a plan below the existing empty directory `root`. */
export async function makeHostLayer(root: string, steps: readonly HostStep[]): Promise<Unpacked> {
  const total = { sizeBytes: 0, inodes: 0 };
  const modes: [string, number][] = [];
  for (const step of steps) {
    const target = path.join(root, step.path);
    total.inodes++;
    if (step.kind === 'directory') {
      await fs.promises.mkdir(target);
      modes.push([target, step.mode]);
    } else if (step.kind === 'file') {
      await fs.promises.writeFile(target, step.content, { mode: 0o644, flag: 'wx' });
      modes.push([target, 0o644]);
      total.sizeBytes += Buffer.byteLength(step.content);
    } else if (step.kind === 'symlink') await fs.promises.symlink(step.target, target);
    else if (step.kind === 'link') await fs.promises.link(path.join(root, step.to), target);
    else if (step.kind === 'host-file') total.sizeBytes += await takeFile(step.source, target);
    else await takeTree(step.source, target, total);
  }
  // At the end and not by mkdir(2), whose modes the umask cuts.
  for (const [target, mode] of modes) await fs.promises.chmod(target, mode);
  return { ...total, impliedDirectories: [], lowerLinks: [] };
}

/** Shares a host file's blocks (reflink), or the file itself when it is large and readable for all, or copies it. Gives its size. */
async function takeFile(source: string, target: string): Promise<number> {
  const file = await fs.promises.realpath(source);
  const { size, mode } = await fs.promises.stat(file);
  const { COPYFILE_EXCL, COPYFILE_FICLONE_FORCE } = fs.constants;
  const shared =
    (await succeeds(fs.promises.copyFile(file, target, COPYFILE_EXCL | COPYFILE_FICLONE_FORCE))) ||
    (size >= LINK_FROM_BYTES && (mode & 0o7555) === 0o555 && (await succeeds(fs.promises.link(file, target))));
  if (!shared) {
    await fs.promises.rm(target, { force: true });
    await fs.promises.copyFile(file, target, COPYFILE_EXCL);
  }
  if (!shared || (await fs.promises.stat(target)).nlink === 1) await fs.promises.chmod(target, (mode & 0o777) | 0o555);
  return size;
}

/** False for the refusals of filesystems that cannot share files; other errors are errors. */
async function succeeds(attempt: Promise<void>): Promise<boolean> {
  try {
    await attempt;
    return true;
  } catch (error) {
    if (hasCode(error, 'EXDEV', 'EPERM', 'EMLINK', 'EOPNOTSUPP', 'ENOTSUP', 'ENOTTY', 'EINVAL', 'ENOSYS', 'EBADF', 'EACCES')) return false;
    throw error;
  }
}

/** Copies files, directories and links that stay inside; leaves out the variants of the time zones (posix, right). */
async function takeTree(source: string, target: string, total: { sizeBytes: number; inodes: number }): Promise<void> {
  const stat = await fs.promises.stat(source).catch(() => undefined);
  if (stat?.isFile()) {
    await fs.promises.copyFile(source, target);
    await fs.promises.chmod(target, 0o644);
    total.sizeBytes += stat.size;
    total.inodes++;
  }
  if (!stat?.isDirectory()) return;
  await fs.promises.mkdir(target, { mode: 0o755 });
  total.inodes++;
  for (const entry of await fs.promises.readdir(source, { withFileTypes: true })) {
    const [from, to] = [path.join(source, entry.name), path.join(target, entry.name)];
    if (entry.isSymbolicLink()) {
      const link = await fs.promises.readlink(from);
      if (!path.isAbsolute(link)) await fs.promises.symlink(link, to);
    } else if (!['posix', 'right'].includes(entry.name)) await takeTree(from, to, total);
  }
}
