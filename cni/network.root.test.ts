import assert from 'node:assert/strict';
import { hostTest, requestFromHost, run, setBridgeFilter, startPeer, temporaryDirectory } from './testing/host.ts';
import { addressOf, attach, open, openOutside } from './testing/network.ts';

const protocols = ['tcp', 'udp'] as const;

hostTest('pods reach each other and the host, and the host reaches them, over both families', import.meta.url, async () => {
  const { network } = await open();
  assert.deepEqual(network.status(), { ready: true, reason: '', message: '' });
  const a = await startPeer('a');
  const b = await startPeer('b');
  const first = await attach(network, a);
  const second = await attach(network, b);
  assert.deepEqual(first.ips, ['10.244.0.2', 'fd00:244::2']);
  assert.equal(first.mac, '0a:58:0a:f4:00:02');
  for (const protocol of protocols) {
    assert.equal(await a.request(protocol, '10.244.0.3', 80), 'b 10.244.0.2');
    assert.equal(await b.request(protocol, 'fd00:244::2', 80), 'a fd00:244::3');
    assert.equal(await requestFromHost(protocol, second.ips[0]!, 80), 'b 10.244.0.1');
    assert.equal(await requestFromHost(protocol, second.ips[1]!, 80), 'b fd00:244::1');
  }
  assert.match(a.run('ip -o link show eth0'), /eth0.*state UP/);
  assert.match(a.run('ip -o link show lo'), /<LOOPBACK,UP/);
  assert.match(run(`ip link show ${first.hostInterface}`), /master tsk0[\s\S]*alias a/);
});

hostTest('pods reach the outside by the host’s address, over both families', import.meta.url, async () => {
  const outside = await openOutside();
  const { network } = await open();
  const a = await startPeer('a');
  await attach(network, a);
  for (const protocol of protocols) {
    assert.equal(await a.request(protocol, '192.0.2.2', 80), 'outside 192.0.2.1');
    assert.equal(await a.request(protocol, '2001:db8::2', 80), 'outside 2001:db8::1');
  }
  assert.equal(await outside.request('tcp', '192.0.2.1', 80), 'ECONNREFUSED');
});

hostTest('hostPorts lead to the pod from outside, from the host, from pods and from the pod itself', import.meta.url, async () => {
  const seen = setBridgeFilter(1);
  const outside = await openOutside();
  const { network } = await open();
  const web = await startPeer('web');
  const client = await startPeer('client');
  await attach(network, web, [
    { protocol: 'tcp', hostPort: 8080, containerPort: 80 },
    { protocol: 'udp', hostPort: 8080, containerPort: 80 },
    { protocol: 'tcp', hostPort: 8081, containerPort: 80, hostIp: '192.0.2.1' },
    { protocol: 'tcp', hostPort: 8081, containerPort: 80, hostIp: '2001:db8::1' },
  ]);
  await attach(network, client);
  for (const protocol of protocols) {
    assert.equal(await outside.request(protocol, '192.0.2.1', 8080), 'web 192.0.2.2');
    assert.equal(await outside.request(protocol, '2001:db8::1', 8080), 'web 2001:db8::2');
    assert.equal(await requestFromHost(protocol, '127.0.0.1', 8080), 'web 10.244.0.1');
    assert.equal(await requestFromHost(protocol, '192.0.2.1', 8080), 'web 192.0.2.1');
    assert.equal(await requestFromHost(protocol, '2001:db8::1', 8080), 'web 2001:db8::1');
    assert.equal(await client.request(protocol, '192.0.2.1', 8080), seen ? 'web 10.244.0.3' : 'web 10.244.0.1');
    assert.equal(await client.request(protocol, '2001:db8::1', 8080), seen ? 'web fd00:244::3' : 'web fd00:244::1');
    assert.equal(await web.request(protocol, '192.0.2.1', 8080), 'web 10.244.0.1');
    assert.equal(await web.request(protocol, '2001:db8::1', 8080), 'web fd00:244::1');
  }
  assert.equal(await outside.request('tcp', '192.0.2.1', 8081), 'web 192.0.2.2');
  assert.equal(await outside.request('tcp', '2001:db8::1', 8081), 'web 2001:db8::2');
  assert.equal(await requestFromHost('tcp', '127.0.0.1', 8081), 'ECONNREFUSED');
  await network.detach('web');
  assert.equal(await outside.request('tcp', '192.0.2.1', 8080), 'ECONNREFUSED');
});

hostTest(
  'a pod reaches the hostPort of another on its bridge, whether or not rules see what the bridge forwards',
  import.meta.url,
  async () => {
    for (const value of [1, 0] as const) {
      const seen = setBridgeFilter(value);
      const { network } = await open({ stateDir: temporaryDirectory() });
      const [web, client] = [await startPeer('web'), await startPeer('client')];
      await attach(
        network,
        web,
        protocols.map((protocol) => ({ protocol, hostPort: 8080, containerPort: 80 })),
      );
      await attach(network, client);
      for (const protocol of protocols) {
        assert.equal(await client.request(protocol, '10.244.0.1', 8080), `web ${seen ? '10.244.0.3' : '10.244.0.1'}`);
        assert.equal(await client.request(protocol, 'fd00:244::1', 8080), `web ${seen ? 'fd00:244::3' : 'fd00:244::1'}`);
        // Without a hostPort nothing is translated.
        assert.equal(await client.request(protocol, '10.244.0.2', 80), 'web 10.244.0.3');
      }
      for (const { name } of [web, client]) await network.detach(name);
      await network.close({ remove: true });
      await Promise.all([web.kill(), client.kill()]);
    }
  },
);

hostTest('a pod cannot reach what listens on the host’s 127.0.0.1 alone', import.meta.url, async () => {
  const { createServer } = await import('node:net');
  const server = createServer((socket) => socket.end('secret'));
  await new Promise<void>((resolve) => server.listen(90, '127.0.0.1', resolve));
  assert.equal(await requestFromHost('tcp', '127.0.0.1', 90), 'secret');
  const { network } = await open();
  const a = await startPeer('a');
  await attach(network, a);
  // What a privileged pod can do to send there at all.
  a.run('ip addr flush dev lo; ip route del local 127.0.0.0/8 table local 2>/dev/null; ip route add 127.0.0.1 via 10.244.0.1');
  a.run(
    'echo 1 >/proc/sys/net/ipv4/conf/eth0/route_localnet; ip rule del pref 0; ip rule add pref 100 lookup local; ip rule add pref 50 to 127.0.0.1 lookup main',
  );
  assert.equal(await a.request('tcp', '127.0.0.1', 90, 700), 'timeout');
  // The rule is what keeps it out.
  run('nft delete table inet tskubelet');
  assert.equal(await a.request('tcp', '127.0.0.1', 90, 300), 'secret');
});

hostTest('an attachment is idempotent, and gone with all that belongs to it after detach', import.meta.url, async () => {
  const { network } = await open();
  const before = run('ip -o link | wc -l; nft -s list table inet tskubelet');
  const web = await startPeer('web');
  const mapping = [{ protocol: 'tcp', hostPort: 8080, containerPort: 80 }] as const;
  const first = await attach(network, web, mapping);
  assert.deepEqual(await attach(network, web, mapping), first);
  assert.match(run('nft list map inet tskubelet hostport4'), new RegExp(`tcp . 8080 counter packets 0 bytes 0 : ${addressOf(first)} . 80`));
  await network.detach('web');
  await network.detach('web');
  assert.equal(run('ip -o link | wc -l; nft -s list table inet tskubelet'), before);
});
