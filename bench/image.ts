// Owns the image that pulls are measured with: the same bytes in every run, in the shape of a distribution's base with applications on
// it. Four layers, 10,000 files from a few bytes to megabytes, about 300 MB, which gzip makes about 100 MB.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { type TestEntry, tar } from '../runtime/image/testing/tar.ts';

const gzip = promisify(zlib.gzip);

interface LayerShape {
  readonly name: string;
  readonly files: number;
  readonly bytes: number;
}

const shapes: readonly LayerShape[] = [
  { name: 'usr', files: 5500, bytes: 150e6 },
  { name: 'opt', files: 3000, bytes: 90e6 },
  { name: 'srv', files: 1300, bytes: 50e6 },
  { name: 'etc', files: 200, bytes: 10e6 },
];

/** xorshift32: the same numbers everywhere. */
function createRandom(seed: number): () => number {
  let x = seed;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) / 2 ** 32;
  };
}

/** Text of frequent and rare words with incompressible stretches in it: about as compressible as programs and their data. */
function createPool(random: () => number, bytes: number): Buffer {
  const pool = Buffer.alloc(bytes);
  const words = Array.from({ length: 1000 }, () => Buffer.from(Array.from({ length: 3 + random() * 9 }, () => 97 + random() * 26)));
  for (let at = 0; at < bytes; ) {
    if (random() < 0.0009) {
      const end = Math.min(bytes, at + 700);
      while (at < end) pool[at++] = random() * 256;
    } else {
      const word = words[Math.floor(random() ** 3 * words.length)] ?? Buffer.alloc(1);
      at += word.copy(pool, at);
      if (at < bytes) pool[at++] = 32;
    }
  }
  return pool;
}

function layerEntries({ name, files, bytes }: LayerShape, random: () => number, pool: Buffer): TestEntry[] {
  // Many small files and few large ones, as everywhere.
  const weights = Array.from({ length: files }, () => Math.min(random() ** -0.9, 400));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const entries: TestEntry[] = [];
  const directories = new Set<string>();
  for (const [i, weight] of weights.entries()) {
    const directory = `${name}/share/part-${i % 40}/group-${i % 400}`;
    for (let end = directory.indexOf('/'); ; end = directory.indexOf('/', end + 1)) {
      const parent = end < 0 ? directory : directory.slice(0, end);
      if (!directories.has(parent))
        entries.push({ name: `${parent}/`, type: 'directory', mode: 0o755, uid: 0, gid: 0, mtime: 1_700_000_000 });
      directories.add(parent);
      if (end < 0) break;
    }
    const size = Math.floor((weight / total) * bytes);
    const from = Math.floor(random() * (pool.length - size - 1));
    const content = size < pool.length ? pool.subarray(Math.max(from, 0), Math.max(from, 0) + size) : pool;
    entries.push({
      name: `${directory}/file-${i}`,
      content,
      mode: i % 10 === 0 ? 0o755 : 0o644,
      uid: 0,
      gid: i % 50,
      mtime: 1_700_000_000 + i,
    });
  }
  return entries;
}

export interface BenchImage {
  /** An OCI image layout, tag "bench". */
  readonly layout: string;
  readonly packedBytes: number;
  readonly unpackedBytes: number;
  readonly files: number;
}

const digestOf = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

/** Writes the image into `layout`. Takes some seconds, most of them for gzip. */
export async function writeBenchImage(layout: string): Promise<BenchImage> {
  const blobs = path.join(layout, 'blobs/sha256');
  fs.mkdirSync(blobs, { recursive: true });
  const put = (mediaType: string, bytes: Buffer) => {
    const hex = digestOf(bytes);
    fs.writeFileSync(path.join(blobs, hex), bytes);
    return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
  };
  const random = createRandom(4711);
  const pool = createPool(random, 48e6);
  const archives = shapes.map((shape) => tar(layerEntries(shape, random, pool)));
  const packed = await Promise.all(archives.map((archive) => gzip(archive, { level: 6 })));
  const layers = packed.map((bytes) => put('application/vnd.oci.image.layer.v1.tar+gzip', bytes));
  const config = {
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    config: { Cmd: ['/usr/bin/true'] },
    rootfs: { type: 'layers', diff_ids: archives.map((archive) => `sha256:${digestOf(archive)}`) },
  };
  const configBlob = put('application/vnd.oci.image.config.v1+json', Buffer.from(JSON.stringify(config)));
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = put(mediaType, Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config: configBlob, layers })));
  fs.writeFileSync(path.join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  const tagged = { ...manifest, annotations: { 'org.opencontainers.image.ref.name': 'bench' } };
  fs.writeFileSync(path.join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [tagged] }));
  return {
    layout,
    packedBytes: layers.reduce((total, { size }) => total + size, 0),
    unpackedBytes: archives.reduce((total, { length }) => total + length, 0),
    files: shapes.reduce((total, { files }) => total + files, 0),
  };
}
