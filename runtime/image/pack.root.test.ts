// A layer that is unpacked and packed again is the same layer, for our own unpacking and for tar(1).
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { getXattr } from '../linux/xattr.ts';
import { packLayer } from './pack.ts';
import { type TestEntry, tar } from './testing/tar.ts';
import { createUnpackPool, type UnpackPool } from './unpack-pool.ts';

let base = '';
let pool: UnpackPool;
before(() => {
  base = fs.mkdtempSync(path.join(os.tmpdir(), 'pack-'));
  pool = createUnpackPool();
});
after(async () => {
  await pool.close();
  fs.rmSync(base, { recursive: true, force: true });
});

const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');
const entries: readonly TestEntry[] = [
  { name: './', type: 'directory', mode: 0o750, mtime: 99 },
  { name: 'bin/', type: 'directory', mode: 0o755, uid: 0, gid: 0, mtime: 10 },
  { name: 'bin/su', content: 'program', mode: 0o4755, uid: 0, gid: 50, mtime: 11 },
  { name: 'bin/ping', content: 'x'.repeat(2000), mode: 0o755, mtime: 12, pax: { 'SCHILY.xattr.security.capability': capability } },
  { name: 'bin/ping6', type: 'hardlink', linkName: 'bin/ping' },
  { name: `long-${'y'.repeat(150)}`, content: 'long', mtime: 13 },
  { name: 'caf\xc3\xa9', content: 'utf-8', mtime: 13 },
  { name: 'latin-\xe9', content: 'not utf-8', mtime: 13 },
  { name: 'link', type: 'symlink', linkName: 'bin/su', mtime: 14 },
  { name: 'null', type: 'character', major: 1, minor: 3, mode: 0o666, mtime: 15 },
  { name: 'pipe', type: 'fifo', mode: 0o600, mtime: 16 },
  { name: 'opaque/', type: 'directory', mode: 0o700, mtime: 17 },
  { name: 'opaque/.wh..wh..opq' },
  { name: 'opaque/new', content: 'new', mtime: 18 },
  { name: 'etc/', type: 'directory', mtime: 19 },
  { name: 'etc/.wh.gone' },
];

async function unpack(archive: string, name: string): Promise<string> {
  const target = path.join(base, name);
  fs.mkdirSync(target);
  await pool.run({ blob: archive, target, whiteouts: 'overlay', keepOwners: true });
  return target;
}

/** Every file of a tree with what makes it that file. */
function describe(root: string): string[] {
  return fs
    .readdirSync(root, { recursive: true, encoding: 'latin1' })
    .map(String)
    .concat('.')
    .sort()
    .map((name) => {
      const file = Buffer.concat([Buffer.from(`${root}/`), Buffer.from(name, 'latin1')]);
      const { mode, uid, gid, nlink, rdev, mtimeNs, size } = fs.lstatSync(file, { bigint: true });
      const isFile = (mode & 0o170000n) === 0o100000n;
      const isDirectory = (mode & 0o170000n) === 0o40000n;
      const content = isFile ? fs.readFileSync(file, 'latin1') : (mode & 0o170000n) === 0o120000n ? fs.readlinkSync(file) : '';
      const xattrs = ['security.capability', 'trusted.overlay.opaque'].map((key) => getXattr(file, key)?.toString('hex'));
      // A whiteout has no time worth keeping.
      const time = rdev === 0n && (mode & 0o170000n) === 0o20000n ? 0n : mtimeNs;
      return JSON.stringify([name, mode, uid, gid, isDirectory ? 0n : nlink, rdev, time, isFile ? size : 0n, content, xattrs].map(String));
    });
}

test('an unpacked layer packs to an archive that unpacks to the same files', async () => {
  const archive = path.join(base, 'layer.tar');
  fs.writeFileSync(archive, tar(entries));
  const first = await unpack(archive, 'first');
  const packed = path.join(base, 'packed.tar.gz');
  const { digest, sizeBytes, diffId } = await packLayer({ source: first, file: packed });
  assert.equal(fs.statSync(packed).size, sizeBytes);
  assert.deepEqual(describe(await unpack(packed, 'second')), describe(first));
  const names = execFileSync('tar', ['-tzf', packed, '--quoting-style=literal'], { encoding: 'latin1' }).split('\n');
  for (const name of ['./', 'bin/su', 'opaque/.wh..wh..opq', 'etc/.wh.gone', 'latin-\xe9', `long-${'y'.repeat(150)}`])
    assert.ok(names.includes(name), `${name} in ${names}`);

  const again = await packLayer({ source: first, file: path.join(base, 'again.tar.gz') });
  assert.deepEqual(again, { digest, sizeBytes, diffId }, 'the same files give the same bytes');
});

test('packing can be given up, and a source that is not there is named', async () => {
  const stop = new AbortController();
  const packing = packLayer({ source: '/usr', file: path.join(base, 'usr.tar.gz') }, stop.signal);
  stop.abort(new Error('no longer wanted'));
  await assert.rejects(packing, /no longer wanted/);
  await assert.rejects(packLayer({ source: path.join(base, 'absent'), file: path.join(base, 'absent.tar.gz') }), /pack the layer .*absent/);
});
