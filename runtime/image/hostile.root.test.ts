// Archives that were made to do harm, through the thread that unpacks layers and the completion against lower layers: nothing outside
// the layer is touched, and every refusal names the entry.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import zlib from 'node:zlib';
import { renderError } from '../errors.ts';
import { type TestEntry, tar } from './testing/tar.ts';
import { describeTree } from './testing/tree.ts';
import { createUnpackPool, type UnpackPool } from './unpack-pool.ts';

const MEBIBYTE = 2 ** 20;
let base = '';
let pool: UnpackPool;
before(() => {
  base = fs.mkdtempSync(path.join(os.tmpdir(), 'hostile-'));
  pool = createUnpackPool(2);
});
after(async () => {
  await pool.close();
  fs.rmSync(base, { recursive: true, force: true });
});

interface Place {
  /** Holds the layer, the blob, a lower layer and what must stay as it is. */
  readonly dir: string;
  readonly layer: string;
  readonly outside: string;
  readonly before: Record<string, string>;
}

let count = 0;
function makePlace(): Place {
  const dir = path.join(base, String(count++));
  const [layer, outside, lower] = ['layer', 'outside', 'lower'].map((name) => path.join(dir, name)) as [string, string, string];
  for (const each of [layer, outside, lower]) fs.mkdirSync(each, { recursive: true });
  fs.writeFileSync(path.join(outside, 'victim'), 'untouched', { mode: 0o600 });
  fs.mkdirSync(path.join(lower, 'etc'));
  fs.writeFileSync(path.join(lower, 'etc/passwd'), 'lower');
  fs.symlinkSync('/', path.join(lower, 'root'));
  fs.symlinkSync(outside, path.join(lower, 'away'));
  return { dir, layer, outside, before: { ...describeTree(outside), ...describeTree(lower) } };
}

/** Unpacks, completes, and checks the surroundings; gives the refusal, or undefined. */
async function unpack(
  place: Place,
  archive: Buffer,
  limits = { bytes: MEBIBYTE, entries: 1000, pathBytes: MEBIBYTE },
): Promise<string | undefined> {
  const blob = path.join(place.dir, 'blob');
  fs.writeFileSync(blob, archive);
  let refusal: string | undefined;
  try {
    const unpacked = await pool.run({ blob, target: place.layer, whiteouts: 'overlay', keepOwners: true, limits });
    await pool.complete({ target: place.layer, lowerDirs: [path.join(place.dir, 'lower')], ...unpacked });
  } catch (error) {
    refusal = renderError(error);
  }
  assert.deepEqual({ ...describeTree(place.outside), ...describeTree(path.join(place.dir, 'lower')) }, place.before);
  assert.deepEqual(fs.readdirSync(place.dir).sort(), ['blob', 'layer', 'lower', 'outside']);
  return refusal;
}

const link = (name: string, linkName: string): TestEntry => ({ name, type: 'symlink', linkName });
const hard = (name: string, linkName: string): TestEntry => ({ name, type: 'hardlink', linkName });
const many = (length: number, entry: (i: number) => TestEntry) => tar(Array.from({ length }, (_, i) => entry(i)));
const halved = (bytes: Buffer) => bytes.subarray(0, bytes.length >> 1);
const noise = Buffer.from(Array.from({ length: 20_000 }, (_, i) => (i * i * 31) >> 3));

