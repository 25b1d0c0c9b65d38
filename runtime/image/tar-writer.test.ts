import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { TarEntry } from './tar-header.ts';
import { TarReader } from './tar-reader.ts';
import { encodeTarHeader, TAR_END, type TarFile, tarPadding } from './tar-writer.ts';

function read(archive: Buffer): { entry: TarEntry; content: Buffer }[] {
  const found: { entry: TarEntry; content: Buffer }[] = [];
  const reader = new TarReader({
    entry: (entry, whole) => void found.push({ entry, content: whole ?? Buffer.alloc(0) }),
    content: (piece) => {
      const last = found.at(-1);
      if (last !== undefined) last.content = Buffer.concat([last.content, piece]);
    },
    entryEnd: () => undefined,
  });
  reader.push(archive);
  reader.end();
  return found;
}

/** A path in bytes, one character each, long ones too. */
const name = fc
  .array(fc.string({ unit: fc.integer({ min: 1, max: 255 }).map((byte) => String.fromCharCode(byte)), minLength: 1, maxLength: 120 }), {
    minLength: 1,
    maxLength: 4,
  })
  .map((parts) => parts.map((part) => part.replaceAll('/', '_')).join('/'));

const file = fc.record({
  name,
  mode: fc.nat(0o7777),
  uid: fc.nat(2 ** 32 - 2),
  gid: fc.nat(2 ** 32 - 2),
  mtimeSeconds: fc.integer({ min: -(2 ** 33), max: 2 ** 36 }),
  mtimeNanoseconds: fc.nat(999_999_999),
  xattrs: fc.dictionary(fc.constantFrom('security.capability', 'user.a', 'user.b'), fc.uint8Array({ maxLength: 40 })),
  content: fc.uint8Array({ maxLength: 1200 }),
});

test('what is written is read back: names, owners, times, attributes and contents', () => {
  fc.assert(
    fc.property(fc.array(file, { maxLength: 4 }), (files) => {
      const entries = files.map(({ content, xattrs, ...rest }): TarFile & { content: Buffer } => ({
        ...{ ...rest, type: 'file', linkName: '', major: 0, minor: 0, sizeBytes: content.length, content: Buffer.from(content) },
        xattrs: new Map(Object.entries(xattrs).map(([key, value]) => [key, Buffer.from(value)])),
      }));
      const blocks = entries.flatMap((entry) => [encodeTarHeader(entry), entry.content, tarPadding(entry.content.length)]);
      const found = read(Buffer.concat([...blocks, TAR_END]));
      assert.deepEqual(
        found.map(({ entry: { storedBytes: _, isSparse: __, ...entry }, content }) => ({
          ...entry,
          content,
          xattrs: Object.fromEntries([...entry.xattrs].sort()),
        })),
        entries.map((entry) => ({ ...entry, xattrs: Object.fromEntries([...entry.xattrs].sort()) })),
      );
    }),
  );
});

test('links and devices keep what they point to', () => {
  const base = { mode: 0o777, uid: 0, gid: 0, sizeBytes: 0, mtimeSeconds: 5, mtimeNanoseconds: 0, major: 0, minor: 0, xattrs: new Map() };
  const long = 'x'.repeat(150);
  const entries: readonly TarFile[] = [
    { ...base, name: 'a', type: 'symlink', linkName: `../${long}` },
    { ...base, name: 'b', type: 'hardlink', linkName: 'a' },
    { ...base, name: 'c', type: 'character', linkName: '', major: 5, minor: 300 },
    { ...base, name: 'd/', type: 'directory', linkName: '' },
  ];
  const found = read(Buffer.concat([...entries.map(encodeTarHeader), TAR_END])).map(({ entry }) => entry);
  assert.deepEqual(
    found.map(({ type, linkName, major, minor }) => [type, linkName, major, minor]),
    [
      ['symlink', `../${long}`, 0, 0],
      ['hardlink', 'a', 0, 0],
      ['character', '', 5, 300],
      ['directory', '', 0, 0],
    ],
  );
});
