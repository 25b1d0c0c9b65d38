// The pod network from outside: two nodes in two network namespaces with a wire between them and routed pod ranges, pods of both
// families, asked by socat; conntrack, nft and ip say what the kernel made of it.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import net from 'node:net';
import { after, before, test } from 'node:test';
import type { V1ContainerPort } from '@kubernetes/client-node';
import { ContainerState } from '../cri-proto/gen/api.ts';
import { check, run } from './testing/command.ts';
import { pidOf } from './testing/cri.ts';
import { FOREVER, isRunning, listPods, podManifest, untilContainers, untilPod } from './testing/pods.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

const absent = ['socat', 'busybox', 'conntrack', 'nft', 'bridge', 'dig'].filter((program) => spawnSync('which', [program]).status !== 0);
const skip = absent.length > 0 ? `needs ${absent.join(', ')}` : false;

const IMAGE = 'localhost/socat:host';
const PROTOCOLS = ['tcp', 'udp'] as const;
const FAMILIES = [4, 6] as const;
type Protocol = (typeof PROTOCOLS)[number];

interface Place {
  /** What nsenter(1) enters. */
  readonly netns: string;
  readonly ips: readonly [string, string];
}

const nodes: TestNode[] = [];
const outsiders: ChildProcess[] = [];
/** The machines: each is outside for the other. */
const machines: Place[] = [];
const pods = new Map<string, Place>();
const podOf = (name: string): Place => {
  const pod = pods.get(name);
  assert.ok(pod, name);
  return pod;
};

before(async () => {
  if (skip) return;
  for (const number of [1, 2]) {
    const node = await TestNode.create();
    nodes.push(node);
    machines.push({ netns: `/run/netns/${node.netns}`, ips: [`192.0.2.${number}`, `2001:db8::${number}`] });
  }
  const [one, two] = nodes as [TestNode, TestNode];
  await check('ip', ['-n', one.netns, 'link', 'add', 'uplink', 'type', 'veth', 'peer', 'name', 'uplink', 'netns', two.netns]);
  for (const [i, node] of nodes.entries()) {
    const own = i + 1;
    const other = 2 - i;
    for (const args of [
      `addr add 192.0.2.${own}/24 dev uplink`,
      `addr add 2001:db8::${own}/64 dev uplink nodad`,
      'link set uplink up',
      `route add default via 192.0.2.${other}`,
      `route add default via 2001:db8::${other}`,
      `route add 10.24${other}.0.0/24 via 192.0.2.${other}`,
      `route add fd00:24${other}::/64 via 2001:db8::${other}`,
    ])
      await check('ip', ['-n', node.netns, ...args.split(' ')]);
    const direct = ['--non-masquerade-cidr', '10.240.0.0/13,fd00::/8'];
    await node.start('node', { flags: ['--pod-cidr', `10.24${own}.0.0/24,fd00:24${own}::/64`, ...direct] });
    const built = await node.tskubelet([
      'image',
      'build-host',
      IMAGE,
      '--bin',
      '/usr/bin/socat',
      '--bin',
      '/bin/busybox',
      '--bin',
      '/usr/bin/printenv',
    ]);
    assert.equal(built.code, 0, built.stderr);
  }
  const hostPorts = PROTOCOLS.map((protocol) => ({ containerPort: 80, hostPort: 8080, protocol: protocol.toUpperCase() }));
  addPod(one, 'web', hostPorts);
  addPod(one, 'client');
  addPod(two, 'far');
  for (const [node, names] of [
    [one, ['web', 'client']],
    [two, ['far']],
  ] as const)
    for (const name of names) {
      const { status } = await untilPod(node, name, isRunning);
      const container = (await untilContainers(node, name, { state: ContainerState.CONTAINER_RUNNING })).get('main');
      const [v4, v6] = (status?.podIPs ?? []).map(({ ip }) => ip);
      assert.ok(container && v4 && v6);
      pods.set(name, { netns: `/proc/${await pidOf(node.cri, container.id)}/ns/net`, ips: [v4, v6] });
    }
  for (const { netns } of machines)
    outsiders.push(spawn('nsenter', [`--net=${netns}`, 'sh', '-c', `${serve(9000)} wait`], { stdio: 'ignore', detached: true }));
  const asked = [...pods.values(), ...machines].flatMap((place) =>
    PROTOCOLS.flatMap((protocol) => FAMILIES.map((family) => ({ place, protocol, family }))),
  );
  await Promise.all(
    asked.map(({ place, protocol, family }) => {
      const port = machines.includes(place) ? 9000 : 80;
      return poll(`${protocol}${family} of ${place.netns}`, () => ask(place, protocol, family, loopback(family), port));
    }),
  );
});

