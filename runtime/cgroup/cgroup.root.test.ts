// The same tests on whatever cgroup version the running kernel offers; e2e/guest runs this file in cgroup2 kernels too.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createCgroup, directoriesOf, openCgroup, procsFiles, removeCgroup, updateCgroup } from './apply.ts';
import type { Cgroup, Resources } from './cgroup.ts';
import { detectCgroupHost } from './host.ts';
import { oomWatch } from './oom.ts';
import { controllerVersion, planCgroup } from './plan.ts';
import { freezeCgroup, killCgroup, readProcs, thawCgroup } from './processes.ts';
import { ensureCgroupRoot, gatherCgroupRootFacts, listCgroups, planCgroupRoot } from './root.ts';
import { oomKills, readStats } from './stats.ts';

const host = detectCgroupHost();
const base = `/tsk-test-${process.pid}`;
const skip =
  process.getuid?.() !== 0
    ? 'needs root'
    : host.mode === 'none' || !host.writable
      ? `cgroups are ${host.mode === 'none' ? 'not mounted' : 'read-only'}`
      : false;
const without = (controller: string) =>
  skip || (controllerVersion(host, controller) === undefined ? `this kernel has no ${controller} controller` : false);

after(async () => {
  if (skip) return;
  const cgroup = openCgroup(host, base);
  await killCgroup(cgroup);
  for (const child of await listCgroups(host, base)) await killCgroup(openCgroup(host, child));
  await removeCgroup(cgroup);
});

const create = (name: string, resources: Resources) => createCgroup(host, `${base}/${name}`, planCgroup(resources, host));

/** Starts a shell script that joins the cgroup before its first line. */
function startIn(cgroup: Cgroup, script: string): ChildProcess {
  const { unified, v1Procs } = procsFiles(cgroup);
  const files = [...v1Procs, ...(unified === undefined ? [] : [path.join(unified, 'cgroup.procs')])];
  return spawn('sh', ['-c', `for file; do echo 0 >"$file" || exit 99; done; ${script}`, 'sh', ...files], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function ended(child: ChildProcess): Promise<[code: number | null, signal: string | null]> {
  const [code, signal] =
    child.exitCode === null && child.signalCode === null ? await once(child, 'exit') : [child.exitCode, child.signalCode];
  return [code, signal];
}

async function poll(what: string, reached: () => Promise<boolean> | boolean, timeoutMs = 10_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await reached())) {
    if (Date.now() > deadline) throw new Error(`${what} did not happen within ${timeoutMs} ms`);
    await delay(20);
  }
}

function readBack(cgroup: Cgroup, v2File: string, v1File: string): string {
  const controller = v2File.split('.')[0] ?? '';
  const directory = controllerVersion(host, controller) === 2 ? cgroup.unifiedDir : cgroup.v1Dirs[controller];
  return fs.readFileSync(path.join(directory ?? '', controllerVersion(host, controller) === 2 ? v2File : v1File), 'utf8').trim();
}

test('limits read back from the kernel as they were asked for', {
  skip: without('memory') || without('cpu') || without('pids'),
}, async (t) => {
  t.diagnostic(`cgroup ${host.mode} host`);
  const cgroup = await create('limits', {
    memoryLimitBytes: 67108864n,
    memorySwapLimitBytes: 67108864n,
    cpuQuotaUs: 25000n,
    cpuShares: 1024n,
    pidsLimit: 50n,
  });
  assert.equal(readBack(cgroup, 'memory.max', 'memory.limit_in_bytes'), '67108864');
  assert.equal(readBack(cgroup, 'pids.max', 'pids.max'), '50');
  if (controllerVersion(host, 'cpu') === 2) {
    assert.equal(readBack(cgroup, 'cpu.max', ''), '25000 100000');
    assert.equal(readBack(cgroup, 'cpu.weight', ''), '100');
  } else {
    assert.equal(fs.readFileSync(`${cgroup.v1Dirs.cpu}/cpu.cfs_quota_us`, 'utf8').trim(), '25000');
    assert.equal(fs.readFileSync(`${cgroup.v1Dirs.cpu}/cpu.shares`, 'utf8').trim(), '1024');
  }
  const stats = await readStats(cgroup);
  assert.equal(stats.memory?.limitBytes, 67108864n);
  assert.deepEqual(stats.pids, { current: 0n, limit: 50n });
  assert.equal(stats.cpu?.usageNs, 0n);
});

