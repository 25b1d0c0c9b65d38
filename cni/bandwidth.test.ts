import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bandwidthOf, planTokenBucket } from './bandwidth.ts';

test('bandwidth is read from the annotations of Kubernetes, as bits', () => {
  assert.equal(bandwidthOf({}), undefined);
  assert.deepEqual(bandwidthOf({ 'kubernetes.io/ingress-bandwidth': '10M', 'kubernetes.io/egress-bandwidth': '1.5Gi' }), {
    ingressRate: 10_000_000,
    egressRate: 1.5 * 2 ** 30,
  });
  for (const wrong of ['999', '2P', 'fast', '10 Mbit', '-1M', ''])
    assert.throws(() => bandwidthOf({ 'kubernetes.io/egress-bandwidth': wrong }), /annotation kubernetes\.io\/egress-bandwidth/);
});

test('a bucket holds 20 ms of its rate when nothing else is said, and a segment at least', () => {
  assert.deepEqual(planTokenBucket(80_000_000, undefined), {
    kind: 'tbf',
    rateBytesPerSecond: 10_000_000n,
    burstBytes: 200_000,
    limitBytes: 450_000,
  });
  assert.equal(planTokenBucket(1000, undefined).burstBytes, 65_536);
  assert.equal(planTokenBucket(80_000_000, 8_000_000).burstBytes, 1_000_000);
  // What containerd sends when nobody asked for a burst.
  assert.equal(planTokenBucket(80_000_000, 2 ** 32 - 1).burstBytes, 200_000);
  assert.equal(planTokenBucket(1e15, undefined).limitBytes, 2 ** 32 - 1);
});
