import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { pack } from 'tar-stream';
import { decodePax, type TarEntry } from './tar-header.ts';
import { TarReader } from './tar-reader.ts';
import { encodePax, refusal, tar } from './testing/tar.ts';

function read(archive: Buffer, pieceBytes = archive.length): { entry: TarEntry; content: string }[] {
  const found: { entry: TarEntry; content: string }[] = [];
  let ends = 0;
  const reader = new TarReader({
    entry: (entry, whole) => {
      found.push({ entry, content: whole?.toString('latin1') ?? '' });
      if (whole !== undefined) ends++;
    },
    content: (piece, offset) => {
      const last = found.at(-1);
      if (last !== undefined) last.content = last.content.padEnd(offset, '\0') + piece.toString('latin1');
    },
    entryEnd: () => {
      ends++;
      const last = found.at(-1);
      if (last !== undefined) last.content = last.content.padEnd(last.entry.sizeBytes, '\0');
    },
  });
  for (let at = 0; at < archive.length; at += pieceBytes) reader.push(archive.subarray(at, at + pieceBytes));
  reader.end();
  assert.equal(ends, found.length);
  return found;
}

test('TarReader reads what another writer wrote, in pieces of any size', async () => {
  const archive = await new Promise<Buffer>((resolve) => {
    const pieces: Buffer[] = [];
    const stream = pack();
    stream.on('data', (piece) => pieces.push(piece as Buffer));
    stream.on('end', () => resolve(Buffer.concat(pieces)));
    stream.entry({ name: 'a/', type: 'directory', mode: 0o755 });
    stream.entry({ name: `a/${'long'.repeat(80)}`, mtime: new Date(1_700_000_000_000) }, 'content');
    stream.entry({ name: 'a/link', type: 'symlink', linkname: `../${'x'.repeat(150)}` });
    stream.entry({ name: 'ünicode' }, 'x'.repeat(2000));
    stream.finalize();
  });
  for (const pieceBytes of [archive.length, 1, 100, 512, 700]) {
    const [directory, long, link, unicode] = read(archive, pieceBytes);
    assert.deepEqual([directory?.entry.name, directory?.entry.type], ['a/', 'directory']);
    assert.deepEqual([long?.entry.name, long?.content, long?.entry.mtimeSeconds], [`a/${'long'.repeat(80)}`, 'content', 1_700_000_000]);
    assert.equal(link?.entry.linkName, `../${'x'.repeat(150)}`);
    assert.equal(Buffer.from(unicode?.entry.name ?? '', 'latin1').toString(), 'ünicode');
    assert.equal(unicode?.content, 'x'.repeat(2000));
  }
});

for (const format of [
  '--format=gnu',
  '--format=pax --sparse-version=0.0',
  '--format=pax --sparse-version=0.1',
  '--format=pax --sparse-version=1.0',
]) {
  test(`TarReader reads sparse files as tar(1) writes them with ${format}`, (t) => {
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tar-'));
    t.after(() => fs.rmSync(dir, { recursive: true }));
    const file = path.join(dir, 'holes');
    const fd = fs.openSync(file, 'w');
    // More pieces than one header of the old form holds, and a hole at the end.
    for (let i = 0; i < 60; i++) fs.writeSync(fd, `piece ${i}`, i * 16384 + 4096);
    fs.ftruncateSync(fd, 61 * 16384 + 1000);
    fs.closeSync(fd);
    fs.writeFileSync(path.join(dir, 'empty'), '');
    const archive = execFileSync('tar', ['--sort=name', '--sparse', ...format.split(' '), '-C', dir, '-cf', '-', 'holes', 'empty']);
    for (const pieceBytes of [archive.length, 333, 512]) {
      const [holes, empty] = read(archive, pieceBytes);
      assert.deepEqual([holes?.entry.name, holes?.entry.isSparse, holes?.entry.sizeBytes], ['holes', true, 61 * 16384 + 1000]);
      assert.ok(holes?.content === fs.readFileSync(file, 'latin1'), 'the content is the same');
      assert.equal(empty?.entry.name, 'empty');
    }
  });
}

for (const format of ['gnu', 'pax', 'ustar', 'v7']) {
  test(`TarReader reads the ${format} format of tar(1)`, (t) => {
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tar-'));
    t.after(() => fs.rmSync(dir, { recursive: true }));
    const long = format === 'v7' ? 'short' : path.join('d'.repeat(90), 'f'.repeat(60));
    fs.mkdirSync(path.dirname(path.join(dir, long)), { recursive: true });
    fs.writeFileSync(path.join(dir, long), 'content');
    fs.writeFileSync(path.join(dir, 'target'), '');
    fs.linkSync(path.join(dir, 'target'), path.join(dir, 'zlink'));
    const archive = execFileSync('tar', ['--sort=name', `--format=${format}`, '-C', dir, '-cf', '-', '.']);
    const entries = read(archive);
    assert.ok(entries.some(({ entry, content }) => entry.name === `./${long}` && content === 'content'));
    assert.ok(entries.some(({ entry }) => entry.name === './zlink' && entry.type === 'hardlink' && entry.linkName === './target'));
  });
}

