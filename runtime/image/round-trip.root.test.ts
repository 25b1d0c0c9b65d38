// Any tree, packed by tar(1) in any of its formats, comes back as it was.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import zlib from 'node:zlib';
import fc from 'fast-check';
import { setTimes } from '../linux/file-maker.ts';
import { makeNode, S_IFCHR, S_IFIFO } from '../linux/mknod.ts';
import { setXattr } from '../linux/xattr.ts';
import { describeTree } from './testing/tree.ts';
import { createUnpackPool, type UnpackPool } from './unpack-pool.ts';

let base = '';
let pool: UnpackPool;
before(() => {
  base = fs.mkdtempSync(path.join(os.tmpdir(), 'round-trip-'));
  pool = createUnpackPool(1);
});
after(async () => {
  await pool.close();
  fs.rmSync(base, { recursive: true, force: true });
});

const name = fc.oneof(
  fc.constantFrom('a', 'b', 'c', 'ü', 'with space', '-x', 'n'.repeat(120), 'n'.repeat(255)),
  fc.stringMatching(/^[ -.0-~]{1,12}$/).filter((text) => text !== '.' && text !== '..'),
);
const node = fc.record({
  path: fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/')),
  kind: fc.constantFrom('file', 'file', 'file', 'directory', 'symlink', 'fifo', 'device', 'link', 'sparse'),
  content: fc.oneof(fc.constantFrom(0, 1, 511, 512, 513, 70_000), fc.nat(3000)),
  mode: fc.nat(0o7777),
  uid: fc.constantFrom(0, 1, 1000, 3_000_000),
  gid: fc.constantFrom(0, 50, 65534),
  mtime: fc.integer({ min: -1_000_000, max: 5_000_000_000 }),
  nanoseconds: fc.constantFrom(0, 1, 123_456_789, 999_999_999),
  note: fc.option(fc.uint8Array({ minLength: 1, maxLength: 40 }), { freq: 4 }),
});
type Node = typeof node extends fc.Arbitrary<infer T> ? T : never;

function make(root: string, nodes: readonly Node[]): void {
  const files: string[] = [];
  for (const each of nodes) {
    const target = path.join(root, each.path);
    try {
      fs.mkdirSync(path.dirname(target), { recursive: true });
      if (each.kind === 'file') fs.writeFileSync(target, Buffer.alloc(each.content, 'content'), { flag: 'wx' });
      else if (each.kind === 'directory') fs.mkdirSync(target);
      else if (each.kind === 'symlink') fs.symlinkSync('x'.repeat((each.content % 200) + 1), target);
      else if (each.kind === 'fifo') makeNode(target, S_IFIFO | 0o600);
      else if (each.kind === 'device') makeNode(target, S_IFCHR | 0o600, 0x103);
      else if (each.kind === 'link') {
        fs.linkSync(files[each.content % Math.max(1, files.length)] ?? '', target);
        continue;
      } else {
        fs.writeFileSync(target, '', { flag: 'wx' });
        fs.truncateSync(target, each.content * 100);
        if (each.content > 0) fs.writeFileSync(target, 'data', { flag: 'r+' });
      }
    } catch {
      // In the way of one another: fewer then.
      continue;
    }
    if (each.kind === 'file') files.push(target);
    fs.lchownSync(target, each.uid, each.gid);
    if (each.kind !== 'symlink') fs.chmodSync(target, each.mode);
    if (each.note !== null && each.kind !== 'symlink' && each.kind !== 'fifo' && each.kind !== 'device')
      setXattr(target, 'user.note', Buffer.from(each.note));
    setTimes(Buffer.from(target), { mtimeSeconds: each.mtime, mtimeNanoseconds: each.nanoseconds });
  }
}

/** What a format keeps: all but pax know whole seconds and no attributes. */
const keptBy = (format: string, tree: Record<string, string>) =>
  format === 'pax'
    ? tree
    : Object.fromEntries(
        Object.entries(tree).map(([at, text]) => [at, text.replace(/mtime (-?\d+)\d{9}\b/, 'mtime $1').replace(/, user\.note=\w+/, '')]),
      );

test('unpacking gives back what tar(1) packed', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(node, { maxLength: 15 }), fc.constantFrom('pax', 'gnu'), fc.boolean(), async (given, format, compressed) => {
      const dir = fs.mkdtempSync(path.join(base, 'run-'));
      const [from, target, blob] = [path.join(dir, 'from'), path.join(dir, 'to'), path.join(dir, 'blob')];
      for (const each of [from, target]) fs.mkdirSync(each);
      const nodes = format === 'pax' ? given : given.map((each) => ({ ...each, nanoseconds: 0 as const }));
      make(from, nodes);
      const flags = ['--sparse', `--format=${format}`, ...(format === 'pax' ? ['--xattrs'] : [])];
      const archive = execFileSync('tar', [...flags, '-C', from, '-cf', '-', '.'], {
        maxBuffer: 2 ** 26,
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      fs.writeFileSync(blob, compressed ? zlib.gzipSync(archive, { level: 1 }) : archive);
      await pool.run({ blob, target, whiteouts: 'overlay', keepOwners: true });
      assert.deepEqual(keptBy(format, describeTree(target)), keptBy(format, describeTree(from)));
      fs.rmSync(dir, { recursive: true });
    }),
    { numRuns: 40 },
  );
});
