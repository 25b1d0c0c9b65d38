// Crash tests: a process of its own attaches or detaches and ends itself by SIGKILL at a fault point; a new one reconciles.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { cleanup, hostTest, missing, poll, run, startPeer, temporaryDirectory } from './testing/host.ts';
import { attach, open } from './testing/network.ts';

const crasher = path.join(import.meta.dirname, 'testing', 'crash.ts');
const mapping = [{ protocol: 'tcp', hostPort: 8080, containerPort: 80 }] as const;

/** Links, addresses, leases, records and the table's text. */
function footprint(stateDir: string): string {
  const files = ['attachments', 'ipam'].flatMap((name) => fs.readdirSync(path.join(stateDir, name)));
  return `${run('ip -o link | cut -d: -f2; ip -o addr show dev tsk0 scope global; nft -s list table inet tskubelet')}${files.join()}`;
}

/** Gives the last fault point that was passed, and whether the process was killed there. */
async function crash(verb: 'attach' | 'detach', stateDir: string, pid: number, at: number): Promise<{ point: string; killed: boolean }> {
  const child = spawn(process.execPath, [crasher, verb, stateDir, String(pid), String(at)], { stdio: ['ignore', 'pipe', 'inherit'] });
  cleanup(() => child.kill('SIGKILL'));
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const signal = await new Promise((resolve) => child.on('close', (_, ended) => resolve(ended)));
  return { point: output.trim().split('\n').at(-1) ?? '', killed: signal === 'SIGKILL' };
}

hostTest('after kill -9 at any point of attach, reconcile leaves nothing behind, and attach works again', import.meta.url, async () => {
  const { network, stateDir } = await open();
  const before = footprint(stateDir);
  await network.close();
  const pod = await startPeer('pod');
  const points: string[] = [];
  for (let at = 0; ; at++) {
    const { point, killed } = await crash('attach', stateDir, pod.pid, at);
    if (!killed) break;
    points.push(point);
    const { network: next } = await open({ stateDir });
    // The sandbox lives on: what was half attached goes all the same.
    await next.reconcile(new Set(['pod']));
    assert.equal(footprint(stateDir), before, point);
    await attach(next, pod, mapping);
    assert.equal(await pod.request('tcp', '10.244.0.1', 8080), 'pod 10.244.0.1', point);
    await next.detach('pod');
    assert.equal(footprint(stateDir), before, point);
    await next.close();
  }
  assert.deepEqual(points, ['recorded', 'added host-local', 'added bridge', 'added bandwidth', 'added portmap']);
});

hostTest('after kill -9 at any point of detach, reconcile finishes it', import.meta.url, async () => {
  const { network, stateDir } = await open();
  const before = footprint(stateDir);
  await network.close();
  const pod = await startPeer('pod');
  const points: string[] = [];
  for (let at = 0; ; at++) {
    const { network: first } = await open({ stateDir });
    await attach(first, pod, mapping);
    await first.close();
    const { point, killed } = await crash('detach', stateDir, pod.pid, at);
    if (!killed) break;
    points.push(point);
    const { network: next } = await open({ stateDir });
    await next.reconcile(new Set());
    assert.equal(footprint(stateDir), before, point);
    await next.close();
  }
  assert.deepEqual(points, ['deleted portmap', 'deleted bandwidth', 'deleted bridge', 'deleted host-local']);
});

hostTest('a restart keeps live attachments, their traffic, and the table', import.meta.url, async () => {
  const { network, stateDir } = await open();
  const web = await startPeer('web');
  const client = await startPeer('client');
  const attached = await attach(network, web, mapping);
  await attach(network, client);
  const handles = run('nft -a list table inet tskubelet');
  await network.close();
  const { network: next, notices } = await open({ stateDir });
  await next.reconcile(new Set(['web', 'client']));
  assert.equal(run('nft -a list table inet tskubelet'), handles);
  assert.deepEqual(notices, []);
  assert.deepEqual(await attach(next, web, mapping), attached);
  assert.equal(await client.request('tcp', '10.244.0.1', 8080), 'web 10.244.0.3');
  await next.reconcile(new Set(['client']));
  assert.equal(await client.request('tcp', '10.244.0.1', 8080), 'ECONNREFUSED');
  assert.equal(run('ip -o link show master tsk0 | wc -l').trim(), '1');
});

