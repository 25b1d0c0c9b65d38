// What cannot be: taken hostPorts, taken ranges, full ranges, steps that fail; and what can: two nodes, many pods at once, another range.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { hostTest, openNamespace, poll, requestFromHost, run, startPeer, temporaryDirectory } from './testing/host.ts';
import { attach, open } from './testing/network.ts';

const mapping = [{ protocol: 'tcp', hostPort: 8080, containerPort: 80 }] as const;

function causeOf(error: unknown): string {
  return ((error as Error).cause as Error).message;
}

async function refusal(attempt: Promise<unknown>): Promise<string> {
  return attempt.then(
    () => 'not refused',
    (error: unknown) => causeOf(error),
  );
}

hostTest('a taken hostPort is refused with the name of who has it, and free again after detach', import.meta.url, async () => {
  const { network, stateDir } = await open();
  const a = await startPeer('a');
  const b = await startPeer('b');
  await attach(network, a, mapping);
  const before = run('ip -o link | wc -l; nft -s list table inet tskubelet');
  assert.equal(await refusal(attach(network, b, mapping)), 'hostPort 8080/tcp is taken by sandbox a (default/a)');
  assert.equal(
    await refusal(attach(network, b, [{ ...mapping[0], hostIp: '127.0.0.1' }])),
    'hostPort 127.0.0.1:8080/tcp is taken by sandbox a (default/a)',
  );
  assert.equal(run('ip -o link | wc -l; nft -s list table inet tskubelet'), before);
  assert.deepEqual(fs.readdirSync(path.join(stateDir, 'attachments')), ['a.json']);
  await network.detach('a');
  await attach(network, b, mapping);
  assert.equal(await requestFromHost('tcp', '127.0.0.1', 8080), 'b 10.244.0.1');
});

hostTest('a hostPort that a program of the host listens on is refused with its name, and leaves nothing', import.meta.url, async () => {
  const { network, stateDir } = await open();
  const a = await startPeer('a');
  const before = run('ip -o link | wc -l; nft -s list table inet tskubelet');
  // The peer script of the tests serves port 80 of both families wherever it runs.
  const other = await startPeer('other', { onHost: true });
  const program = new RegExp(`is taken by node \\(pid ${other.pid}\\), which listens on it: stop that, or choose another hostPort$`);
  const onto80 = { ...mapping[0], hostPort: 80 };
  assert.match(await refusal(attach(network, a, [onto80])), program);
  assert.match(await refusal(attach(network, a, [{ ...onto80, protocol: 'udp', hostIp: '127.0.0.1' }])), program);
  const own = net.createServer().listen(8080, '127.0.0.1');
  await once(own, 'listening');
  assert.match(await refusal(attach(network, a, mapping)), /^hostPort 8080\/tcp is taken by tskubelet itself/);
  assert.equal(run('ip -o link | wc -l; nft -s list table inet tskubelet'), before);
  assert.deepEqual(fs.readdirSync(path.join(stateDir, 'attachments')), []);
  await attach(network, a, [{ ...mapping[0], hostIp: '::1' }]);
  await network.detach('a');
  own.close();
  await other.kill();
  await attach(network, a, [...mapping, onto80, { ...onto80, protocol: 'udp' }]);
});

