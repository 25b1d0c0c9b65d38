import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatReference, parseReference } from './reference.ts';

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;

const spellings: readonly (readonly [text: string, whole: string])[] = [
  ['busybox', 'docker.io/library/busybox:latest'],
  ['nginx:1.27', 'docker.io/library/nginx:1.27'],
  ['user/app', 'docker.io/user/app:latest'],
  ['docker.io/busybox', 'docker.io/library/busybox:latest'],
  ['index.docker.io/library/busybox', 'docker.io/library/busybox:latest'],
  ['registry.k8s.io/pause:3.10', 'registry.k8s.io/pause:3.10'],
  ['localhost/node:host', 'localhost/node:host'],
  ['localhost:5000/a', 'localhost:5000/a:latest'],
  ['127.0.0.1:5000/a/b/c:T', '127.0.0.1:5000/a/b/c:T'],
  ['[::1]:5000/a', '[::1]:5000/a:latest'],
  ['Registry/app', 'Registry/app:latest'],
  [`busybox@${digest}`, `docker.io/library/busybox@${digest}`],
  [`busybox:1@${digest}`, `docker.io/library/busybox@${digest}`],
  ['a__b/c--d.e_f', 'docker.io/a__b/c--d.e_f:latest'],
  [`x:${'t'.repeat(128)}`, `docker.io/library/x:${'t'.repeat(128)}`],
  ['cafe', 'docker.io/library/cafe:latest'],
];

for (const [text, whole] of spellings) {
  test(`parseReference completes ${text.slice(0, 50)}`, () => assert.equal(formatReference(parseReference(text)), whole));
}

const refused: readonly (readonly [text: string, reason: RegExp])[] = [
  ['', /it is empty/],
  ['Busybox', /must be lower case \(busybox\)/],
  ['docker.io/library/BusyBox', /must be lower case/],
  ['a b', /white space/],
  ['https://nginx', /it is a URL; write nginx/],
  ['nginx:', /"" is not a tag/],
  ['nginx:.x', /is not a tag/],
  [`nginx:${'t'.repeat(129)}`, /is not a tag/],
  ['nginx@sha256:12', /is not a digest/],
  ['nginx@', /is not a digest/],
  [`nginx@md5:${'0'.repeat(32)}`, /is not a digest/],
  ['a//b', /a component of its name is empty/],
  ['/a', /a component of its name is empty/],
  ['a/', /a component of its name is empty/],
  ['a_-b', /may have only letters/],
  ['-a', /may have only letters/],
  ['a..b', /may have only letters/],
  [':5000/a', /is not a registry host/],
  ['example.com:port/a', /is not a registry host/],
  ['-.com/a', /is not a registry host/],
  ['a'.repeat(256), /longer than 255 characters/],
  ['0123456789abcdef'.repeat(4), /is an image id/],
  ['x'.repeat(2000), /longer than 1024/],
  [`:${'1'}`, /it has no name/],
];

for (const [text, reason] of refused) {
  test(`parseReference refuses ${JSON.stringify(text.slice(0, 40))} in one sentence`, () => {
    assert.throws(
      () => parseReference(text),
      (error) => error instanceof Error && error.message.startsWith('invalid image reference "') && reason.test(error.message),
    );
  });
}

const component = fc.stringMatching(/^[a-z0-9]{1,8}([._-][a-z0-9]{1,4})?$/);
const domain = fc.constantFrom('docker.io', 'localhost', 'localhost:5000', 'registry.example.com', '10.0.0.1:443', '[fe80::1]:80', 'UPPER');
const reference = fc.record({
  domain,
  path: fc.array(component, { minLength: 2, maxLength: 4 }).map((parts) => parts.join('/')),
  tag: fc.stringMatching(/^\w[\w.-]{0,20}$/),
});

test('formatReference and parseReference are inverse on whole references', () => {
  fc.assert(
    fc.property(reference, (whole) => {
      assert.deepEqual(parseReference(formatReference(whole)), { ...whole });
    }),
  );
});

test('parseReference either completes a text to a fixed point or refuses it with a sentence', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'abZ09.:/@_-[] \0é'), maxLength: 40 }), (text) => {
      let whole: string;
      try {
        whole = formatReference(parseReference(text));
      } catch (error) {
        assert.match((error as Error).message, /^invalid image reference "/);
        return;
      }
      assert.equal(formatReference(parseReference(whole)), whole);
    }),
    { numRuns: 2000 },
  );
});