test('a memory limit can be raised and lowered, swap with it', { skip: without('memory') }, async () => {
  const both = (mebibytes: bigint) => ({ memoryLimitBytes: mebibytes << 20n, memorySwapLimitBytes: mebibytes << 20n });
  const cgroup = await create('resize', both(64n));
  for (const mebibytes of [128n, 32n, 256n]) {
    await updateCgroup(host, cgroup, planCgroup(both(mebibytes), host));
    assert.equal((await readStats(cgroup)).memory?.limitBytes, mebibytes << 20n);
  }
  await updateCgroup(host, cgroup, planCgroup({ memoryLimitBytes: -1n, memorySwapLimitBytes: -1n }, host));
  assert.equal((await readStats(cgroup)).memory?.limitBytes, undefined);
});

test('a refused value names file, value and cgroup', { skip: without('pids') }, async () => {
  const plan = { writes: [{ controller: 'pids', file: 'pids.max', value: 'many' }], controllers: ['pids'], unexpressed: [] };
  await assert.rejects(createCgroup(host, `${base}/refused`, plan), /write "many" to pids\.max of cgroup .*refused/);
});

test('an OOM kill is counted, told, and takes the whole group where asked for', { skip: without('memory') }, async () => {
  const cgroup = await create('oom', { memoryLimitBytes: 32n << 20n, memorySwapLimitBytes: 32n << 20n, memoryOomGroup: true });
  const told: number[] = [];
  const watch = oomWatch(cgroup, (kills) => {
    told.push(kills);
    void killCgroup(cgroup);
  });
  try {
    const bystander = startIn(cgroup, 'echo joined; exec sleep 60');
    // Else it might join what has been killed already.
    await once(bystander.stdout!, 'data');
    const hog = startIn(cgroup, 'exec tail /dev/zero');
    assert.deepEqual(await ended(hog), [null, 'SIGKILL']);
    assert.deepEqual(await ended(bystander), [null, 'SIGKILL']);
    await poll('the notice of the OOM kill', () => told.length > 0);
    assert.ok(oomKills(cgroup) >= 1);
    assert.ok(((await readStats(cgroup)).memory?.oomKills ?? 0n) >= 1n);
  } finally {
    watch.close();
  }
});

test('CPU time stays within the quota', { skip: without('cpu') }, async () => {
  const cgroup = await create('quota', { cpuQuotaUs: 25000n });
  startIn(cgroup, 'while :; do :; done');
  await poll('the first period', async () => ((await readStats(cgroup)).cpu?.throttling?.periods ?? 0n) > 2n);
  // The clock runs around both readings: what they take does not count as the loop's.
  const start = process.hrtime.bigint();
  const before = await readStats(cgroup);
  await delay(2000);
  const after = await readStats(cgroup);
  const share = Number((after.cpu?.usageNs ?? 0n) - (before.cpu?.usageNs ?? 0n)) / Number(process.hrtime.bigint() - start);
  await killCgroup(cgroup);
  assert.ok(share > 0 && share < 0.275, `used ${share} of a CPU`);
  // On a machine whose CPUs are taken by others the loop may not even reach its quota.
  if (share > 0.2) assert.ok((after.cpu?.throttling?.throttledPeriods ?? 0n) > 0n);
});

test('pids.max stops the fork that is one too many', { skip: without('pids') }, async () => {
  const cgroup = await create('pids', { pidsLimit: 3n });
  const child = startIn(cgroup, 'for i in 1 2 3 4 5; do sleep 60 & done; wait');
  let stderr = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  await poll('the refused fork', () => /fork/i.test(stderr));
  assert.ok(((await readStats(cgroup)).pids?.current ?? 99n) <= 3n);
  await killCgroup(cgroup);
});

test('a cgroup without limits of its own obeys the limit of its parent', { skip: without('pids') }, async () => {
  await create('parent', { pidsLimit: 3n });
  const cgroup = await createCgroup(host, `${base}/parent/child`, planCgroup({}, host));
  const child = startIn(cgroup, 'for i in 1 2 3 4 5; do sleep 60 & done; wait');
  let stderr = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  await poll('the refused fork', () => /fork/i.test(stderr));
  await killCgroup(cgroup);
});