hostTest('a port that is only the end of a connection of the host’s is no obstacle', import.meta.url, async () => {
  const { network } = await open();
  const a = await startPeer('a');
  const server = net.createServer().listen(9000, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect({ port: 9000, host: '127.0.0.1', localAddress: '127.0.0.1', localPort: 8080 });
  await once(client, 'connect');
  assert.equal((await attach(network, a, mapping)).ips.length, 2);
  client.destroy();
  server.close();
});

hostTest('a pod range that the host routes elsewhere makes the network not ready, naming the route', import.meta.url, async () => {
  run('ip link add lan type bridge; ip link set lan up; ip addr add 10.244.0.7/16 dev lan');
  const { network } = await open();
  const message = "pod CIDR 10.244.0.0/24 overlaps the host's route 10.244.0.0/16 dev lan: choose another with --pod-cidr";
  assert.deepEqual(network.status(), { ready: false, reason: 'NetworkNotReady', message });
  const a = await startPeer('a');
  assert.equal(await refusal(attach(network, a)), message);
  assert.equal(run('ip -o link | grep -c tsk0 || true').trim(), '0');
  await network.setPodCidrs(['10.245.0.0/24']);
  assert.equal(network.status().ready, true);
  assert.deepEqual((await attach(network, a)).ips, ['10.245.0.2']);
});

hostTest('two nodes live side by side', import.meta.url, async () => {
  const { network: one } = await open();
  const { network: two } = await open({ suffix: '-1a2b3c4d', podCidrs: ['10.246.0.0/24', 'fd00:246::/64'] });
  const a = await startPeer('a');
  const b = await startPeer('b');
  await attach(one, a, mapping);
  await attach(two, b, [{ ...mapping[0], hostPort: 8081 }]);
  assert.equal(await requestFromHost('tcp', '127.0.0.1', 8080), 'a 10.244.0.1');
  assert.equal(await requestFromHost('tcp', '127.0.0.1', 8081), 'b 10.246.0.1');
  assert.equal(await a.request('tcp', '10.246.0.2', 80), 'b 10.246.0.1');
  await one.detach('a');
  await one.close({ remove: true });
  assert.equal(await requestFromHost('tcp', '127.0.0.1', 8081), 'b 10.246.0.1');
  assert.match(run('nft list tables'), /^table inet tskubelet-1a2b3c4d\n$/);
  await two.detach('b');
  await two.close({ remove: true });
  assert.equal(run('nft list tables; ip -o link | wc -l').trim(), '1');
  await assert.rejects(open({ suffix: '-0123456789abcdef' }), /exceeds 15 characters/);
});

hostTest('50 pods attach at once, keep the event loop free, and leave nothing', import.meta.url, async () => {
  const { network, stateDir } = await open();
  const before = run('ip -o link | wc -l; nft -s list table inet tskubelet');
  const pods = Array.from({ length: 50 }, (_, i) => openNamespace(`pod${i}`));
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const started = performance.now();
  const results = await Promise.all(
    pods.map((pod, i) => attach(network, pod, [{ protocol: 'tcp', hostPort: 9000 + i, containerPort: 80 }])),
  );
  console.log(`50 attaches in ${performance.now() - started} ms, event loop delay p99 ${delay.percentile(99) / 1e6} ms`);
  assert.equal(new Set(results.flatMap(({ ips }) => ips)).size, 2 * pods.length);
  await Promise.all(pods.map(({ name }) => network.detach(name)));
  assert.equal(run('ip -o link | wc -l; nft -s list table inet tskubelet'), before);
  assert.deepEqual(fs.readdirSync(path.join(stateDir, 'ipam')), []);
});

hostTest('a full range refuses the next pod by its name, and nothing of that pod stays', import.meta.url, async () => {
  const { network, stateDir } = await open({ podCidrs: ['10.244.9.0/30'] });
  const a = await startPeer('a');
  const b = await startPeer('b');
  await attach(network, a);
  const links = run('ip -o link | wc -l');
  assert.equal(await refusal(attach(network, b)), 'no free address in 10.244.9.0/30 (10.244.9.2 to 10.244.9.2, all 1 in use)');
  assert.equal(run('ip -o link | wc -l'), links);
  assert.deepEqual(fs.readdirSync(path.join(stateDir, 'attachments')), ['a.json']);
  await network.detach('a');
  assert.deepEqual((await attach(network, b)).ips, ['10.244.9.2']);
});

hostTest('a step that fails is taken back with those before it, whichever it is', import.meta.url, async () => {
  let failAt = '';
  const { network, stateDir } = await open({
    faultPoint: (name) => {
      if (name === failAt) throw new Error(`fault at ${name}`);
    },
  });
  const a = await startPeer('a');
  const before = run('ip -o link | wc -l; nft -s list table inet tskubelet');
  for (failAt of ['recorded', 'added host-local', 'added bridge', 'added portmap']) {
    assert.equal(await refusal(attach(network, a, mapping)), `fault at ${failAt}`);
    assert.equal(run('ip -o link | wc -l; nft -s list table inet tskubelet'), before);
    assert.deepEqual(
      ['attachments', 'ipam'].flatMap((name) => fs.readdirSync(path.join(stateDir, name))),
      [],
    );
  }
  failAt = '';
  await attach(network, a, mapping);
  // An interface of that name is already there: the kernel's refusal says what was tried.
  const b = await startPeer('b');
  b.run('ip link add eth0 type bridge');
  assert.match(await refusal(attach(network, b)), /^add veth veth[0-9a-f]{11} with peer eth0 to tsk0: EEXIST \(file exists\)/);
});

hostTest('a changed range is for new pods; old ones keep theirs until they go', import.meta.url, async () => {
  const { network } = await open({ podCidrs: ['10.244.0.0/24'] });
  const a = await startPeer('a');
  const b = await startPeer('b');
  await attach(network, a);
  await network.setPodCidrs(['10.247.0.0/24', 'fd00:247::/64']);
  assert.deepEqual((await attach(network, b)).ips, ['10.247.0.2', 'fd00:247::2']);
  assert.equal(await b.request('tcp', '10.244.0.2', 80), 'a 10.247.0.2');
  const masqueraded = run('nft list chain inet tskubelet postrouting').match(/saddr 10\.\S+(?= oifname)/g);
  assert.deepEqual(masqueraded, ['saddr 10.247.0.0/24', 'saddr 10.244.0.0/24']);
  await network.detach('a');
  await network.reconcile(new Set(['b']));
  assert.equal(run('ip -4 -o addr show dev tsk0 | grep -o "inet [0-9./]*"').trim(), 'inet 10.247.0.1/24');
  await assert.rejects(network.setPodCidrs(['10.1.0.0/31']), /has no room/);
});

hostTest('what had to be set on the host is said, and the MTU is that of the default route', import.meta.url, async () => {
  run(
    'ip link add uplink mtu 1380 type bridge; ip link set uplink up; ip addr add 192.0.2.1/24 dev uplink; ip route add default via 192.0.2.9',
  );
  run('sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0');
  const { network, notices } = await open();
  assert.deepEqual(notices, [
    'net.ipv4.ip_forward=1, net.ipv6.conf.all.forwarding=1 set on this machine, to stay, so that pods reach other networks',
  ]);
  const a = await startPeer('a');
  await attach(network, a);
  assert.match(a.run('ip link show eth0'), /mtu 1380/);
  assert.match(run('ip link show tsk0'), /mtu 1380/);
  await poll('the veth', () => /mtu 1380/.test(run('ip link show master tsk0')));
});

hostTest('where IPv6 is switched off, pods have IPv4 alone, and one sentence says so', import.meta.url, async () => {
  run('sysctl -qw net.ipv6.conf.all.disable_ipv6=1');
  const { network, notices } = await open();
  const words = 'IPv6 is switched off on this machine (net.ipv6.conf.all.disable_ipv6 is 1): pods get no address of fd00:244::/64';
  assert.deepEqual(
    notices.filter((notice) => notice.includes('IPv6')),
    [words],
  );
  assert.deepEqual((await attach(network, await startPeer('a'))).ips, ['10.244.0.2']);
  assert.equal(run('ip -6 -o addr show dev tsk0').trim(), '');
  await network.detach('a');
  await network.close({ remove: true });
  const { network: six } = await open({ stateDir: temporaryDirectory(), podCidrs: ['fd00:244::/64'] });
  assert.match(six.status().message, /^IPv6 is switched off .*: give an IPv4 range with --pod-cidr$/);
});

hostTest('one family is enough, and of two the first given is the primary', import.meta.url, async () => {
  for (const [podCidrs, ips] of [
    [['fd00:244::/64'], ['fd00:244::2']],
    [['10.244.0.0/24'], ['10.244.0.2']],
    [
      ['fd00:244::/64', '10.244.0.0/24'],
      ['fd00:244::2', '10.244.0.2'],
    ],
  ] as const) {
    const { network } = await open({ stateDir: temporaryDirectory(), podCidrs });
    const a = await startPeer('a');
    assert.deepEqual((await attach(network, a, mapping)).ips, ips);
    // At once: no address waits for duplicate address detection.
    assert.doesNotMatch(a.run('ip -6 addr show dev eth0 scope global'), /tentative/);
    const gateway = ips[0] === 'fd00:244::2' ? 'fd00:244::1' : '10.244.0.1';
    assert.equal(await a.request('tcp', gateway, 8080), `a ${gateway}`);
    assert.equal(await requestFromHost('tcp', ips[0], 80), `a ${gateway}`);
    await network.detach('a');
    await network.close({ remove: true });
    await a.kill();
  }
});
