// Owns hostPath volumes: the check of their type, and what the …OrCreate types make. Nothing is undone: the path is the host's.
import fs from 'node:fs/promises';
import path from 'node:path';

interface Kind {
  readonly test: (stats: Awaited<ReturnType<typeof fs.stat>>) => boolean;
  readonly words: string;
}

const directory: Kind = { test: (stats) => stats.isDirectory(), words: 'a directory' };
const file: Kind = { test: (stats) => stats.isFile(), words: 'a file' };

const KINDS: Readonly<Record<string, Kind>> = {
  DirectoryOrCreate: directory,
  Directory: directory,
  FileOrCreate: file,
  File: file,
  Socket: { test: (stats) => stats.isSocket(), words: 'a socket' },
  CharDevice: { test: (stats) => stats.isCharacterDevice(), words: 'a character device' },
  BlockDevice: { test: (stats) => stats.isBlockDevice(), words: 'a block device' },
};

/** "" means: do not look. The container's creation then says what is missing. */
export async function ensureHostPath(hostPath: string, type: string): Promise<void> {
  if (type === '') return;
  const kind = KINDS[type];
  if (kind === undefined) throw new Error(`hostPath type "${type}" is unknown`);
  if (type === 'DirectoryOrCreate') await createDirectory(hostPath);
  if (type === 'FileOrCreate') await createFile(hostPath);
  let stats: Awaited<ReturnType<typeof fs.stat>>;
  try {
    stats = await fs.stat(hostPath);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw new Error(`look at hostPath ${hostPath}`, { cause: error });
    throw new Error(`hostPath type check failed: ${hostPath} does not exist`);
  }
  if (!kind.test(stats)) throw new Error(`hostPath type check failed: ${hostPath} is not ${kind.words}`);
}

async function createDirectory(hostPath: string): Promise<void> {
  try {
    await fs.mkdir(hostPath, { recursive: true, mode: 0o755 });
  } catch (error) {
    // Something else is there: the type check says so better.
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return;
    throw new Error(`create directory ${hostPath} of a hostPath volume`, { cause: error });
  }
}

/** As the kubelet: the file, never its directories. */
async function createFile(hostPath: string): Promise<void> {
  try {
    await (await fs.open(hostPath, 'wx', 0o644)).close();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    if (code === 'ENOENT')
      throw new Error(`create file ${hostPath} of a hostPath volume: its directory ${path.dirname(hostPath)} does not exist`);
    throw new Error(`create file ${hostPath} of a hostPath volume`, { cause: error });
  }
}