test('a cpuset of a new cgroup takes processes', { skip: without('cpuset') }, async () => {
  const cgroup = await create('cpuset', { cpusetCpus: '0' });
  const child = startIn(cgroup, 'grep Cpus_allowed_list /proc/self/status');
  let stdout = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  await once(child, 'close');
  assert.match(stdout, /^Cpus_allowed_list:\s+0$/m);
});

test('a frozen cgroup uses no CPU time and runs on when thawed', { skip }, async () => {
  const cgroup = await create('freeze', {});
  startIn(cgroup, 'while :; do :; done');
  await poll('CPU use', async () => ((await readStats(cgroup)).cpu?.usageNs ?? 0n) > 0n);
  await freezeCgroup(cgroup);
  const usage = async () => (await readStats(cgroup)).cpu?.usageNs ?? 0n;
  const frozenAt = await usage();
  await delay(100);
  assert.equal(await usage(), frozenAt);
  await thawCgroup(cgroup);
  await poll('CPU use after the thaw', async () => (await usage()) > frozenAt);
  await killCgroup(cgroup);
});

test('kill takes grandchildren and nested cgroups, removal waits for them, and both may be repeated', { skip }, async () => {
  // Leaves hold the processes, as cgroup2 wants it.
  const cgroup = await create('kill', { pidsLimit: 20n });
  const first = startIn(await create('kill/a', { pidsLimit: 20n }), 'sleep 60 & sleep 60 & wait');
  const second = startIn(await create('kill/b', { pidsLimit: 20n }), 'sleep 60 & wait');
  await poll('five processes', async () => (await readProcs(cgroup)).length === 5);
  await killCgroup(cgroup);
  await removeCgroup(cgroup);
  assert.deepEqual(await ended(first), [null, 'SIGKILL']);
  assert.deepEqual(await ended(second), [null, 'SIGKILL']);
  assert.deepEqual(
    directoriesOf(cgroup).filter((directory) => fs.existsSync(directory)),
    [],
  );
  await killCgroup(cgroup);
  await removeCgroup(cgroup);
  assert.deepEqual(await readProcs(cgroup), []);
  assert.deepEqual(await readStats(cgroup), { pressure: {}, hugetlb: [] });
});

test('removing a cgroup in use names a process in it', { skip }, async () => {
  const cgroup = await create('busy', {});
  const child = startIn(cgroup, 'exec sleep 60');
  await poll('the process', async () => (await readProcs(cgroup)).length === 1);
  await assert.rejects(removeCgroup(cgroup, { timeoutMs: 50 }), new RegExp(`still holds process ${child.pid}`));
  await killCgroup(cgroup);
  await removeCgroup(cgroup);
});

test('a parent that holds processes is named when cgroup2 forbids limits below it', { skip }, async (t) => {
  const [controller] = host.unifiedControllers.filter((name) => ['memory', 'hugetlb', 'io'].includes(name));
  if (controller === undefined) return t.skip('cgroup2 has no domain controller here');
  const cgroup = await create('inner', {});
  startIn(cgroup, 'exec sleep 60');
  await poll('the process', async () => (await readProcs(cgroup)).length === 1);
  const plan = { writes: [{ controller, file: 'cgroup.max.depth', value: '5' }], controllers: [], unexpressed: [] };
  await assert.rejects(createCgroup(host, `${base}/inner/child`, plan), /inner holds processes itself/);
  await killCgroup(cgroup);
});

test('the node has its own cgroups below a root, and finds what is left there', { skip }, async () => {
  const place = planCgroupRoot(gatherCgroupRootFacts(host, { flag: `${base}/node` }));
  await ensureCgroupRoot(host, place);
  await ensureCgroupRoot(host, place);
  await create('node/cri/left-over', { pidsLimit: 5n });
  assert.deepEqual(await listCgroups(host, place.root), [`${base}/node/cri`, `${base}/node/cri/left-over`, `${base}/node/tskubelet-shims`]);
  assert.deepEqual(await listCgroups(host, `${base}/absent`), []);
});
