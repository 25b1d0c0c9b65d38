// What the kernel counts, explain tells as nft(8) does; and none of it is lost when pods come and go or the table is made anew.
import assert from 'node:assert/strict';
import type { ExplainedNat } from '../cri-proto/explained-network.ts';
import type { Network } from './client.ts';
import { hostTest, openNamespace, poll, run, startPeer } from './testing/host.ts';
import { attach, open, openOutside } from './testing/network.ts';

const mapping = [{ protocol: 'tcp', hostPort: 8080, containerPort: 80 }] as const;

async function explain(network: Network, name = 'web'): Promise<ExplainedNat> {
  const { nat } = (await network.explain(name)) ?? {};
  assert.ok(nat);
  return nat;
}

/** Connections by hostPort and family, and by what rules say of themselves. */
async function connections(network: Network, name = 'web'): Promise<Record<string, number | undefined>> {
  const { hostPorts, rules } = await explain(network, name);
  return Object.fromEntries([
    ...hostPorts.map(({ map, count }) => [map, count?.packets]),
    ...rules.filter(({ comment }) => /other networks/.test(comment)).map(({ comment, count }) => [comment, count?.packets]),
  ]) as Record<string, number | undefined>;
}

hostTest('connections are counted by hostPort and by rule, through every change of the table', import.meta.url, async () => {
  const { network, stateDir, notices } = await open();
  const outside = await openOutside();
  const web = await startPeer('web');
  await attach(network, web, mapping);
  for (let i = 0; i < 3; i++) assert.equal(await outside.request('tcp', '192.0.2.1', 8080), 'web 192.0.2.2');
  assert.equal(await outside.request('tcp', '2001:db8::1', 8080), 'web 2001:db8::2');
  for (let i = 0; i < 2; i++) assert.equal(await web.request('tcp', '192.0.2.2', 80), 'outside 192.0.2.1');
  assert.equal(await web.request('tcp', '2001:db8::2', 80), 'outside 2001:db8::1');
  const counted = { hostport4: 3, hostport6: 1, 'pods to other networks, IPv4': 2, 'pods to other networks, IPv6': 1 };
  assert.deepEqual(await connections(network), counted);
  // A table that has counted is still the one that was asked for.
  const handles = () => run('nft -a list table inet tskubelet | grep -o "handle.*"');
  const before = handles();
  await network.reconcile(new Set(['web']));
  assert.equal(handles(), before);

  const { hostPorts, rules } = await explain(network);
  assert.match(hostPorts[0]?.element ?? '', /^tcp \. 8080 counter packets 3 bytes \d{3} : 10\.244\.0\.2 \. 80$/);
  for (const { element, command } of hostPorts) assert.ok(run(command).includes(element), element);
  const table = run('nft list table inet tskubelet');
  for (const { text, comment } of rules)
    assert.ok(table.includes(`${text.replace(/^meta nfproto ipv[46] /, '')} comment "${comment}"`), text);

  await attach(network, openNamespace('other'), [{ ...mapping[0], hostPort: 8081 }]);
  await network.detach('other');
  assert.deepEqual(await connections(network), counted);

  notices.length = 0;
  run('nft add rule inet tskubelet output accept');
  await poll('the notice', () => notices.length > 0);
  assert.match(notices.join(), /has been put back/);
  assert.deepEqual(await connections(network), counted);

  await network.close();
  const again = await open({ stateDir, nonMasqueradeCidrs: ['198.51.100.0/24'] });
  await again.network.reconcile(new Set(['web']));
  assert.match(run('nft list chain inet tskubelet postrouting'), /198\.51\.100\.0\/24, which knows them/);
  assert.deepEqual(await connections(again.network), counted);
  assert.equal(await outside.request('tcp', '192.0.2.1', 8080), 'web 192.0.2.2');
  assert.equal((await connections(again.network)).hostport4, 4);

  await again.network.detach('web');
  await attach(again.network, openNamespace('next'), mapping);
  const moved = { ...counted, hostport4: 0, hostport6: 0 };
  assert.deepEqual(await connections(again.network, 'next'), moved);
  run('nft flush ruleset');
  const none = Object.fromEntries(Object.keys(counted).map((key) => [key, 0]));
  await poll('the table', () => run('nft list tables').includes('tskubelet'));
  assert.deepEqual(await connections(again.network, 'next'), none);
});
