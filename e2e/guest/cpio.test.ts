import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeCpio } from './cpio.ts';

test('encodeCpio writes newc headers, padded to four bytes, and the trailer', () => {
  const archive = encodeCpio([{ name: 'init', mode: 0o100755, content: Buffer.from('hello') }]).toString('latin1');
  assert.equal(archive.length % 4, 0);
  assert.equal(archive.slice(0, 6), '070701');
  assert.equal(archive.slice(14, 22), '000081ed');
  assert.equal(archive.slice(54, 62), '00000005');
  // 110 bytes of header and "init\0" end on a 4-byte boundary only with padding.
  assert.equal(archive.slice(110, 115), 'init\0');
  assert.equal(archive.slice(116, 121), 'hello');
  assert.match(archive, /TRAILER!!!\0+$/);
});
