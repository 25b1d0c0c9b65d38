import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { V1Pod, V1ResourceRequirements } from '@kubernetes/client-node';
import { makePod } from '../pod/testing/model.ts';
import { planContainerResources } from './container-resources.ts';
import { cpuQuotaUs, cpuShares } from './cpu.ts';
import { planPodResources, podCgroupPath } from './pod-cgroups.ts';
import { computeQosClass } from './qos.ts';

function podWith(...resources: V1ResourceRequirements[]): V1Pod {
  const pod = makePod(
    'Always',
    resources.map((_, index) => `c${index}`),
  );
  for (const [index, container] of (pod.spec?.containers ?? []).entries()) container.resources = resources[index] ?? {};
  return pod;
}

test('the QoS class follows from cpu and memory of every container', () => {
  const full = { limits: { cpu: '1', memory: '1Gi' } };
  for (const [resources, qos] of [
    [[{}], 'BestEffort'],
    [[{ limits: { 'example.com/device': '1' } }], 'BestEffort'],
    [[full], 'Guaranteed'],
    [[{ limits: full.limits, requests: { cpu: '1000m', memory: '1024Mi' } }], 'Guaranteed'],
    [[{ limits: full.limits, requests: { cpu: '500m', memory: '1Gi' } }], 'Burstable'],
    [[full, {}], 'Burstable'],
    [[{ requests: { memory: '1Mi' } }], 'Burstable'],
    [[{ limits: { cpu: '0', memory: '0' } }], 'BestEffort'],
  ] as const)
    assert.equal(computeQosClass(podWith(...resources)), qos, JSON.stringify(resources));
});

test('milliCPU become shares and quota within the bounds of the kernel', () => {
  assert.deepEqual([0n, 1n, 100n, 1000n, 2000n, 10_000_000n].map(cpuShares), [2n, 2n, 102n, 1024n, 2048n, 262_144n]);
  assert.deepEqual([1n, 10n, 250n, 1500n].map(cpuQuotaUs), [1000n, 1000n, 25_000n, 150_000n]);
});

test('limits become quota, memory without swap and hugepages', () => {
  const pod = podWith({ limits: { cpu: '250m', memory: '64Mi', 'hugepages-2Mi': '4Mi' } });
  const resources = planContainerResources(pod, pod.spec!.containers[0]!, 8n << 30n);
  assert.equal(resources.cpuQuota, 25_000n);
  assert.equal(resources.cpuPeriod, 100_000n);
  assert.equal(resources.cpuShares, 256n);
  assert.equal(resources.memoryLimitInBytes, 67_108_864n);
  assert.equal(resources.memorySwapLimitInBytes, 67_108_864n);
  assert.deepEqual(
    resources.hugepageLimits.map(({ pageSize, limit }) => [pageSize, limit]),
    [['2MB', 4_194_304n]],
  );
  assert.equal(resources.unified['memory.oom.group'], '1');
});

test('oom_score_adj follows the QoS class, and the request of a burstable container', () => {
  const capacity = 8n << 30n;
  for (const [resources, expected] of [
    [{}, 1000n],
    [{ limits: { cpu: '1', memory: '1Gi' } }, -997n],
    [{ requests: { memory: '4Gi' } }, 500n],
    [{ requests: { cpu: '1' } }, 999n],
    [{ requests: { memory: '8Gi' } }, 3n],
  ] as const) {
    const pod = podWith(resources);
    assert.equal(planContainerResources(pod, pod.spec!.containers[0]!, capacity).oomScoreAdj, expected, JSON.stringify(resources));
  }
});

test('a pod is limited in what each of its containers is limited in', () => {
  const pod = podWith({ limits: { cpu: '500m', memory: '64Mi' } }, { limits: { cpu: '250m' } });
  assert.deepEqual(planPodResources(pod, 100n), { cpuShares: 768n, cpuQuotaUs: 75_000n, cpuPeriodUs: 100_000n, pidsLimit: 100n });
  assert.equal(planPodResources(podWith({ limits: { memory: '1Mi' } }, { limits: { memory: '2Mi' } }), -1n).memoryLimitBytes, 3n << 20n);
});

test('pods stand below their QoS class, guaranteed ones below kubepods itself', () => {
  const uid = podWith({}).metadata?.uid;
  assert.equal(podCgroupPath('/', podWith({})), `/kubepods/besteffort/pod${uid}`);
  assert.equal(podCgroupPath('/node', podWith({ requests: { cpu: '1' } })), `/node/kubepods/burstable/pod${uid}`);
  assert.equal(podCgroupPath('/', podWith({ limits: { cpu: '1', memory: '1Gi' } })), `/kubepods/pod${uid}`);
});