after(async () => {
  for (const { pid } of outsiders) if (pid !== undefined) process.kill(-pid, 'SIGTERM');
  await Promise.all(nodes.map((node) => node.destroy()));
});

/** A shell script that says to each client what its address is, over both protocols and families. */
function serve(port: number): string {
  const say = 'EXEC:"printenv SOCAT_PEERADDR"';
  const listen = PROTOCOLS.flatMap((protocol) =>
    FAMILIES.map(
      (family) => `socat ${protocol.toUpperCase()}${family}-LISTEN:${port},fork,reuseaddr${family === 6 ? ',ipv6only=1' : ''} ${say} &`,
    ),
  );
  return listen.join(' ');
}

function addPod(node: TestNode, name: string, ports?: readonly V1ContainerPort[]): void {
  const container = {
    image: IMAGE,
    command: ['busybox', 'sh', '-c', `${serve(80)} ${FOREVER.replace('sleep', 'busybox sleep')}`],
    ...(ports === undefined ? {} : { ports: [...ports] }),
  };
  node.addManifest(`${name}.yaml`, podManifest(name, container));
}

const loopback = (family: 4 | 6): string => (family === 4 ? '127.0.0.1' : '::1');
const ipOf = ({ ips }: Place, family: 4 | 6): string => ips[family === 4 ? 0 : 1];

/** Whom the other side says that it was asked by; undefined when nobody answers. */
async function ask(from: Place, protocol: Protocol, family: 4 | 6, host: string, port: number): Promise<string | undefined> {
  const address = `${protocol.toUpperCase()}${family}:${family === 6 ? `[${host}]` : host}:${port}`;
  const read = protocol === 'tcp' ? ['-T3', '-u', `${address},connect-timeout=3`, '-'] : ['-t0.5', '-T3', '-', address];
  // Datagrams may be lost: socat listens anew after each client.
  for (let attempt = 0; attempt < (protocol === 'tcp' ? 1 : 6); attempt++) {
    const { stdout } = await run('nsenter', [`--net=${from.netns}`, 'socat', ...read], { input: '?', timeoutMs: 20_000 });
    const seen = stdout.trim().replace(/[[\]]/g, '');
    if (net.isIP(seen) !== 0) return new net.SocketAddress({ address: seen, family: net.isIP(seen) === 6 ? 'ipv6' : 'ipv4' }).address;
  }
  return undefined;
}

/** Asks over both protocols and families; `expected` is whom the other side must see. */
async function bothWays(from: Place, to: Place, port: number, expected: Place, families: readonly (4 | 6)[] = FAMILIES): Promise<void> {
  for (const family of families)
    await Promise.all(
      PROTOCOLS.map(async (protocol) => {
        const seen = await ask(from, protocol, family, ipOf(to, family), port);
        assert.equal(seen, ipOf(expected, family), `${protocol} to [${ipOf(to, family)}]:${port}`);
      }),
    );
}

const gatewayOf = (number: number): Place => ({ netns: '', ips: [`10.24${number}.0.1`, `fd00:24${number}::1`] });

test('pods, machines and the pods of another node reach each other by their own addresses', { skip }, async () => {
  const [web, client, far] = ['web', 'client', 'far'].map(podOf) as [Place, Place, Place];
  const [one] = machines as [Place, Place];
  await bothWays(client, web, 80, client);
  await bothWays(far, web, 80, far);
  await bothWays(client, far, 80, client);
  await bothWays(one, web, 80, gatewayOf(1));
  await bothWays(client, gatewayOf(1), 9000, client);
});

test('what leaves for other networks has the machine’s address, and conntrack shows how it was translated', { skip }, async () => {
  const [client] = [podOf('client')];
  const [one, two] = machines as [Place, Place];
  await bothWays(client, two, 9000, one);
  for (const family of FAMILIES) {
    const family_ = family === 4 ? 'ipv4' : 'ipv6';
    const list = ['conntrack', '-L', '-f', family_, '--orig-src', ipOf(client, family), '--orig-dst', ipOf(two, family)];
    const { stdout } = await nodes[0]!.inNetwork(list);
    for (const protocol of PROTOCOLS)
      assert.match(
        stdout,
        new RegExp(
          `^${protocol} .*src=${ipOf(client, family)} dst=${ipOf(two, family)} .*src=${ipOf(two, family)} dst=${ipOf(one, family)} `,
          'm',
        ),
      );
  }
});

