import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { TarReader } from './tar-reader.ts';
import { refusal, type TestEntry, tar } from './testing/tar.ts';
import { createUnpacker, type Unpacked, type UnpackLimits } from './unpack.ts';

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'unpack-'));
after(() => fs.rmSync(base, { recursive: true, force: true }));

let count = 0;
function freshDir(): string {
  const dir = path.join(base, String(count++), 'layer');
  fs.mkdirSync(dir, { recursive: true });
  return dir;
}

function unpack(entries: readonly TestEntry[], dir: string, limits?: UnpackLimits): Unpacked {
  const unpacker = createUnpacker(dir, { whiteouts: 'apply', ...(limits && { limits }) });
  const reader = new TarReader(unpacker);
  try {
    reader.push(tar(entries));
    reader.end();
  } finally {
    unpacker.abandon();
  }
  return unpacker.finish();
}

test('unpacking keeps content, modes, times and links', () => {
  const dir = freshDir();
  const unpacked = unpack(
    [
      { name: './', type: 'directory', mode: 0o755, mtime: 5 },
      { name: 'bin/', type: 'directory', mode: 0o711, mtime: 1000 },
      { name: 'bin/su', content: 'program', mode: 0o4755, mtime: 2000 },
      { name: 'bin/also', type: 'hardlink', linkName: 'bin/su' },
      { name: 'sh', type: 'symlink', linkName: 'bin/su', mtime: 3000 },
      { name: `${'deep/'.repeat(40)}file`, content: 'x' },
    ],
    dir,
  );
  const stat = fs.statSync(path.join(dir, 'bin/su'));
  assert.equal(stat.mode & 0o7777, 0o4755);
  assert.equal(stat.mtimeMs, 2_000_000);
  assert.equal(stat.nlink, 2);
  assert.equal(fs.statSync(path.join(dir, 'bin/also')).ino, stat.ino);
  assert.equal(fs.statSync(path.join(dir, 'bin')).mode & 0o7777, 0o711);
  assert.equal(fs.statSync(path.join(dir, 'bin')).mtimeMs, 1_000_000);
  assert.equal(fs.statSync(dir).mtimeMs, 5000);
  assert.equal(fs.lstatSync(path.join(dir, 'sh')).mtimeMs, 3_000_000);
  assert.equal(fs.readFileSync(path.join(dir, 'sh'), 'utf8'), 'program');
  assert.equal(unpacked.sizeBytes, 8);
  assert.equal(unpacked.impliedDirectories.length, 40);
});

test('unpacking replaces duplicated entries by the later one', () => {
  const dir = freshDir();
  unpack(
    [
      { name: 'a', content: 'first' },
      { name: 'a', content: 'second' },
      { name: 'b', type: 'directory' },
      { name: 'b/c', content: 'x' },
      { name: 'b', type: 'symlink', linkName: 'a' },
      { name: 'd', type: 'symlink', linkName: '/etc' },
      { name: 'd', type: 'directory', mode: 0o700 },
      { name: 'd/e', content: 'inside' },
    ],
    dir,
  );
  assert.equal(fs.readFileSync(path.join(dir, 'a'), 'utf8'), 'second');
  assert.equal(fs.readlinkSync(path.join(dir, 'b')), 'a');
  assert.equal(fs.readFileSync(path.join(dir, 'd/e'), 'utf8'), 'inside');
});

test('unpacking writes through links of the layer inside the layer only', () => {
  const dir = freshDir();
  const outside = path.join(path.dirname(dir), 'outside');
  fs.mkdirSync(outside);
  unpack(
    [
      { name: 'abs', type: 'symlink', linkName: outside },
      { name: 'up', type: 'symlink', linkName: '../outside' },
      { name: 'abs/a', content: 'x' },
      { name: 'up/b', content: 'x' },
    ],
    dir,
  );
  assert.deepEqual(fs.readdirSync(outside), []);
  assert.equal(fs.readFileSync(path.join(dir, outside, 'a'), 'utf8'), 'x');
  assert.equal(fs.readFileSync(path.join(dir, 'outside/b'), 'utf8'), 'x');
});

test('unpacking keeps names that are not UTF-8', () => {
  const dir = freshDir();
  unpack([{ name: 'caf\xe9', content: 'x' }], dir);
  assert.deepEqual(fs.readdirSync(dir, 'latin1'), ['caf\xe9']);
});

test('whiteouts hide what lies below and not what the layer itself brings', () => {
  const dir = freshDir();
  unpack(
    [
      { name: 'keep', content: 'x' },
      { name: '.wh.keep' },
      { name: 'dir/', type: 'directory' },
      { name: 'dir/new', content: 'x' },
      { name: 'dir/.wh..wh..opq' },
      { name: '.wh..wh.plnk' },
      { name: '.wh.absent' },
    ],
    dir,
  );
  assert.deepEqual(fs.readdirSync(dir).sort(), ['dir', 'keep']);
  assert.deepEqual(fs.readdirSync(path.join(dir, 'dir')), ['new']);
});

