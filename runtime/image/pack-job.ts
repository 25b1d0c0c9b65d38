// Owns the way back from a layer's directory to its archive: overlayfs' whiteouts become those of the image-spec, and the same directory
// gives the same bytes. Runs inside the worker thread, so it uses synchronous calls.
import { createHash, type Hash } from 'node:crypto';
import fs from 'node:fs';
import { pipeline } from 'node:stream/promises';
import zlib from 'node:zlib';
import { getXattr, listXattrs } from '../linux/xattr.ts';
import { encodeTarHeader, TAR_END, type TarFile, tarPadding } from './tar-writer.ts';

export interface PackJob {
  /** The layer's directory. */
  readonly source: string;
  /** A new file for the gzipped archive. */
  readonly file: string;
}

export interface Packed {
  /** Of the archive as it is in the file, and of the uncompressed one. */
  readonly digest: string;
  readonly sizeBytes: number;
  readonly diffId: string;
}

/** A fair trade for content that is packed once and read often; the last levels cost three times as much for two per cent. */
const GZIP_LEVEL = 5;
const READ_BYTES = 1 << 18;
const NANO = 1_000_000_000n;
const packedXattr = /^(user\.(?!overlay\.)|security\.capability$|system\.posix_acl_(access|default)$)/;

export async function runPackJob({ source, file }: PackJob): Promise<Packed> {
  const diff = createHash('sha256');
  const blob = createHash('sha256');
  let sizeBytes = 0;
  await pipeline(
    hashed(walkLayer(source), diff),
    zlib.createGzip({ level: GZIP_LEVEL, chunkSize: READ_BYTES }),
    async function* (chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        blob.update(chunk);
        sizeBytes += chunk.length;
        yield chunk;
      }
    },
    fs.createWriteStream(file, { flags: 'wx', mode: 0o600 }),
  );
  return { digest: `sha256:${blob.digest('hex')}`, diffId: `sha256:${diff.digest('hex')}`, sizeBytes };
}

function* hashed(chunks: Iterable<Buffer>, hash: Hash): Generator<Buffer> {
  for (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
}

/** The archive of a directory, entries in the order of their bytes, each directory before what it holds. */
export function* walkLayer(root: string): Generator<Buffer> {
  const links = new Map<string, string>();
  const at = (path: string) => Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path, 'latin1')]);

  function* pack(path: string): Generator<Buffer> {
    const target = at(path);
    const stat = fs.lstatSync(target, { bigint: true });
    const sizeBytes = Number(stat.size);
    const mtimeNanoseconds = Number(((stat.mtimeNs % NANO) + NANO) % NANO);
    const mtimeSeconds = Number((stat.mtimeNs - BigInt(mtimeNanoseconds)) / NANO);
    const owner = { mode: Number(stat.mode & 0o7777n), uid: Number(stat.uid), gid: Number(stat.gid) };
    const parent = path.slice(0, path.lastIndexOf('/') + 1);
    const entry = (type: TarFile['type'], more: Partial<TarFile> = {}): Buffer =>
      encodeTarHeader({
        ...{ name: path, type, ...owner, linkName: '', major: 0, minor: 0 },
        ...{ sizeBytes: 0, mtimeSeconds, mtimeNanoseconds, xattrs: readXattrs(target), ...more },
      });
    if (stat.isDirectory()) {
      // The root directory is an entry too: what the container sees as "/" has an owner and a mode.
      yield entry('directory', { name: path === '' ? './' : `${path}/` });
      if (getXattr(target, 'trusted.overlay.opaque')?.toString() === 'y') yield whiteout(`${path === '' ? '' : `${path}/`}.wh..wh..opq`);
      for (const name of fs.readdirSync(target, 'latin1').sort()) yield* pack(path === '' ? name : `${path}/${name}`);
      return;
    }
    if (stat.isCharacterDevice() && stat.rdev === 0n) {
      yield whiteout(`${parent}.wh.${path.slice(parent.length)}`);
      return;
    }
    if (stat.nlink > 1n) {
      const identity = `${stat.dev}:${stat.ino}`;
      const first = links.get(identity);
      if (first !== undefined) {
        yield entry('hardlink', { linkName: first, xattrs: new Map() });
        return;
      }
      links.set(identity, path);
    }
    if (stat.isSymbolicLink()) yield entry('symlink', { linkName: fs.readlinkSync(target, 'latin1') });
    else if (stat.isFIFO()) yield entry('fifo');
    else if (stat.isCharacterDevice()) yield entry('character', decodeDevice(Number(stat.rdev)));
    else if (stat.isBlockDevice()) yield entry('block', decodeDevice(Number(stat.rdev)));
    else if (stat.isFile()) {
      yield entry('file', { sizeBytes });
      yield* content(target, sizeBytes);
      yield tarPadding(sizeBytes);
    }
  }

  yield* pack('');
  yield TAR_END;
}

function whiteout(name: string): Buffer {
  const nobody = { mode: 0, uid: 0, gid: 0, linkName: '', major: 0, minor: 0, sizeBytes: 0, mtimeSeconds: 0, mtimeNanoseconds: 0 };
  return encodeTarHeader({ name, type: 'file', xattrs: new Map(), ...nobody });
}

function* content(target: Buffer, sizeBytes: number): Generator<Buffer> {
  const fd = fs.openSync(target, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
  try {
    for (let done = 0; done < sizeBytes; ) {
      // A piece of its own each time: the one before may still be on its way through the compressor.
      const piece = Buffer.allocUnsafe(Math.min(READ_BYTES, sizeBytes - done));
      const read = fs.readSync(fd, piece, 0, piece.length, done);
      if (read === 0) throw new Error(`${target} became shorter while it was packed`);
      done += read;
      yield piece.subarray(0, read);
    }
  } finally {
    fs.closeSync(fd);
  }
}

function readXattrs(target: Buffer): Map<string, Buffer> {
  const names = listXattrs(target).filter((name) => packedXattr.test(name));
  return new Map(names.map((name) => [name, getXattr(target, name) ?? Buffer.alloc(0)]));
}

/** As stat(2) gives it to user space (glibc's gnu_dev_major and gnu_dev_minor), below 32 bits. */
function decodeDevice(device: number): { major: number; minor: number } {
  return { major: (device >>> 8) & 0xfff, minor: (device & 0xff) | ((device >>> 12) & 0xfff00) };
}
