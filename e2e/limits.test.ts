// Limits of a Pod's YAML as the kernel keeps them. The same file runs on this host and inside guests with other cgroup versions.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { ContainerState } from '../cri-proto/gen/api.ts';
import { BUSYBOX } from './testing/cri.ts';
import { untilContainers } from './testing/pods.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

let node: TestNode;
before(async () => {
  node = await TestNode.create();
  await node.start('node');
});
after(() => node?.destroy());

interface Wanted {
  readonly name: string;
  readonly containers: readonly { readonly name: string; readonly script: string; readonly resources: object }[];
}

function manifest({ name, containers }: Wanted): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 1,
      containers: containers.map(({ name: container, script, resources }) => ({
        name: container,
        image: BUSYBOX,
        command: ['sh', '-c', script],
        resources,
      })),
    },
  });
}

/** A file of a container's cgroup: by its v2 name, else by its v1 name. */
function cgroupFile(containerId: string, ...names: string[]): string {
  for (const name of names)
    for (const directory of node.cgroups().filter((entry) => path.basename(entry) === containerId)) {
      const file = path.join(directory, name);
      if (fs.existsSync(file)) return fs.readFileSync(file, 'utf8').trim();
    }
  throw new Error(`no ${names.join(' or ')} in the cgroups of ${containerId}`);
}

/** Periods of 100 ms in which the container was stopped for having used up its quota. */
function throttledPeriods(containerId: string): number {
  return Number(/^nr_throttled (\d+)/m.exec(cgroupFile(containerId, 'cpu.stat'))?.[1]);
}

/** CPU time of a container's cgroup in seconds. */
function cpuSeconds(containerId: string): number {
  const text = cgroupFile(containerId, 'cpu.stat', 'cpuacct.usage');
  const v2 = /^usage_usec (\d+)/m.exec(text);
  if (v2 !== null) return Number(v2[1]) / 1e6;
  // cgroup v1's cpu.stat has no usage: cpuacct is joined only where something asks for it, so the processes are summed up.
  return procsOf(containerId).reduce((sum, pid) => sum + processSeconds(pid), 0);
}

function procsOf(containerId: string): number[] {
  return cgroupFile(containerId, 'cgroup.procs').split('\n').filter(Boolean).map(Number);
}

/** utime + stime and those of its ended children, in seconds. proc_pid_stat(5) */
function processSeconds(pid: number): number {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
}

async function cpuUse(containerIds: readonly string[], seconds: number): Promise<number[]> {
  const before = containerIds.map(cpuSeconds);
  const start = process.hrtime.bigint();
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const elapsed = Number(process.hrtime.bigint() - start) / 1e9;
  return containerIds.map((id, i) => (cpuSeconds(id) - (before[i] ?? 0)) / elapsed);
}

/** The measurement that is right, or the last of three: a machine too busy to give what is measured says nothing about limits. */
async function measure(containerIds: readonly string[], right: (use: readonly number[]) => boolean): Promise<number[]> {
  for (let attempt = 1; ; attempt++) {
    const use = await cpuUse(containerIds, 5);
    if (right(use) || attempt === 3) return use;
  }
}

function within(actual: number, expected: number, share: number, what: string): void {
  assert.ok(Math.abs(actual - expected) <= expected * share, `${what}: ${actual.toFixed(3)}, expected ${expected} within ${share * 100} %`);
}

const SPIN = 'while :; do :; done';

test('limits {memory: 64Mi, cpu: 250m} stand in the cgroup, and CPU use stays within 10 % of the quota', async (t) => {
  t.after(() => node.removeManifest('limited.json'));
  const pod = { name: 'limited', containers: [{ name: 'main', script: SPIN, resources: { limits: { memory: '64Mi', cpu: '250m' } } }] };
  node.addManifest('limited.json', manifest(pod));
  const id = (await untilContainers(node, pod.name, { state: ContainerState.CONTAINER_RUNNING })).get('main')?.id ?? '';
  assert.equal(cgroupFile(id, 'memory.max', 'memory.limit_in_bytes'), '67108864');
  assert.match(cgroupFile(id, 'cpu.max', 'cpu.cfs_quota_us'), /^25000( 100000)?$/);
  const [started, before] = [performance.now(), throttledPeriods(id)];
  // More than the quota is wrong at once.
  const [use = 0] = await measure([id], ([use = 0]) => use >= 0.25 * 0.9);
  const throttled = ((throttledPeriods(id) - before) * 100) / (performance.now() - started);
  t.diagnostic(`used ${use.toFixed(3)} of a CPU, stopped in ${(throttled * 100).toFixed(0)} % of the periods`);
  // Less is wrong where the quota is what keeps it from more: others may take the CPUs of this machine.
  if (throttled > 0.9 || use > 0.25) within(use, 0.25, 0.1, 'CPU use');
  if (use > 0.25 * 0.9) assert.ok(throttled > 0, 'the quota stops it');
});

test('a container over its memory limit ends with 137, OOMKilled, and the kernel has counted it', async (t) => {
  t.after(() => node.removeManifest('hog.json'));
  const pod = { name: 'hog', containers: [{ name: 'main', script: 'exec tail /dev/zero', resources: { limits: { memory: '32Mi' } } }] };
  node.addManifest('hog.json', manifest(pod));
  const status = (await untilContainers(node, pod.name, { state: ContainerState.CONTAINER_EXITED, timeoutMs: 60_000 })).get('main');
  assert.deepEqual([status?.exitCode, status?.reason], [137, 'OOMKilled']);
  const { info } = await node.cri.runtime.containerStatus({ containerId: status?.id ?? '', verbose: true });
  assert.ok((JSON.parse(info.info ?? '{}') as { oomKills: number }).oomKills >= 1, info.info);
});

test('two stressors with equal requests get equal CPU time within 10 %', async (t) => {
  t.after(() => node.removeManifest('equals.json'));
  const resources = { requests: { cpu: '100m' } };
  // More spinning processes than CPUs in each, so that they compete on every CPU.
  const spinning = 2 * os.availableParallelism();
  const script = `i=0; while [ $((i += 1)) -le ${spinning} ]; do (${SPIN}) & done; wait`;
  const pod = {
    name: 'equals',
    containers: [
      { name: 'one', script, resources },
      { name: 'two', script, resources },
    ],
  };
  node.addManifest('equals.json', manifest(pod));
  const statuses = await untilContainers(node, pod.name, { state: ContainerState.CONTAINER_RUNNING, count: 2 });
  const ids = ['one', 'two'].map((name) => statuses.get(name)?.id ?? '');
  await poll('all stressors to spin', () => ids.every((id) => procsOf(id).length === spinning + 1));
  // Other load may stay on one CPU beside one of the two; the load balancer takes it away again.
  const [one = 0, two = 0] = await measure(ids, ([one = 0, two = 0]) => Math.abs(one - two) <= (one + two) * 0.1);
  within(one, (one + two) / 2, 0.1, 'the share of one');
});