hostTest('what belongs to a sandbox is released when its namespace dies unasked', import.meta.url, async () => {
  const { network, stateDir } = await open();
  const before = footprint(stateDir);
  const pods = await Promise.all(Array.from({ length: 5 }, (_, i) => startPeer(`pod${i}`)));
  for (const [i, pod] of pods.entries()) await attach(network, pod, [{ ...mapping[0], hostPort: 9000 + i }]);
  await Promise.all(pods.map((pod) => pod.kill()));
  await Promise.all(pods.map(({ name }) => network.detach(name)));
  assert.equal(footprint(stateDir), before);
});

hostTest('a flushed ruleset is put back with its hostPorts, and says who flushed it', import.meta.url, async () => {
  const { network, notices } = await open();
  const web = await startPeer('web');
  await attach(network, web, mapping);
  const before = run('nft -s list ruleset');
  notices.length = 0;
  run('nft flush ruleset');
  await poll('the table', () => run('nft -s list ruleset') === before);
  await poll('the notice', () => notices.length > 0);
  assert.match(notices.join(), /^nftables table tskubelet was changed by nft \(pid \d+\) and has been put back$/);
  notices.length = 0;
  run('nft delete element inet tskubelet hostport4 { tcp . 8080 }; nft flush chain inet tskubelet output');
  await poll('the table', () => run('nft -s list ruleset') === before);
  // Another table is nobody's business.
  await poll('the notice', () => notices.length > 0);
  notices.length = 0;
  run('nft add table inet other; nft delete table inet other');
  await new Promise((resolve) => setTimeout(resolve, 1200));
  assert.deepEqual(notices, []);
});

hostTest('a deleted bridge comes back with its ports at reconcile, or when the next pod needs it', import.meta.url, async () => {
  const { network } = await open();
  const a = await startPeer('a');
  const b = await startPeer('b');
  await attach(network, a);
  run('ip link delete tsk0');
  await network.reconcile(new Set(['a']));
  await poll('the bridge', async () => (await a.request('tcp', '10.244.0.1', 1)) === 'ECONNREFUSED');
  run('ip link delete tsk0');
  await attach(network, b);
  assert.match(await b.request('tcp', '10.244.0.2', 80), /^a 10/);
});

hostTest('attachments of an earlier boot are dropped', import.meta.url, async () => {
  const { network, stateDir } = await open();
  await attach(network, await startPeer('a'));
  await network.close();
  for (const directory of ['attachments', 'ipam'])
    for (const name of fs.readdirSync(path.join(stateDir, directory))) {
      const file = path.join(stateDir, directory, name);
      fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace(/"bootId":"[^"]*"/, '"bootId":"another"'));
    }
  const { network: next } = await open({ stateDir });
  await next.reconcile(new Set());
  assert.deepEqual(fs.readdirSync(path.join(stateDir, 'ipam')), []);
  assert.equal(run('ip -o link show master tsk0 | wc -l').trim(), '0');
});

hostTest(
  'without nf_tables there is a sentence, pods work, and hostPorts are refused',
  import.meta.url,
  async () => {
    const { denyNetfilter } = await import('./testing/deny-netfilter.ts');
    denyNetfilter();
    const { network, notices } = await open({ stateDir: temporaryDirectory() });
    assert.match(notices.join('\n'), /this kernel has no nf_tables: pods reach each other and this machine/);
    assert.equal(network.status().ready, true);
    const a = await startPeer('a');
    const b = await startPeer('b');
    await attach(network, a);
    await assert.rejects(attach(network, b, mapping), (error: Error) => {
      assert.match((error.cause as Error).message, /^hostPort 8080\/tcp needs nf_tables, which this kernel does not have$/);
      return true;
    });
    await attach(network, b);
    assert.equal(await b.request('tcp', '10.244.0.2', 80), 'a 10.244.0.3');
    await network.detach('a');
    await network.reconcile(new Set());
    await network.close({ remove: true });
  },
  missing(),
);
