// The plugins as executables see their calls: environment and configuration in, JSON out, the kernel asked afterwards. A network namespace
// plays the host.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { serve } from '../serve.ts';
import { hostTest, openNamespace, requestFromHost, run, startPeer, temporaryDirectory } from '../testing/host.ts';
import { fail, ipam, type Json, succeed } from '../testing/plugin.ts';

const links = () => run('ip -o link | grep -v ": lo:" || true');

hostTest('bridge connects containers over both families, masquerades, is checked, and takes all of it back', import.meta.url, async () => {
  const dataDir = temporaryDirectory();
  const config: Json = { bridge: 'br9', isDefaultGateway: true, ipMasq: true, hairpinMode: true, mtu: 1400, ...ipam(dataDir) };
  const a = await startPeer('a');
  const b = await startPeer('b');
  const result = await succeed('ADD', 'bridge', config, a);
  await succeed('ADD', 'bridge', config, b);
  assert.deepEqual(
    (result.ips as Json[]).map(({ address }) => address),
    ['10.9.0.2/24', 'fd09::2/64'],
  );
  assert.equal((result.interfaces as Json[])[2]?.mtu, 1400);
  for (const protocol of ['tcp', 'udp'] as const) {
    assert.equal(await a.request(protocol, '10.9.0.3', 80), 'b 10.9.0.2');
    assert.equal(await b.request(protocol, 'fd09::2', 80), 'a fd09::3');
    assert.equal(await requestFromHost(protocol, '10.9.0.2', 80), 'a 10.9.0.1');
  }
  const outside = await startPeer('outside');
  run(`ip link add uplink type veth peer name eth0 netns ${outside.pid}; ip addr add 192.0.2.1/24 dev uplink; ip link set uplink up`);
  outside.run('ip addr add 192.0.2.2/24 dev eth0; ip link set eth0 up');
  assert.equal(await a.request('tcp', '192.0.2.2', 80), 'outside 192.0.2.1');
  await succeed('CHECK', 'bridge', { ...config, prevResult: result }, a);
  a.run('ip addr del 10.9.0.2/24 dev eth0');
  assert.match(await fail('CHECK', 'bridge', { ...config, prevResult: result }, a), /^101 address 10\.9\.0\.2\/24 of eth0 is gone/);
  run('nft flush chain inet tskubelet_cni postrouting');
  a.run('ip addr add 10.9.0.2/24 dev eth0; ip route add default via 10.9.0.1');
  assert.match(await fail('CHECK', 'bridge', { ...config, prevResult: result }, a), /masquerading rule is gone/);
  for (const target of [a, b, a]) await succeed('DEL', 'bridge', config, target);
  assert.doesNotMatch(links(), /veth/);
  assert.deepEqual(
    fs.readdirSync(path.join(dataDir, 'net1')).filter((name) => /[.:]\d+$/.test(name) && !name.startsWith('last')),
    [],
  );
});

hostTest('bridge refuses what it cannot do, and leaves nothing behind', import.meta.url, async () => {
  const dataDir = temporaryDirectory();
  const a = openNamespace('a');
  const config: Json = { bridge: 'br9', isGateway: true, ...ipam(dataDir) };
  assert.match(await fail('ADD', 'bridge', { ...config, macspoofchk: true }, a), /^2 bridge has no option macspoofchk/);
  assert.match(await fail('ADD', 'bridge', { ...config, hairpinMode: true, promiscMode: true }, a), /^7 /);
  assert.match(await fail('ADD', 'bridge', { ...config, vlan: 9999 }, a), /^7 vlan 9999/);
  assert.match(await fail('ADD', 'bridge', config, { name: 'x', netnsPath: '/nonexistent' }), /^3 open network namespace/);
  assert.match(await fail('ADD', 'bridge', config, { name: 'x', netnsPath: '/proc/self/ns/net' }), /^4 .*of the host/);
  assert.match(await fail('ADD', 'bridge', { ...config, ipam: { type: 'nosuch' } }, a), /^7 no IPAM plugin nosuch/);
  run('ip link add br9 type bridge; ip addr add 10.99.0.1/16 dev br9');
  assert.match(await fail('ADD', 'bridge', config, a), /^7 br9 has address 10\.99\.0\.1\/16/);
  assert.doesNotMatch(links(), /veth/);
  assert.deepEqual(
    fs.readdirSync(path.join(dataDir, 'net1')).filter((name) => name.startsWith('10.')),
    [],
  );
  await succeed('ADD', 'bridge', { ...config, forceAddress: true }, a);
  assert.match(run('ip -o -4 addr show br9'), /10\.9\.0\.1\/24/);
  assert.match(await fail('ADD', 'bridge', config, a), /^7 container a has an interface eth0 already/);
  await succeed('DEL', 'bridge', config, { name: 'a', netnsPath: '/nonexistent' });
  assert.doesNotMatch(links(), /veth/);
});

