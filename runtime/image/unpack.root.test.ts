// What unpacking leaves in the kernel's eyes, seen through a real overlay.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import zlib from 'node:zlib';
import { syscall, trySyscall } from '../linux/syscall.ts';
import { getXattr, setXattr } from '../linux/xattr.ts';
import { digestOf } from './digest.ts';
import { probeOverlay } from './overlay-probe.ts';
import { readRootfsFile } from './rootfs-file.ts';
import { type TestEntry, tar } from './testing/tar.ts';
import { createUnpackPool, type UnpackPool } from './unpack-pool.ts';

const MNT_DETACH = 2;
let base = '';
let pool: UnpackPool;
before(() => {
  base = fs.mkdtempSync(path.join(os.tmpdir(), 'unpack-'));
  pool = createUnpackPool();
});
after(async () => {
  await pool.close();
  fs.rmSync(base, { recursive: true, force: true });
});

let count = 0;
async function unpack(entries: readonly TestEntry[], compress: (bytes: Buffer) => Buffer = (bytes) => bytes): Promise<string> {
  const target = path.join(base, String(count++));
  const blob = `${target}.tar`;
  const archive = tar(entries);
  fs.mkdirSync(target);
  fs.writeFileSync(blob, compress(archive));
  await pool.run({ blob, target, whiteouts: 'overlay', keepOwners: true, diffId: digestOf(archive) });
  return target;
}

/** Mounts layers, topmost first, and removes the mount whatever happens. */
function withOverlay<T>(layers: readonly string[], use: (merged: string) => T): T {
  const home = fs.mkdtempSync(path.join(base, 'overlay-'));
  const at = (name: string) => path.join(home, name);
  for (const name of ['upper', 'work', 'merged']) fs.mkdirSync(at(name));
  syscall('mount', 'overlay', at('merged'), 'overlay', 0, `lowerdir=${layers.join(':')},upperdir=${at('upper')},workdir=${at('work')}`);
  try {
    return use(at('merged'));
  } finally {
    syscall('umount2', at('merged'), MNT_DETACH);
  }
}

const lower: TestEntry[] = [
  { name: 'gone', content: 'x' },
  { name: 'kept', content: 'x' },
  { name: 'opaque/old', content: 'x' },
  { name: 'merged/old', content: 'x' },
  { name: 'replaced/old', content: 'x' },
  { name: 'etc/passwd', content: 'lower' },
];
const upper: TestEntry[] = [
  { name: '.wh.gone' },
  { name: 'opaque/', type: 'directory' },
  { name: 'opaque/.wh..wh..opq' },
  { name: 'opaque/new', content: 'x' },
  { name: 'merged/new', content: 'x' },
  { name: '.wh.replaced' },
  { name: 'replaced/', type: 'directory' },
  { name: 'replaced/new', content: 'x' },
  { name: 'etc/.wh.passwd' },
];