const refused: readonly (readonly [what: string, entries: readonly TestEntry[], sentence: RegExp])[] = [
  ['a path that climbs out', [{ name: '../evil', content: 'x' }], /"\.\.\/evil" leads out of the layer/],
  ['a path that climbs out in the middle', [{ name: 'a/../../evil' }], /leads out of the layer/],
  ['a hard link that climbs out', [{ name: 'a', type: 'hardlink', linkName: '../../etc/passwd' }], /leads out of the layer/],
  [
    'a hard link to a host file',
    [{ name: 'a', type: 'hardlink', linkName: '/etc/hostname' }],
    /hard link to "\/etc\/hostname", which the layer does not have/,
  ],
  [
    'a hard link through a link to the host',
    [
      { name: 'link', type: 'symlink', linkName: '/etc' },
      { name: 'a', type: 'hardlink', linkName: 'link/hostname' },
    ],
    /which the layer does not have/,
  ],
  [
    'a hard link to a directory',
    [
      { name: 'd', type: 'directory' },
      { name: 'a', type: 'hardlink', linkName: 'd' },
    ],
    /hard link to the directory/,
  ],
  [
    'an entry below a file',
    [
      { name: 'a', content: 'x' },
      { name: 'a/b', content: 'x' },
    ],
    /lies below "a", which is not a directory/,
  ],
  ['links in a circle', [{ name: 'a', type: 'symlink', linkName: 'a' }, { name: 'a/b' }], /more than 40 symbolic links/],
  ['an empty link', [{ name: 'a', type: 'symlink', linkName: '' }], /symbolic link to nothing/],
  ['a whiteout of the parent', [{ name: 'a/.wh...' }], /not a valid whiteout/],
  ['a whiteout of nothing', [{ name: '.wh.' }], /not a valid whiteout/],
  ['an owner out of range', [{ name: 'a', pax: { uid: '4294967295' } }], /owner 4294967295:\d+, which is out of range/],
  ['a device number out of range', [{ name: 'a', type: 'character', major: 0o100000 }], /device number 32768:0 is out of range/],
  ['too many bytes', [{ name: 'a', content: 'x'.repeat(101) }], /more than 100 bytes/],
  ['too many entries', Array.from({ length: 11 }, (_, i) => ({ name: String(i) })), /more than 10 entries/],
  ['too many entries that it only implies', [{ name: 'a/'.repeat(11) }], /more than 10 entries/],
  ['too long paths', [{ name: `${'n'.repeat(250)}/a/b/c/d` }], /directories and links have more than 1000 bytes/],
  ['too long links', [{ name: 'a', type: 'symlink', linkName: 'n'.repeat(1000) }], /directories and links have more than 1000 bytes/],
  ['a name of more than 255 bytes', [{ name: 'n'.repeat(256) }], /ENAMETOOLONG/],
];

for (const [what, entries, sentence] of refused) {
  test(`unpacking refuses ${what}`, () => {
    const dir = freshDir();
    assert.match(
      refusal(() => unpack(entries, dir, { bytes: 100, entries: 10, pathBytes: 1000 })),
      sentence,
    );
    assert.deepEqual(fs.readdirSync(path.dirname(dir)), ['layer']);
  });
}

/** Every path below `root`, links not followed. */
function walk(root: string, below = ''): string[] {
  return fs.readdirSync(path.join(root, below), { withFileTypes: true }).flatMap((entry) => {
    const name = path.join(below, entry.name);
    return entry.isDirectory() ? [name, ...walk(root, name)] : [name];
  });
}

test('no archive makes, changes or removes anything outside its layer', () => {
  const segment = fc.constantFrom('a', 'b', '..', '.', '', 'victim', '.wh.a', '.wh..wh..opq', '.wh.victim');
  const name = fc
    .tuple(fc.boolean(), fc.array(segment, { minLength: 1, maxLength: 5 }))
    .map(([rooted, parts]) => (rooted ? '/' : '') + parts.join('/'));
  const type = fc.constantFrom('file', 'directory', 'symlink', 'hardlink', 'fifo');
  const entry = fc.record({ name, type, linkName: name, content: fc.constantFrom('', 'x') });
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 12 }), (entries) => {
      const dir = freshDir();
      const parent = path.dirname(dir);
      fs.mkdirSync(path.join(parent, 'a'));
      fs.writeFileSync(path.join(parent, 'victim'), 'untouched');
      for (const each of entries) {
        const content = each.type === 'file' ? each.content : '';
        try {
          unpack([{ ...each, content }], dir);
        } catch {
          // Refused is fine.
        }
      }
      try {
        unpack(
          entries.map((each) => ({ ...each, content: each.type === 'file' ? each.content : '' })),
          dir,
        );
      } catch {
        // Refused is fine.
      }
      assert.deepEqual(
        walk(parent).filter((found) => !found.startsWith('layer')),
        ['a', 'victim'],
      );
      assert.equal(fs.readFileSync(path.join(parent, 'victim'), 'utf8'), 'untouched');
      assert.equal(fs.statSync(path.join(parent, 'victim')).nlink, 1);
    }),
    { numRuns: 150 },
  );
});