const refused: readonly (readonly [what: string, archive: Buffer, sentence: RegExp])[] = [
  [
    'a path that climbs out',
    tar([{ name: 'a/../../outside/victim', content: 'x' }]),
    /"a\/\.\.\/\.\.\/outside\/victim" leads out of the layer/,
  ],
  [
    'a pax path that climbs out',
    tar([{ name: 'a', pax: { path: '../outside/victim' }, content: 'x' }]),
    /"\.\.\/outside\/victim" leads out/,
  ],
  [
    'a GNU long name that climbs out',
    tar([{ name: 'L', type: 'L', content: '../outside/evil\0' }, { name: 'a' }]),
    /"\.\.\/outside\/evil" leads out/,
  ],
  [
    'a GNU long link that climbs out',
    tar([{ name: 'K', type: 'K', content: '../outside/victim\0' }, hard('a', 'b')]),
    /leads out of the layer/,
  ],
  ['a name with a NUL byte', tar([{ name: 'a', pax: { path: 'a\0b' } }]), /"a\\u0000b" contains a NUL byte/],
  ['a hard link into the host', tar([hard('a', '/etc/hostname')]), /"a": it is a hard link to "etc\/hostname", which neither/],
  [
    'a hard link through a link of the lower layer',
    tar([hard('a', 'away/victim')]),
    /"a": it is a hard link to "away\/victim", which neither/,
  ],
  ['a hard link to a directory of the lower layer', tar([hard('a', 'etc')]), /"a": it is a hard link to "etc", which is a directory/],
  [
    'a size beyond every limit',
    tar([{ name: 'huge', pax: { size: '1152921504606846975' } }]),
    /"huge": (it has the size|the archive unpacks)/,
  ],
  ['a base-256 size beyond every limit', tar([{ name: 'huge', pax: { size: '900000000000000' } }]), /"huge": the archive unpacks to more/],
  [
    'more content than allowed',
    zlib.gzipSync(tar([{ name: 'zeros', content: Buffer.alloc(8 * MEBIBYTE) }])),
    /"zeros": the archive unpacks to more/,
  ],
  [
    'a bomb of zstd',
    zlib.zstdCompressSync(tar([{ name: 'zeros', content: Buffer.alloc(8 * MEBIBYTE) }])),
    /"zeros": the archive unpacks to more/,
  ],
  [
    'a bomb behind the end',
    zlib.gzipSync(Buffer.concat([tar([{ name: 'a' }]), Buffer.alloc(16 * MEBIBYTE)])),
    /unpacks to more than \d+ bytes/,
  ],
  [
    'a bomb of extended headers',
    zlib.gzipSync(many(40, (i) => ({ name: `${i}`, type: 'x', content: Buffer.alloc(MEBIBYTE) }))),
    /unpacks to more than/,
  ],
  ['more entries than allowed', many(1001, (i) => ({ name: `file-${i}` })), /"file-1000": the archive has more than 1000 entries/],
  [
    'gzip that is cut',
    halved(zlib.gzipSync(tar([{ name: 'first' }, { name: 'cut', content: noise }]))),
    /cannot be decompressed inside "cut"/,
  ],
  [
    'zstd that is cut',
    halved(zlib.zstdCompressSync(tar([{ name: 'cut', content: noise }]))),
    /zstd stream is truncated|cannot be decompressed/,
  ],
  ['an archive that is cut', halved(tar([{ name: 'cut', content: noise }])), /truncated inside "cut"/],
  ['a damaged header', Buffer.concat([tar([{ name: 'good' }], { end: false }), Buffer.alloc(512, 7)]), /after "good" has a wrong checksum/],
  ['a directory tower', tar([{ name: 'd/'.repeat(2000) }]), /is longer than 3500 bytes/],
  [
    'a device number that no kernel knows',
    tar([{ name: 'dev', type: 'block', major: 0o100000 }]),
    /"dev": the device number 32768:0 is out/,
  ],
  [
    'an attribute that is too large',
    tar([{ name: 'f', pax: { 'SCHILY.xattr.user.x': Buffer.alloc(70_000) } }]),
    /"f": the extended attribute user\.x/,
  ],
  ['an owner out of range', tar([{ name: 'f', pax: { gid: '99999999999' } }]), /"f": it has the owner/],
];

for (const [what, archive, sentence] of refused) {
  test(`${what}: refused by name`, async () => {
    assert.match((await unpack(makePlace(), archive)) ?? 'it was accepted', sentence);
  });
}

test('links that are written through stay inside of the layer', async () => {
  const place = makePlace();
  const { outside } = place;
  const refusal = await unpack(
    place,
    tar([
      link('s', path.join(outside, 'victim')),
      hard('h', 's'),
      { name: 'h', content: 'over the link' },
      { name: 's', content: 'over the other' },
      { name: 'd/', type: 'directory' },
      link('d', outside),
      { name: 'd/victim', content: 'inside' },
      link('up', '../../../../..'),
      { name: `up${outside}/victim`, content: 'inside' },
      hard('e/y', 'etc/passwd'),
      link('e', '../outside'),
      // A link of the layer below that leads to its root, and one that leads out.
      { name: 'root/made', content: 'inside' },
      { name: 'away/victim', content: 'inside' },
    ]),
  );
  assert.equal(refusal, undefined);
  assert.equal(fs.readFileSync(path.join(place.layer, 'h'), 'utf8'), 'over the link');
  assert.equal(fs.readFileSync(path.join(place.layer, outside, 'victim'), 'utf8'), 'inside');
});

test('what stands in the place of a file is replaced, not opened', async () => {
  const place = makePlace();
  const refusal = await unpack(
    place,
    tar([
      { name: 'pipe', type: 'fifo' },
      { name: 'pipe', content: 'file' },
      { name: 'null', type: 'character', major: 1, minor: 3 },
      { name: 'null', content: 'file' },
      { name: 'late/file', content: 'x' },
      { name: 'late/', type: 'directory', mode: 0o700, mtime: 7 },
      hard('early', 'target'),
      { name: 'target', content: 'later' },
      { name: '.wh.target' },
      hard('d/x', 'etc/passwd'),
      { name: 'd', content: 'in the place of the directory' },
    ]),
  );
  assert.equal(refusal, undefined);
  const tree = describeTree(place.layer);
  assert.match(tree.pipe ?? '', /^file/);
  assert.match(tree.null ?? '', /^file/);
  assert.match(tree.late ?? '', /^directory, 700, .*mtime 7000000000/);
  assert.match(tree.early ?? '', /^file, .*links 2/);
  assert.match(tree.d ?? '', /^file/);
});