test('whiteouts and opaque directories hide the layer below in a real overlay', async () => {
  const layers = [await unpack(upper), await unpack(lower)];
  withOverlay(layers, (merged) => {
    assert.deepEqual(fs.readdirSync(merged).sort(), ['etc', 'kept', 'merged', 'opaque', 'replaced']);
    assert.deepEqual(fs.readdirSync(path.join(merged, 'opaque')), ['new']);
    assert.deepEqual(fs.readdirSync(path.join(merged, 'merged')).sort(), ['new', 'old']);
    assert.deepEqual(fs.readdirSync(path.join(merged, 'replaced')), ['new']);
    assert.deepEqual(fs.readdirSync(path.join(merged, 'etc')), []);
  });
  // And readRootfsFile sees the same without a mount.
  const read = async (name: string) => (await readRootfsFile(layers, name, { limitBytes: 100 }))?.toString();
  assert.deepEqual(await Promise.all(['gone', 'etc/passwd', 'opaque/old', 'replaced/old'].map(read)), [
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
  assert.deepEqual(await Promise.all(['kept', 'opaque/new', 'merged/old'].map(read)), ['x', 'x', 'x']);
});

test('a lower file that a container changes is copied up and stays as it was', async () => {
  const layer = await unpack([{ name: 'program', content: 'original', mode: 0o755 }]);
  const outside = path.join(base, 'hard-linked');
  fs.linkSync(path.join(layer, 'program'), outside);
  withOverlay([layer], (merged) => {
    const program = path.join(merged, 'program');
    fs.appendFileSync(program, ' and more');
    fs.chmodSync(program, 0o4777);
    fs.chownSync(program, 1000, 1000);
    fs.truncateSync(program, 3);
    assert.equal(fs.readFileSync(program, 'utf8'), 'ori');
  });
  const stat = fs.statSync(outside);
  assert.deepEqual([fs.readFileSync(outside, 'utf8'), stat.mode & 0o7777, stat.uid], ['original', 0o755, 0]);
});

test('owners, devices, FIFOs and file capabilities arrive', async () => {
  // VFS_CAP_REVISION_2 with CAP_SETUID (bit 7: a byte that is no UTF-8) and CAP_NET_RAW.
  const capability = Buffer.from('0100000280200000000000000000000000000000', 'hex');
  const layer = await unpack([
    { name: 'ping', content: 'x', mode: 0o4755, uid: 1, gid: 2, pax: { 'SCHILY.xattr.security.capability': capability } },
    { name: 'null', type: 'character', major: 1, minor: 3, mode: 0o666 },
    { name: 'disk', type: 'block', major: 259, minor: 300, mode: 0o660, gid: 6 },
    { name: 'pipe', type: 'fifo', mode: 0o622 },
    { name: 'link', type: 'symlink', linkName: '/ping', uid: 3, gid: 4 },
    { name: 'big-id', pax: { uid: '4000000000', gid: '4000000001' } },
  ]);
  const stat = (name: string) => fs.lstatSync(path.join(layer, name));
  assert.deepEqual([stat('ping').uid, stat('ping').gid, stat('ping').mode & 0o7777], [1, 2, 0o4755]);
  assert.deepEqual(getXattr(path.join(layer, 'ping'), 'security.capability'), capability);
  assert.ok(stat('null').isCharacterDevice() && stat('null').rdev === 0x103 && (stat('null').mode & 0o777) === 0o666);
  assert.match(execFileSync('stat', ['-c', '%t:%T %a %g', path.join(layer, 'disk')], { encoding: 'utf8' }), /^103:12c 660 6/);
  assert.ok(stat('pipe').isFIFO() && (stat('pipe').mode & 0o777) === 0o622);
  assert.deepEqual([stat('link').uid, stat('link').gid], [3, 4]);
  assert.deepEqual([stat('big-id').uid, stat('big-id').gid], [4_000_000_000, 4_000_000_001]);
});

test('holes of sparse files stay holes', async () => {
  const map = { 'GNU.sparse.size': '100000000', 'GNU.sparse.map': '50000000,4,100000000,0' };
  const layer = await unpack([{ name: 'sparse', content: 'data', pax: map }]);
  const { size, blocks } = fs.statSync(path.join(layer, 'sparse'));
  assert.equal(size, 100_000_000);
  assert.ok(blocks * 512 < 1_000_000, `${blocks} blocks`);
  const found = Buffer.alloc(6);
  const fd = fs.openSync(path.join(layer, 'sparse'), 'r');
  fs.readSync(fd, found, 0, 6, 49_999_999);
  fs.closeSync(fd);
  assert.equal(found.toString('latin1'), '\0data\0');
});

test('an image cannot bring overlayfs attributes of its own', async () => {
  const layer = await unpack([
    {
      name: 'dir/',
      type: 'directory',
      pax: { 'SCHILY.xattr.trusted.overlay.redirect': '/etc', 'SCHILY.xattr.user.overlay.opaque': 'y', 'SCHILY.xattr.user.note': 'kept' },
    },
  ]);
  const dir = path.join(layer, 'dir');
  assert.equal(getXattr(dir, 'trusted.overlay.redirect'), undefined);
  assert.equal(getXattr(dir, 'user.overlay.opaque'), undefined);
  assert.equal(getXattr(dir, 'user.note')?.toString(), 'kept');
});

for (const [what, compress] of [
  ['gzip', zlib.gzipSync],
  [
    'gzip of several members',
    (bytes: Buffer) => Buffer.concat([zlib.gzipSync(bytes.subarray(0, 700)), zlib.gzipSync(bytes.subarray(700))]),
  ],
  ['zstd', zlib.zstdCompressSync],
  [
    'zstd of several frames',
    (bytes: Buffer) => Buffer.concat([zlib.zstdCompressSync(bytes.subarray(0, 700)), zlib.zstdCompressSync(bytes.subarray(700))]),
  ],
  [
    'zstd with a skippable frame',
    (bytes: Buffer) => Buffer.concat([Buffer.from('502a4d1804000000abcdabcd', 'hex'), zlib.zstdCompressSync(bytes)]),
  ],
] as const) {
  test(`a layer compressed with ${what} unpacks`, async () => {
    const layer = await unpack([{ name: 'f', content: 'content '.repeat(500) }], compress);
    assert.equal(fs.readFileSync(path.join(layer, 'f'), 'utf8'), 'content '.repeat(500));
  });
}

test('a layer compressed with zstd that is cut short is refused', async () => {
  await assert.rejects(
    unpack([{ name: 'f', content: 'content '.repeat(500) }], (bytes) => zlib.zstdCompressSync(bytes).subarray(0, -10)),
    /the zstd stream is truncated/,
  );
});

test('where whiteouts are impossible a layer holds everything below it', async () => {
  const bottom = await unpack([
    ...lower,
    { name: 'link', type: 'symlink', linkName: 'merged' },
    { name: 'hard', type: 'hardlink', linkName: 'kept' },
  ]);
  const target = path.join(base, 'flat');
  fs.mkdirSync(target);
  const blob = `${target}.tar`;
  fs.writeFileSync(
    blob,
    tar([
      ...upper,
      { name: 'link/through', content: 'x' },
      { name: 'kept', content: 'changed' },
      { name: 'other', type: 'hardlink', linkName: 'hard' },
    ]),
  );
  await pool.run({ blob, target, base: bottom, whiteouts: 'apply', keepOwners: true });
  assert.deepEqual(fs.readdirSync(target).sort(), ['etc', 'hard', 'kept', 'link', 'merged', 'opaque', 'other', 'replaced']);
  assert.deepEqual(fs.readdirSync(path.join(target, 'opaque')), ['new']);
  assert.deepEqual(fs.readdirSync(path.join(target, 'merged')).sort(), ['new', 'old', 'through']);
  assert.deepEqual(fs.readdirSync(path.join(target, 'replaced')), ['new']);
  assert.equal(fs.readFileSync(path.join(target, 'kept'), 'utf8'), 'changed');
  // The layer below is untouched, though its files are shared.
  assert.equal(fs.readFileSync(path.join(bottom, 'kept'), 'utf8'), 'x');
  assert.deepEqual(fs.readdirSync(path.join(bottom, 'opaque')), ['old']);
  assert.equal(fs.statSync(path.join(target, 'hard')).ino, fs.statSync(path.join(bottom, 'hard')).ino);
});

test('probeOverlay says that an overlay cannot write into an overlay, and leaves no mount', () => {
  assert.deepEqual(probeOverlay(base), { upper: true, whiteouts: true, volatile: true, reason: '' });
  const layer = fs.mkdtempSync(path.join(base, 'lower-'));
  withOverlay([layer], (merged) => {
    const { upper: possible, reason } = probeOverlay(merged);
    assert.equal(possible, false);
    assert.notEqual(reason, '');
    assert.deepEqual(fs.readdirSync(merged), []);
  });
  assert.ok(!fs.readFileSync('/proc/self/mountinfo', 'utf8').includes(base));
});

test('getXattr gives what setXattr set, for names that are not UTF-8 too', () => {
  const file = Buffer.concat([Buffer.from(`${base}/caf`), Buffer.from([0xe9])]);
  fs.writeFileSync(file, '');
  setXattr(file, 'user.test', Buffer.from([0, 255]));
  assert.deepEqual(getXattr(file, 'user.test'), Buffer.from([0, 255]));
  assert.equal(getXattr(file, 'user.absent'), undefined);
  assert.throws(() => getXattr('/nonexistent/file', 'user.test'), { code: 'ENOENT' });
  assert.equal(trySyscall('close', 9999), -9);
});
