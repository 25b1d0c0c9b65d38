import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { openCgroup, removeCgroup } from '../../runtime/cgroup/apply.ts';
import { detectCgroupHost } from '../../runtime/cgroup/host.ts';
import { cgroupProblem } from '../../runtime/cgroup/root.ts';
import { makePod } from '../pod/testing/model.ts';
import { createPodCgroups, podCgroupPath } from './pod-cgroups.ts';

const host = detectCgroupHost();
const skip = process.getuid?.() === 0 ? (cgroupProblem(host) ?? false) : 'needs root: makes cgroups';
const root = `/tsk-test-${process.pid}`;
after(async () => {
  if (skip === false) await removeCgroup(openCgroup(host, root));
});

/** The v2 file where the controller is on cgroup2, else its v1 counterpart. */
function read(cgroup: string, controller: string, v2: string, v1: string): string {
  const mount = host.unifiedControllers.includes(controller) ? host.unified : host.v1[controller];
  return fs.readFileSync(path.join(mount ?? '', cgroup, host.unifiedControllers.includes(controller) ? v2 : v1), 'utf8').trim();
}

test('a pod gets its limits in the kernel, its class the weight of its pods, and nothing is left', { skip }, async () => {
  const cgroups = createPodCgroups({ host, root, podPidsLimit: 50n });
  const pod = makePod('Always', ['a', 'b']);
  for (const container of pod.spec?.containers ?? [])
    container.resources = { limits: { memory: '32Mi', cpu: '250m' }, requests: { memory: '16Mi', cpu: '100m' } };
  const cgroup = podCgroupPath(root, pod);
  assert.equal(cgroups.pathOf(pod), cgroup);
  await cgroups.updateQos([pod]);
  await cgroups.ensure(pod);
  await cgroups.ensure(pod);
  assert.equal(read(cgroup, 'memory', 'memory.max', 'memory.limit_in_bytes'), String(64 << 20));
  assert.match(read(cgroup, 'cpu', 'cpu.max', 'cpu.cfs_quota_us'), /^50000\b/);
  assert.equal(read(cgroup, 'pids', 'pids.max', 'pids.max'), '50');
  const weights = { v2: /^\d+$/, v1: /^204$/ };
  assert.match(
    read(path.dirname(cgroup), 'cpu', 'cpu.weight', 'cpu.shares'),
    host.unifiedControllers.includes('cpu') ? weights.v2 : weights.v1,
  );
  assert.deepEqual(await cgroups.list(), [pod.metadata?.uid]);
  await cgroups.removeEmpty();
  assert.deepEqual(await cgroups.list(), [pod.metadata?.uid], 'a cgroup in use stays');
  await cgroups.remove(pod.metadata?.uid ?? '');
  await cgroups.remove(pod.metadata?.uid ?? '');
  await cgroups.removeEmpty();
  assert.deepEqual(await cgroups.list(), []);
  assert.equal(fs.existsSync(path.join(host.unified ?? '/nonexistent', root, 'kubepods')), false);
});