test('TarReader keeps binary pax values, as file capabilities are', () => {
  const capability = Buffer.from([1, 0, 0, 2, 0x80, 0xff, 0x0a, 0x3d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  const [file] = read(tar([{ name: 'ping', pax: { 'SCHILY.xattr.security.capability': capability } }]));
  assert.deepEqual(file?.entry.xattrs.get('security.capability'), capability);
});

test('TarReader lets pax override size, owner and time', () => {
  const [file, next] = read(
    tar([{ name: 'f', content: 'abc', size: 0, pax: { size: '3', uid: '4000000000', gid: '7', mtime: '12.5' } }, { name: 'g' }]),
  );
  assert.deepEqual(
    [file?.content, file?.entry.uid, file?.entry.gid, file?.entry.mtimeSeconds, file?.entry.mtimeNanoseconds],
    ['abc', 4_000_000_000, 7, 12, 500_000_000],
  );
  assert.equal(next?.entry.name, 'g');
});

test('decodePax reads what encodePax writes', () => {
  const value = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
  const key = fc.stringMatching(/^[A-Za-z.]{1,60}$/);
  fc.assert(
    fc.property(fc.dictionary(key, value, { noNullPrototype: true }), (records) => {
      assert.deepEqual(decodePax(encodePax(records)), new Map(Object.entries(records)));
    }),
  );
});

const refused: readonly (readonly [what: string, archive: Buffer, sentence: RegExp])[] = [
  ['text', Buffer.from('hello world\n'.repeat(100)), /not a tar archive/],
  ['a short file', Buffer.from('hello'), /truncated/],
  ['an archive cut in a header', tar([{ name: 'a' }], { end: false }).subarray(0, 300), /truncated/],
  ['an archive cut in a content', tar([{ name: 'a', content: 'x'.repeat(2000) }]).subarray(0, 1500), /truncated inside "a"/],
  ['a declared size beyond the archive', tar([{ name: 'a', content: 'x', size: 1_000_000 }]), /truncated inside "a"/],
  ['a huge pax header', tar([{ name: 'p', type: 'x', size: 2 ** 32 }]), /extended tar header has 4294967296 bytes/],
  ['a malformed pax header', tar([{ name: 'p', type: 'x', content: '99 path=x\n' }, { name: 'f' }]), /pax header is malformed/],
  ['a pax size that is no number', tar([{ name: 'f', pax: { size: '-' } }]), /is not a number/],
  ['a negative size', tar([{ name: 'f', pax: { size: '-5' } }]), /has the size -5/],
  ['an unknown type', tar([{ name: 'f', type: 'V' }]), /"f": it has the tar type "V"/],
  [
    'a sparse map that is none',
    tar([{ name: 'f', pax: { 'GNU.sparse.major': '1' }, content: 'x\n'.padEnd(512, '\0') }]),
    /"f": its sparse map is not made of/,
  ],
  [
    'a sparse map with overlapping pieces',
    tar([{ name: 'f', pax: { 'GNU.sparse.size': '100', 'GNU.sparse.map': '0,10,5,10' }, content: 'x'.repeat(20) }]),
    /"f": its sparse map has pieces that overlap/,
  ],
  [
    'a sparse map that speaks of more than there is',
    tar([{ name: 'f', pax: { 'GNU.sparse.size': '100', 'GNU.sparse.map': '0,10,50,50' }, content: 'x'.repeat(20) }]),
    /"f": its sparse map speaks of 60 bytes, and the archive has 20/,
  ],
  [
    'a sparse map of millions of pieces',
    tar([{ name: 'f', pax: { 'GNU.sparse.major': '1' }, content: '9999999\n'.padEnd(512, '\0') }]),
    /more than 1000000 pieces/,
  ],
  [
    'a bad header in the middle',
    Buffer.concat([tar([{ name: 'first' }], { end: false }), Buffer.alloc(512, 'x')]),
    /after "first" has a wrong checksum/,
  ],
];

for (const [what, archive, sentence] of refused) {
  test(`TarReader refuses ${what}`, () =>
    assert.match(
      refusal(() => read(archive)),
      sentence,
    ));
}

test('TarReader never reads garbage as entries without a sentence', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 3000 }), (bytes) => {
      try {
        assert.deepEqual(read(Buffer.from(bytes)), []);
      } catch (error) {
        assert.match((error as Error).message, /tar|truncated|pax/);
      }
    }),
  );
});
