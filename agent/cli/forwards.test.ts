import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { V1Pod } from '@kubernetes/client-node';
import { parseAddresses, parseForward, renderAddress } from './forwards.ts';

const pod: V1Pod = {
  metadata: { name: 'web' },
  spec: { containers: [{ name: 'c', ports: [{ name: 'http', containerPort: 8000 }, { containerPort: 9 }] }] },
};

test('a forward is a port of the pod, and one here', () => {
  for (const [word, local, remote] of [
    ['80', 80, 80],
    ['8080:80', 8080, 80],
    [':80', 0, 80],
    ['0:80', 0, 80],
    ['http', 8000, 8000],
    ['18000:http', 18000, 8000],
  ] as const)
    assert.deepEqual(parseForward(word, pod), { local, remote }, word);
  for (const wrong of ['', ':', '80:', '1:2:3', '0', '65536', '8x:80', '-1:80', '70000:80'])
    assert.throws(() => parseForward(wrong, pod), { exitCode: 2 }, wrong);
  assert.throws(() => parseForward('https', pod), { message: 'pod web has no port named "https": it has http', exitCode: 1 });
});

test('localhost is both loopback addresses, of which IPv6 may be missing', () => {
  const both = [
    { host: '127.0.0.1', optional: false },
    { host: '::1', optional: true },
  ];
  assert.deepEqual(parseAddresses(), both);
  assert.deepEqual(parseAddresses('localhost,127.0.0.1'), both);
  assert.deepEqual(parseAddresses('0.0.0.0, 10.1.2.3'), [
    { host: '0.0.0.0', optional: false },
    { host: '10.1.2.3', optional: false },
  ]);
  for (const wrong of ['', 'example.com', '1.2.3']) assert.throws(() => parseAddresses(wrong), { exitCode: 2 }, wrong);
  assert.equal(renderAddress('::1', 80), '[::1]:80');
  assert.equal(renderAddress('127.0.0.1', 80), '127.0.0.1:80');
});
