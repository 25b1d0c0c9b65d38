// The same image unpacked by us and by umoci, compared file by file: type, mode, owner, time, size, content, link count, attributes.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { syscall } from '../linux/syscall.ts';
import { type Compression, layoutFiles, makeImage, writeFiles } from './testing/images.ts';
import { openTestStore, type TestStore } from './testing/store.ts';
import type { TestEntry } from './testing/tar.ts';
import { describeTree } from './testing/tree.ts';

const MNT_DETACH = 2;
const skip = spawnSync('umoci', ['--version']).status === 0 ? false : 'umoci is not installed';
let base = '';
let home: TestStore;
before(async () => {
  base = fs.mkdtempSync(path.join(os.tmpdir(), 'umoci-'));
  home = await openTestStore(base);
});
after(async () => {
  await home.close();
  fs.rmSync(base, { recursive: true, force: true });
});

let count = 0;

/** What a container would see, and what umoci makes of the same image. */
async function unpackBoth(layers: readonly (readonly TestEntry[])[], compression: Compression = 'gzip') {
  const dir = path.join(base, String(count++));
  const image = makeImage(layers, { compression });
  const layout = path.join(dir, 'layout');
  writeFiles(layout, layoutFiles(image, { 'org.opencontainers.image.ref.name': 'x' }));
  await home.store.import(layout);
  const theirs = path.join(dir, 'umoci');
  const umoci = spawnSync('umoci', ['unpack', '--image', `${layout}:x`, theirs], { encoding: 'utf8' });
  assert.equal(umoci.status, 0, umoci.stderr);
  const [merged, empty] = [path.join(dir, 'merged'), path.join(dir, 'empty')];
  for (const each of [merged, empty]) fs.mkdirSync(each);
  const lower = [...home.store.layers(image.id).lowerDirs, empty];
  syscall('mount', 'overlay', merged, 'overlay', 1, `lowerdir=${lower.join(':')}`);
  try {
    return { ours: describeTree(merged), theirs: describeTree(path.join(theirs, 'rootfs')) };
  } finally {
    syscall('umount2', merged, MNT_DETACH);
  }
}

const directory = (name: string, more: Partial<TestEntry> = {}): TestEntry => ({
  name: `${name}/`,
  type: 'directory',
  mode: 0o755,
  mtime: 1_600_000_000,
  ...more,
});

const capability = Buffer.from('0100000280200000000000000000000000000000', 'hex');

const everything: readonly TestEntry[] = [
  directory('.', { mode: 0o755, mtime: 1_500_000_000 }),
  directory('bin', { mode: 0o711, uid: 1, gid: 2 }),
  { name: 'bin/su', content: 'program', mode: 0o4755, pax: { mtime: '1600000001.123456789' } },
  { name: 'bin/also', type: 'hardlink', linkName: 'bin/su' },
  { name: './bin/dotted', content: 'x', pax: { mtime: '-1.5' } },
  { name: 'bin/ping', content: 'x', mode: 0o755, uid: 7, gid: 8, pax: { 'SCHILY.xattr.security.capability': capability } },
  directory('tmp', { mode: 0o1777 }),
  directory('usr', { pax: { 'SCHILY.xattr.user.note': 'kept' } }),
  directory('usr/lib', { mode: 0o750 }),
  { name: 'usr/lib/library', content: 'x'.repeat(100_000), mtime: 1_600_000_002 },
  { name: 'lib', type: 'symlink', linkName: 'usr/lib', mtime: 1_600_000_003, uid: 3, gid: 4 },
  directory('dev'),
  { name: 'dev/null', type: 'character', major: 1, minor: 3, mode: 0o666 },
  { name: 'dev/disk', type: 'block', major: 259, minor: 300, mode: 0o660, gid: 6 },
  { name: 'dev/pipe', type: 'fifo', mode: 0o622 },
  directory('etc'),
  { name: 'etc/passwd', content: 'root', mode: 0o644 },
  { name: 'etc/shadow', content: 'secret', mode: 0o600 },
  directory('var'),
  { name: 'var/old', content: 'x' },
  { name: `var/${'n'.repeat(200)}`, content: 'long' },
  { name: 'var/twice', content: 'first' },
  { name: 'var/twice', content: 'second', mode: 0o600 },
];

test('an image with everything that archives can hold is the same', { skip }, async () => {
  const { ours, theirs } = await unpackBoth([everything]);
  assert.deepEqual(ours, theirs);
  assert.match(ours['bin/su'] ?? '', /file, 4755, 0:0, mtime 1600000001123456789, links 2/);
  assert.match(ours['bin/dotted'] ?? '', /mtime -1500000000/);
});

test('layers upon it are the same: whiteouts, opaque directories, directories that are not described', { skip }, async () => {
  const { ours, theirs } = await unpackBoth(
    [
      everything,
      [
        { name: 'etc/.wh.shadow' },
        { name: 'etc/group', content: 'x', mtime: 1_600_000_010 },
        { name: 'bin/su', content: 'changed', mtime: 1_600_000_011 },
        directory('var', { mtime: 1_600_000_012 }),
        { name: 'var/.wh..wh..opq' },
        { name: 'var/new', content: 'x' },
        { name: '.wh.tmp' },
      ],
      [directory('tmp', { mode: 0o700 }), { name: 'tmp/file', content: 'x' }, { name: 'usr/lib/more', content: 'x' }],
    ],
    'none',
  );
  // On an overlay the name that was left keeps its count.
  assert.match(ours['bin/also'] ?? '', /links 2/);
  theirs['bin/also'] = (theirs['bin/also'] ?? '').replace('links 1', 'links 2');
  assert.deepEqual(ours, theirs);
  assert.equal(ours['etc/shadow'], undefined);
  assert.match(ours.usr ?? '', /user\.note=/);
});

test('what a layer puts below a link of the layer under it is the same', { skip }, async () => {
  const { ours, theirs } = await unpackBoth([
    everything,
    [
      { name: 'lib/module', content: 'x', mtime: 1_600_000_020 },
      { name: 'lib/deep/er/file', content: 'x', mtime: 1_600_000_021 },
    ],
  ]);
  // umoci makes what is not described at the time of unpacking.
  for (const made of ['usr/lib/deep', 'usr/lib/deep/er']) {
    assert.match(ours[made] ?? '', /^directory, 755, 0:0/);
    theirs[made] = ours[made] ?? '';
  }
  // Nor does it give back the time of the directory that it got to by a link.
  assert.match(ours['usr/lib'] ?? '', /mtime 1600000000000000000/);
  theirs['usr/lib'] = ours['usr/lib'] ?? '';
  assert.deepEqual(ours, theirs);
  assert.match(ours.lib ?? '', /^symlink/);
  assert.match(ours['usr/lib/module'] ?? '', /^file/);
});

test('hard links to files of a layer below are the same, link counts included', { skip }, async () => {
  const { ours, theirs } = await unpackBoth([
    everything,
    [
      directory('links', { mtime: 1_600_000_030 }),
      { name: 'links/passwd', type: 'hardlink', linkName: 'etc/passwd' },
      { name: 'links/again', type: 'hardlink', linkName: '/links/passwd' },
      { name: 'links/library', type: 'hardlink', linkName: 'lib/library' },
    ],
  ]);
  assert.deepEqual(ours, theirs);
  assert.match(ours['etc/passwd'] ?? '', /links 3/);
});