hostTest('ptp routes between containers without a bridge', import.meta.url, async () => {
  const config: Json = { ipMasq: true, ...ipam(temporaryDirectory(), { routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] }) };
  const a = await startPeer('a');
  const b = await startPeer('b');
  const result = await succeed('ADD', 'ptp', config, a);
  await succeed('ADD', 'ptp', config, b);
  assert.equal(await a.request('tcp', '10.9.0.3', 80), 'b 10.9.0.2');
  assert.equal(await a.request('tcp', 'fd09::3', 80), 'b fd09::2');
  assert.equal(await requestFromHost('udp', '10.9.0.2', 80), 'a 10.9.0.1');
  await succeed('CHECK', 'ptp', { ...config, prevResult: result }, a);
  for (const target of [a, b]) await succeed('DEL', 'ptp', config, target);
  assert.equal(links(), '');
  assert.doesNotMatch(run('nft list ruleset'), /net1/);
});

hostTest(
  'portmap leads ports to the container, from localhost and the container itself too, and tells who has one',
  import.meta.url,
  async () => {
    const config: Json = { bridge: 'br9', isDefaultGateway: true, hairpinMode: true, ...ipam(temporaryDirectory()) };
    const web = await startPeer('web');
    const other = await startPeer('other');
    const prevResult = await succeed('ADD', 'bridge', config, web);
    const mapping = (hostPort: number, protocol: string, more: Json = {}) => ({
      HostPort: hostPort,
      ContainerPort: 80,
      Protocol: protocol,
      ...more,
    });
    const ports = {
      runtimeConfig: { portMappings: [mapping(8080, 'TCP'), mapping(8080, 'udp'), mapping(8081, 'tcp', { HostIP: '10.9.0.1' })] },
    };
    assert.deepEqual((await succeed('ADD', 'portmap', { ...ports, prevResult }, web)).ips, prevResult.ips);
    for (const protocol of ['tcp', 'udp'] as const) {
      assert.equal(await requestFromHost(protocol, '127.0.0.1', 8080), 'web 10.9.0.1');
      assert.equal(await web.request(protocol, '10.9.0.1', 8080), 'web 10.9.0.1');
      assert.equal(await web.request(protocol, 'fd09::1', 8080), 'web fd09::1');
    }
    assert.equal(await requestFromHost('tcp', '10.9.0.1', 8081), 'web 10.9.0.1');
    assert.equal(await requestFromHost('tcp', '127.0.0.1', 8081), 'ECONNREFUSED');
    const second = await succeed('ADD', 'bridge', config, other);
    assert.equal(await other.request('tcp', '10.9.0.1', 8080), 'web 10.9.0.3');
    assert.match(await fail('ADD', 'portmap', { ...ports, prevResult: second }, other), /taken by container web of network net1/);
    await succeed('CHECK', 'portmap', { ...ports, prevResult }, web);
    await succeed('DEL', 'portmap', { ...ports, prevResult }, web);
    assert.match(await fail('CHECK', 'portmap', { ...ports, prevResult }, web), /^101 the hostPorts are gone/);
    assert.equal(await requestFromHost('tcp', '127.0.0.1', 8080), 'ECONNREFUSED');
    await succeed('ADD', 'portmap', { ...ports, prevResult: second }, other);
    await succeed('GC', 'portmap', { 'cni.dev/valid-attachments': [{ containerID: 'other', ifname: 'eth0' }] });
    assert.equal(await requestFromHost('tcp', '127.0.0.1', 8080), 'other 10.9.0.1');
    await succeed('GC', 'portmap', { 'cni.dev/valid-attachments': [] });
    assert.doesNotMatch(run('nft list ruleset'), /net1/);
  },
);