test('hostPort 8080 leads to port 80: from outside, from the machine, from other pods and from the pod itself', { skip }, async () => {
  const [web, client, far] = ['web', 'client', 'far'].map(podOf) as [Place, Place, Place];
  const [one, two] = machines as [Place, Place];
  await bothWays(two, one, 8080, two);
  await bothWays(far, one, 8080, two);
  await bothWays(one, one, 8080, one);
  await bothWays(one, { netns: '', ips: ['127.0.0.1', '::1'] }, 8080, gatewayOf(1), [4]);
  // Where rules see what a bridge forwards by itself, the pod's own address can stay.
  const filter = await nodes[0]!.inNetwork(['cat', '/proc/sys/net/bridge/bridge-nf-call-iptables']);
  await bothWays(client, one, 8080, filter.stdout.trim() === '1' ? client : gatewayOf(1));
  // A pod that asks itself by way of the machine is answered by the machine's address, or the answer would take a shorter way.
  await bothWays(web, one, 8080, gatewayOf(1));
});

test('a pod whose hostPort is taken is told by whom, be it a pod or a program', { skip }, async () => {
  const [node] = nodes as [TestNode];
  addPod(node, 'rival', [{ containerPort: 80, hostPort: 8080, protocol: 'TCP' }]);
  addPod(node, 'late', [{ containerPort: 80, hostPort: 9000, protocol: 'UDP' }]);
  const words = async (name: string, pattern: RegExp) =>
    poll(`the words about ${name}`, async () => {
      const pod = (await listPods(node)).find(({ metadata }) => metadata?.name === name);
      const { waiting } = pod?.status?.containerStatuses?.[0]?.state ?? {};
      if (!pattern.test(waiting?.message ?? '')) throw new Error(JSON.stringify(pod?.status ?? 'no pod'));
      return true;
    });
  await words('rival', /hostPort 8080\/tcp is taken by sandbox [0-9a-f]{12} \(default\/web\)/);
  await words('late', /hostPort 9000\/udp is taken by socat \(pid \d+\), which listens on it/);
  for (const name of ['rival.yaml', 'late.yaml']) node.removeManifest(name);
  await poll('the pods to go', async () => (await listPods(node)).every(({ metadata }) => !/rival|late/.test(metadata?.name ?? '')));
});

test('explain shows the way out, and its commands show the same', { skip }, async () => {
  const [node] = nodes as [TestNode];
  const { code, stdout, stderr } = await node.tskubelet(['explain', 'web', 'net']);
  assert.equal(code, 0, stderr);
  for (const words of [
    /^ +2: eth0@if\d+ +in the pod's network namespace$/m,
    /^ +\d+: veth[0-9a-f]{11}@if2 .* a port of tsk-[0-9a-f]{6}, hairpin on$/m,
    /^ +\d+: tsk-[0-9a-f]{6} .* with 2 ports: the pods' gateway and name server$/m,
    /map hostport4: tcp \. 8080 counter packets \d+ bytes \d+ : 10\.241\.0\.\d+ \. 80$/m,
    /ip6 saddr fd00:241::\/64 oifname != "tsk-[0-9a-f]{6}" counter packets \d+ bytes \d+ masquerade/,
    /^ +\d+: uplink@if\d+ +the machine's way out$/m,
    /route default via 192\.0\.2\.2$/m,
    /nameserver 10\.241\.0\.1, search default\.svc\.cluster\.local/,
  ])
    assert.match(stdout, words);
  const commands = [...stdout.matchAll(/^ +\$ (.*)$/gm)].map(([, text]) => text ?? '');
  assert.ok(commands.length >= 14, commands.join('\n'));
  const outputs = await Promise.all(commands.map(async (text) => ({ text, ...(await node.inNetwork(['sh', '-c', text])) })));
  for (const { text, code: ended, stderr: wrong } of outputs) assert.equal(ended, 0, `${text}: ${wrong}`);
  const all = outputs.map((output) => output.stdout).join('\n');
  const { network } = JSON.parse((await node.tskubelet(['explain', 'web', 'net', '-o', 'json'])).stdout) as {
    network: { pod: { addresses: string[]; mac: string }[]; nat: { hostPorts: { element: string }[] } };
  };
  for (const fact of [
    ...network.pod.flatMap(({ addresses, mac }) => [...addresses, mac]),
    ...network.nat.hostPorts.map(({ element }) => element),
  ])
    assert.ok(all.includes(fact), fact);
});

test('a node that ends with its pods leaves no link, table or namespace of theirs', { skip }, async () => {
  for (const node of nodes) {
    for (const name of ['web', 'client', 'far']) node.removeManifest(`${name}.yaml`);
    await poll('the pods to end', async () => (await listPods(node)).length === 0);
    assert.equal(await node.stop(), 0);
    const links = await check('ip', ['-n', node.netns, '-o', 'link']);
    assert.deepEqual(
      links
        .trim()
        .split('\n')
        .map((line) => line.split(':')[1]?.trim().split('@')[0]),
      ['lo', 'uplink'],
    );
    assert.equal((await node.inNetwork(['nft', 'list', 'tables'])).stdout, '');
  }
});
