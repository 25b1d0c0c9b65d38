// Owns the archive of a checkpoint. It has the layout that CRI-O and containerd write (config.dump, spec.dump, checkpoint/,
// rootfs-diff.tar, deleted.files, dump.log) and one file of ours, externals.dump, without which nothing is restored here.
import fs from 'node:fs';
import path from 'node:path';
import { failedPrecondition, invalidArgument, notFound } from '../errors.ts';
import { runCommand } from '../linux/command.ts';
import { hasCode } from '../linux/errno.ts';
import { makeNode, S_IFCHR } from '../linux/mknod.ts';
import type { Externals } from './externals.ts';
import { CHECKPOINT_RUNTIME, type ConfigDump } from './metadata.ts';

/** Overlays keep what they know of a directory in extended attributes. */
const XATTRS = ['--xattrs', '--xattrs-include=*'];

/** criu's images, in the archive and in a directory that it is unpacked to. */
export const IMAGES = 'checkpoint';
const EXTERNALS = 'externals.dump';
const DELETED = 'deleted.files';
const ROOTFS = 'rootfs-diff.tar';

export function writeExternals(stage: string, externals: Externals): Promise<void> {
  return fs.promises.writeFile(path.join(stage, EXTERNALS), JSON.stringify(externals), { mode: 0o600 });
}

export async function readExternals(directory: string): Promise<Externals> {
  const text = await fs.promises.readFile(path.join(directory, EXTERNALS), 'utf8').catch((error: unknown) => {
    throw hasCode(error, 'ENOENT') ? failedPrecondition(`the checkpoint has no ${EXTERNALS}: an older version has made it`) : error;
  });
  return JSON.parse(text) as Externals;
}

/** What the container has changed in its root: the overlay's upper directory, and the names that it has deleted (whiteouts). */
export async function packRootfs(upperDir: string, stage: string, timeoutMs: number): Promise<void> {
  const deleted = await listWhiteouts(upperDir, '');
  await fs.promises.writeFile(path.join(stage, DELETED), JSON.stringify(deleted), { mode: 0o600 });
  const excluded = path.join(stage, 'excluded');
  await fs.promises.writeFile(excluded, deleted.map((name) => `./${name}\n`).join(''));
  await tar(['-c', ...XATTRS, '-f', path.join(stage, ROOTFS), '-X', excluded, '-C', upperDir, '.'], timeoutMs);
  await fs.promises.rm(excluded);
}

/** Into the upper directory of a new container. */
export async function unpackRootfs(directory: string, upperDir: string, timeoutMs: number): Promise<void> {
  await tar(['-x', ...XATTRS, '-p', '--numeric-owner', '-f', path.join(directory, ROOTFS), '-C', upperDir], timeoutMs);
  const deleted = JSON.parse(await fs.promises.readFile(path.join(directory, DELETED), 'utf8')) as readonly string[];
  for (const name of deleted) {
    if (path.isAbsolute(name) || name.split('/').includes('..')) throw failedPrecondition(`${DELETED} of the checkpoint names "${name}"`);
    await fs.promises.mkdir(path.join(upperDir, path.dirname(name)), { recursive: true });
    makeNode(path.join(upperDir, name), S_IFCHR);
  }
}

/** overlayfs: a character device 0/0 hides what is below it. */
async function listWhiteouts(directory: string, prefix: string): Promise<string[]> {
  const entries = await fs.promises.readdir(path.join(directory, prefix), { withFileTypes: true });
  const found = await Promise.all(
    entries.map(async (entry) => {
      const name = path.join(prefix, entry.name);
      if (entry.isDirectory()) return listWhiteouts(directory, name);
      if (!entry.isCharacterDevice()) return [];
      return (await fs.promises.lstat(path.join(directory, name))).rdev === 0 ? [name] : [];
    }),
  );
  return found.flat().sort();
}

/** Complete under its name, or not there. It holds the container's memory: for root alone. */
export async function pack(stage: string, location: string, timeoutMs: number): Promise<void> {
  const partial = `${location}.partial`;
  try {
    await fs.promises.writeFile(partial, '', { mode: 0o600 });
    await tar(['-c', '-f', partial, '-C', stage, '.'], timeoutMs);
    await fs.promises.rename(partial, location);
  } catch (error) {
    await fs.promises.rm(partial, { force: true });
    throw error;
  }
}

/** Whose checkpoint an archive is. What is restored has the credentials that the archive says: so it must be root's alone. */
export async function readArchive(archive: string): Promise<ConfigDump> {
  await checkOwner(archive);
  const { exitCode, stdout, stderr } = await runCommand(['tar', '-x', '-O', '-f', archive, './config.dump']);
  if (exitCode !== 0) throw failedPrecondition(`${archive} is no checkpoint of a container: ${stderr.toString().trim().split('\n')[0]}`);
  const config = JSON.parse(stdout.toString()) as ConfigDump;
  if (config.runtime !== CHECKPOINT_RUNTIME)
    throw failedPrecondition(`${archive} is a checkpoint of ${config.runtime}: its processes have namespaces that cannot be joined here`);
  return config;
}

async function checkOwner(archive: string): Promise<void> {
  const stat = await fs.promises.stat(archive).catch((error: unknown) => {
    throw hasCode(error, 'ENOENT', 'ENOTDIR') ? notFound(`there is no checkpoint ${archive}`) : error;
  });
  if (!stat.isFile()) throw invalidArgument(`checkpoint ${archive} is not a file`);
  if (stat.uid !== 0 || (stat.mode & 0o022) !== 0)
    throw failedPrecondition(`checkpoint ${archive} can be written by others than root: whoever writes it chooses what runs as root here`);
}

export async function unpack(archive: string, directory: string, timeoutMs: number): Promise<void> {
  await fs.promises.mkdir(directory, { recursive: true, mode: 0o700 });
  await tar(['-x', '-p', '-f', archive, '-C', directory], timeoutMs);
}

export async function tar(args: readonly string[], timeoutMs: number): Promise<void> {
  const { exitCode, stderr } = await runCommand(['tar', ...args], { timeoutMs });
  if (exitCode !== 0) throw new Error(`tar: ${stderr.toString().trim() || `exit code ${exitCode}`}`);
}