hostTest('bandwidth, tuning and loopback change what is there, are checked, and bandwidth is taken back', import.meta.url, async () => {
  const config: Json = { bridge: 'br9', isGateway: true, ...ipam(temporaryDirectory()) };
  const a = await startPeer('a');
  const prevResult = await succeed('ADD', 'bridge', config, a);
  const limits = { ingressRate: 8_000_000, ingressBurst: 800_000, egressRate: 4_000_000, egressBurst: 400_000 };
  const limited = await succeed('ADD', 'bandwidth', { ...limits, prevResult }, a);
  assert.match(run('tc qdisc'), /qdisc tbf 1: dev veth\w+ root .*rate 8Mbit burst 100000b/);
  assert.match(run('tc qdisc'), /qdisc tbf 1: dev ifb\w+ root .*rate 4Mbit/);
  assert.match((limited.interfaces as Json[])[3]?.name as string, /^ifb/);
  await succeed('CHECK', 'bandwidth', { ...limits, prevResult: limited }, a);
  run(`tc qdisc del dev ${(prevResult.interfaces as Json[])[1]?.name} root`);
  assert.match(await fail('CHECK', 'bandwidth', { ...limits, prevResult: limited }, a), /^101 the limit towards the container/);
  await succeed('DEL', 'bandwidth', { ...limits, prevResult: limited }, a);
  assert.doesNotMatch(run('ip -o link; tc qdisc'), /ifb|tbf|ingress/);
  const tuned: Json = {
    dataDir: temporaryDirectory(),
    sysctl: { 'net.ipv4.conf.IFNAME.arp_filter': '1', 'net.ipv4.ip_local_port_range': '40000 50000' },
    mac: '02:11:22:33:44:55',
    mtu: 1300,
    promisc: true,
    allmulti: true,
  };
  const after = await succeed('ADD', 'tuning', { ...tuned, prevResult }, a);
  assert.deepEqual(
    { mac: (after.interfaces as Json[])[2]?.mac, mtu: (after.interfaces as Json[])[2]?.mtu },
    { mac: '02:11:22:33:44:55', mtu: 1300 },
  );
  assert.equal(a.run('cat /proc/sys/net/ipv4/conf/eth0/arp_filter; cat /proc/sys/net/ipv4/ip_local_port_range'), '1\n40000\t50000\n');
  assert.equal(fs.readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8') === '40000\t50000\n', false);
  assert.match(a.run('ip -d link show eth0'), /PROMISC.*mtu 1300[\s\S]*02:11:22:33:44:55/);
  await succeed('CHECK', 'tuning', { ...tuned, prevResult: after }, a);
  a.run('ip link set eth0 promisc off');
  assert.match(await fail('CHECK', 'tuning', { ...tuned, prevResult: after }, a), /^101 eth0: promiscuous mode is off/);
  assert.match(await fail('ADD', 'tuning', { sysctl: { 'kernel.hostname': 'x' }, prevResult }, a), /^7 sysctl kernel\.hostname/);
  const lo = { ...a, name: 'a' };
  const up = await succeed('ADD', 'loopback', {}, lo);
  assert.deepEqual(
    (up.ips as Json[]).map(({ address }) => address),
    ['127.0.0.1/8', '::1/128'],
  );
  await succeed('DEL', 'loopback', {}, lo);
  assert.doesNotMatch(a.run('ip -o link show lo'), /<LOOPBACK,UP/);
});

hostTest('tuning gives an interface back as it was, whoever changed it', import.meta.url, async () => {
  const dataDir = temporaryDirectory();
  const ns = openNamespace('a');
  run('ip link add eth0 mtu 1400 type veth peer name other; ip link set eth0 address 02:00:00:00:00:01 txqueuelen 0 allmulticast on');
  run(`ip link set eth0 netns ${ns.netnsPath}`);
  const state = () => ns.run('ip -d link show eth0');
  const before = state();
  const prevResult = { cniVersion: '1.0.0', interfaces: [{ name: 'eth0', sandbox: ns.netnsPath }] };
  const shared: Json = { cniVersion: '1.0.0', dataDir, prevResult, mac: '02:11:22:33:44:55', mtu: 1300, promisc: true, allmulti: false };
  const tuned = { ...shared, txQLen: 40 };
  await succeed('ADD', 'tuning', tuned, ns);
  assert.match(state(), /PROMISC.* mtu 1300 .* qlen 40\n.* 02:11:22:33:44:55 /);
  assert.doesNotMatch(state(), /ALLMULTI/);
  assert.match(await fail('CHECK', 'tuning', { ...tuned, txQLen: 41 }, ns), /^101 eth0 has a queue of 40 packets, not 41$/);
  await succeed('DEL', 'tuning', tuned, ns);
  assert.equal(state(), before);
  assert.deepEqual(fs.readdirSync(dataDir), []);
  const debian = '/usr/lib/cni/tuning';
  if (fs.existsSync(debian)) {
    const stdin = JSON.stringify({ name: 'net1', type: 'tuning', ...shared });
    const env = `CNI_CONTAINERID=a CNI_NETNS=${ns.netnsPath} CNI_IFNAME=eth0 CNI_PATH=/usr/lib/cni`;
    const ours = (command: string) => succeed(command, 'tuning', shared, ns);
    const theirs = (command: string) => run(`echo '${stdin}' | CNI_COMMAND=${command} ${env} ${debian}`);
    for (const [add, del] of [
      [ours, theirs],
      [theirs, ours],
    ] as const) {
      await add('ADD');
      assert.match(state(), /PROMISC.* mtu 1300 .*\n.* 02:11:22:33:44:55 /);
      await del('DEL');
      assert.equal(state(), before);
      assert.deepEqual(fs.readdirSync(dataDir), []);
    }
  }
  // A container that is gone with its interface leaves no file either; and then there is nothing to give back.
  await succeed('ADD', 'tuning', tuned, ns);
  await succeed('DEL', 'tuning', tuned, { ...ns, netnsPath: '/nonexistent' });
  assert.deepEqual(fs.readdirSync(dataDir), []);
  await succeed('DEL', 'tuning', tuned, ns);
  assert.match(state(), /mtu 1300/);
});

hostTest('host-local gives what is asked for, and shares its leases with the host-local of others', import.meta.url, async () => {
  const dataDir = temporaryDirectory();
  const ns = openNamespace('c1');
  const config = (more: Json): Json => ({ ipam: { type: 'host-local', dataDir, ...more } });
  const range = { subnet: '10.9.0.0/24', rangeStart: '10.9.0.10', rangeEnd: '10.9.0.12', exclude: ['10.9.0.11/32'], gateway: '10.9.0.254' };
  const target = (name: string) => ({ ...ns, name });
  const addressOf = (result: Json) => (result.ips as Json[])[0];
  assert.deepEqual(addressOf(await succeed('ADD', 'host-local', config({ ranges: [[range]] }), target('c1'))), {
    address: '10.9.0.10/24',
    gateway: '10.9.0.254',
  });
  assert.equal(addressOf(await succeed('ADD', 'host-local', config({ ranges: [[range]] }), target('c2')))?.address, '10.9.0.12/24');
  assert.match(await fail('ADD', 'host-local', config({ ranges: [[range]] }), target('c3')), /^11 no free address in 10\.9\.0\.0\/24/);
  assert.match(await fail('STATUS', 'host-local', config({ ranges: [[range]] })), /^50 /);
  await succeed('DEL', 'host-local', config({}), target('c1'));
  await succeed('STATUS', 'host-local', config({ ranges: [[range]] }));
  const wide = config({ subnet: '10.9.0.0/24' });
  assert.equal(addressOf(await succeed('ADD', 'host-local', wide, target('c4'), 'IgnoreUnknown=1;IP=10.9.0.77'))?.address, '10.9.0.77/24');
  assert.match(await fail('ADD', 'host-local', wide, target('c5'), 'IP=10.9.0.77'), /^11 requested address 10\.9\.0\.77 is in use by c4/);
  assert.equal(
    addressOf(await succeed('ADD', 'host-local', { ...wide, runtimeConfig: { ips: ['10.9.0.78/24'] } }, target('c6')))?.address,
    '10.9.0.78/24',
  );
  assert.match(await fail('ADD', 'host-local', wide, target('c7'), 'IP=10.8.0.1'), /^7 requested address 10\.8\.0\.1 is in no range/);
  assert.equal(fs.readFileSync(path.join(dataDir, 'net1/10.9.0.78'), 'utf8'), 'c6\r\neth0');
  const debian = '/usr/lib/cni/host-local';
  if (fs.existsSync(debian)) {
    const stdin = JSON.stringify({ cniVersion: '1.0.0', name: 'net1', type: 'bridge', ...wide });
    const env = (command: string, id: string) =>
      `CNI_COMMAND=${command} CNI_CONTAINERID=${id} CNI_NETNS=/x CNI_IFNAME=eth0 CNI_PATH=/usr/lib/cni`;
    // It goes on behind our last address, and takes ours back.
    assert.match(run(`echo '${stdin}' | ${env('ADD', 'theirs')} ${debian}`), /"10\.9\.0\.79\/24"/);
    run(`echo '${stdin}' | ${env('DEL', 'c6')} ${debian}`);
    assert.equal(fs.existsSync(path.join(dataDir, 'net1/10.9.0.78')), false);
    await succeed('DEL', 'host-local', wide, target('theirs'));
    assert.equal(fs.existsSync(path.join(dataDir, 'net1/10.9.0.79')), false);
  }
  await succeed('GC', 'host-local', { ...wide, 'cni.dev/valid-attachments': [{ containerID: 'c4', ifname: 'eth0' }] });
  assert.deepEqual(
    fs.readdirSync(path.join(dataDir, 'net1')).filter((name) => name.startsWith('10.')),
    ['10.9.0.77'],
  );
});

hostTest('calls are answered in the version that they ask, with the codes of the specification', import.meta.url, async () => {
  const a = openNamespace('a');
  const config: Json = { bridge: 'br9', ...ipam(temporaryDirectory()) };
  const old = await succeed('ADD', 'bridge', { ...config, cniVersion: '0.3.1' }, a);
  assert.equal(old.cniVersion, '0.3.1');
  assert.deepEqual(
    (old.ips as Json[]).map(({ version }) => version),
    ['4', '6'],
  );
  assert.equal((old.interfaces as Json[])[2]?.mtu, undefined);
  assert.match(await fail('CHECK', 'bridge', { ...config, cniVersion: '0.3.1', prevResult: old }, a), /^1 CHECK is of CNI version 0\.4\.0/);
  assert.match(await fail('GC', 'bridge', { ...config, cniVersion: '1.0.0' }), /^1 GC is of CNI version 1\.1\.0/);
  assert.match(await fail('ADD', 'bridge', { ...config, cniVersion: '2.0.0' }, a), /^1 CNI version "2\.0\.0" is not supported/);
  assert.match(await fail('ADD', 'bridge', config), /^4 CNI_NETNS is not set/);
  assert.match(await fail('ADD', 'nosuch', config, a), /^7 there is no plugin "nosuch"/);
  const { exitCode, output } = await serve('bridge', { CNI_COMMAND: 'ADD' }, async () => '{');
  assert.equal(exitCode, 1);
  assert.equal((JSON.parse(output) as Json).code, 6);
  assert.match((await serve('bridge', { CNI_COMMAND: 'VERSION' }, async () => '')).output, /"1\.1\.0"/);
  await succeed('STATUS', 'bridge', config);
  await succeed('DEL', 'bridge', config, a);
});
