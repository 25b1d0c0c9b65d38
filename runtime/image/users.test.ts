import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ResolvedUser, resolveUser } from './users.ts';

const passwd = `root:x:0:0:root:/root:/bin/sh
# comment:x:5:5::/:
+nis:x:6:6::/:
broken:x:notanumber:1::/:
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
alice:x:1000:1000::/home/alice:/bin/sh
nohome:x:1001:1001:::
`;
const group = `root:x:0:
www-data:x:33:
staff:x:50:alice,www-data
big:x:50000:alice
alice:x:1000:alice
`;

const cases: readonly (readonly [spec: string, expected: ResolvedUser])[] = [
  ['', { uid: 0, gid: 0, additionalGids: [], username: 'root', home: '/root' }],
  ['0', { uid: 0, gid: 0, additionalGids: [], username: 'root', home: '/root' }],
  ['1000', { uid: 1000, gid: 1000, additionalGids: [50, 50000], username: 'alice', home: '/home/alice' }],
  ['alice', { uid: 1000, gid: 1000, additionalGids: [50, 50000], username: 'alice', home: '/home/alice' }],
  ['4711', { uid: 4711, gid: 0, additionalGids: [], home: '/' }],
  ['4711:4712', { uid: 4711, gid: 4712, additionalGids: [], home: '/' }],
  ['1000:50', { uid: 1000, gid: 50, additionalGids: [50000, 1000], username: 'alice', home: '/home/alice' }],
  ['www-data:big', { uid: 33, gid: 50000, additionalGids: [50], username: 'www-data', home: '/var/www' }],
  [':staff', { uid: 0, gid: 50, additionalGids: [], username: 'root', home: '/root' }],
  ['nohome', { uid: 1001, gid: 1001, additionalGids: [], username: 'nohome', home: '/' }],
];

for (const [spec, expected] of cases) {
  test(`resolveUser reads ${JSON.stringify(spec)}`, () => assert.deepEqual(resolveUser(spec, passwd, group), expected));
}

const refused: readonly (readonly [spec: string, sentence: RegExp])[] = [
  ['nobody', /^user "nobody" is not in the image's \/etc\/passwd/],
  ['broken', /^user "broken" is not in/],
  ['nis', /^user "nis" is not in/],
  ['alice:wheel', /^group "wheel" is not in the image's \/etc\/group/],
  ['2147483648', /out of range/],
  ['0:99999999999', /out of range/],
  ['a:b:c', /not of the form user:group/],
];

for (const [spec, sentence] of refused) {
  test(`resolveUser refuses ${JSON.stringify(spec)} with a sentence`, () =>
    assert.throws(() => resolveUser(spec, passwd, group), { message: sentence }));
}

test('resolveUser needs no files for numbers', () => {
  assert.deepEqual(resolveUser('1000:50', undefined, undefined), { uid: 1000, gid: 50, additionalGids: [], home: '/' });
  assert.deepEqual(resolveUser('', undefined, undefined), { uid: 0, gid: 0, additionalGids: [], home: '/' });
});
