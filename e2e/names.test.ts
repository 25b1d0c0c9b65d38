// Names on a node without a cluster, asked by real resolvers: dig on the host, glibc's getent and busybox' nslookup in pods. Behind the
// node stands dnsmasq on 127.0.0.53, where systemd-resolved would be.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import type { V1PodSpec } from '@kubernetes/client-node';
import { FOREVER, isRunning, listPods, podManifest, untilPod } from './testing/pods.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

const absent = ['dig', 'dnsmasq', 'getent', 'busybox'].filter((program) => spawnSync('which', [program]).status !== 0);
const skip = absent.length > 0 ? `needs ${absent.join(', ')}` : false;

const IMAGE = 'localhost/resolvers:host';
const GATEWAYS = ['10.244.7.1', 'fd00:7::1'] as const;
let node: TestNode;
let upstream: ChildProcess | undefined;

before(async () => {
  if (skip) return;
  node = await TestNode.create();
  await startUpstream();
  const resolvConf = path.join(node.dir, 'resolv.conf');
  // The first says nothing; the second is a stub on loopback, which no pod could reach itself.
  fs.writeFileSync(resolvConf, 'nameserver 127.0.0.99\nnameserver 127.0.0.53\nsearch corp.test\noptions ndots:2\n');
  await node.start('node', { flags: ['--pod-cidr', '10.244.7.0/24,fd00:7::/64', '--resolv-conf', resolvConf] });
  const programs = ['/usr/bin/getent', '/usr/bin/dig', '/bin/busybox'].flatMap((program) => ['--bin', program]);
  const built = await node.tskubelet(['image', 'build-host', IMAGE, ...programs]);
  assert.equal(built.code, 0, built.stderr);
  addPod('web', 'default', {});
  addPod('client', 'default', {});
  addPod('db-0', 'shop', { hostname: 'zero', subdomain: 'db' });
  addPod('db-1', 'shop', { hostname: 'one', subdomain: 'db', setHostnameAsFQDN: true });
  addPod('own', 'default', {
    dnsPolicy: 'None',
    dnsConfig: { nameservers: ['192.0.2.1'], searches: ['a.test'], options: [{ name: 'ndots', value: '3' }] },
  });
  addPod('plain', 'default', { dnsPolicy: 'Default' });
  addPod('host', 'default', { hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet' });
  await Promise.all(['web', 'client', 'db-0', 'db-1', 'own', 'plain', 'host'].map((name) => untilPod(node, name, isRunning)));
});
after(async () => {
  upstream?.kill('SIGKILL');
  await node?.destroy();
});

async function startUpstream(): Promise<void> {
  const records = [
    '--address=/example.test/192.0.2.7',
    '--address=/example.test/2001:db8::7',
    `--txt-record=large.test${',x'.repeat(250)}${'y'.repeat(200)}`,
  ];
  const own = [
    '--no-daemon',
    '--no-resolv',
    '--no-hosts',
    '--listen-address=127.0.0.53',
    '--bind-interfaces',
    '--pid-file',
    '--conf-file=/dev/null',
  ];
  const [command, args] = node.inside(['dnsmasq', ...own, '--user=root', '--local=/test/', ...records]);
  upstream = spawn(command, args, { stdio: 'ignore' });
  await poll('dnsmasq', async () =>
    (await node.inNetwork(['dig', '+short', '+time=1', '@127.0.0.53', 'example.test'])).stdout.includes('192.0.2.7'),
  );
}

function addPod(name: string, namespace: string, spec: Partial<V1PodSpec>): void {
  const pod = JSON.parse(
    podManifest(name, { command: ['busybox', 'sh', '-c', FOREVER.replace('sleep', 'busybox sleep')], image: IMAGE }, spec),
  ) as { metadata: object };
  node.addManifest(`${name}.yaml`, JSON.stringify({ ...pod, metadata: { name, namespace } }));
}

async function ipsOf(name: string): Promise<string[]> {
  const pod = (await listPods(node)).find(({ metadata }) => metadata?.name === name);
  return (pod?.status?.podIPs ?? []).map(({ ip }) => ip);
}

async function inPod(name: string, command: readonly string[], namespace = 'default'): Promise<string> {
  const { code, stdout, stderr } = await node.tskubelet(['exec', '-n', namespace, name, '--', ...command]);
  assert.equal(code, 0, `${command.join(' ')}: ${stdout}${stderr}`);
  return stdout;
}

/** What dig on the host says of a query to the node: status, flags, and the answers' data. */
async function dig(...args: readonly string[]): Promise<{ status: string; flags: string; answers: string[]; text: string }> {
  const to = args.some((arg) => arg.startsWith('@')) ? [] : [`@${GATEWAYS[0]}`];
  const { stdout } = await node.inNetwork(['dig', '+tries=1', '+time=6', '+noall', '+comments', '+answer', '+authority', ...to, ...args]);
  const answers = [...stdout.matchAll(/^\S+\s+\d+\s+IN\s+(?:A|AAAA|PTR|TXT)\s+(.*)$/gm)].map(([, data]) => data ?? '');
  return {
    status: /status: (\w+)/.exec(stdout)?.[1] ?? 'none',
    flags: /flags: ([a-z ]*);/.exec(stdout)?.[1] ?? '',
    answers: answers.toSorted(),
    text: stdout,
  };
}

test('dig finds the pods by all their names, over both families and transports', { skip }, async () => {
  const [web4 = '', web6 = ''] = await ipsOf('web');
  const [zero = '', one = ''] = (await Promise.all(['db-0', 'db-1'].map(ipsOf))).map(([v4]) => v4);
  for (const gateway of GATEWAYS)
    for (const transport of ['+notcp', '+tcp']) {
      const at = [`@${gateway}`, transport];
      assert.deepEqual((await dig(...at, 'web.default.svc.cluster.local')).answers, [web4]);
      assert.deepEqual((await dig(...at, 'web.default.svc.cluster.local', 'AAAA')).answers, [web6]);
    }
  assert.deepEqual((await dig('web')).answers, [web4]);
  assert.deepEqual((await dig('WEB.Default')).answers, [web4]);
  assert.deepEqual((await dig('db-0.shop')).answers, [zero]);
  assert.deepEqual((await dig('one.db.shop')).answers, [one]);
  assert.deepEqual((await dig('db.shop.svc.cluster.local')).answers, [zero, one].toSorted());
  assert.deepEqual((await dig(`${web4.replaceAll('.', '-')}.default.pod.cluster.local`)).answers, [web4]);
  assert.deepEqual((await dig('-x', web4)).answers, ['web.default.svc.cluster.local.']);
  assert.deepEqual((await dig('-x', web6)).answers, ['web.default.svc.cluster.local.']);
  assert.deepEqual((await dig('-x', zero)).answers, ['zero.db.shop.svc.cluster.local.']);
  const { flags, text } = await dig('+edns=0', 'web');
  assert.match(flags, /^qr aa rd ra$/);
  assert.match(text, /EDNS: version: 0, flags:; udp: 1232/);
  assert.match((await dig('+edns=1', '+noednsneg', 'web')).status, /BADVERS/);
  assert.equal((await dig('+opcode=NOTIFY', 'web')).status, 'NOTIMP');
});

test('a missing name is NXDOMAIN, a name without the type is not, and both say for how long', { skip }, async () => {
  const missing = await dig('nobody.default.svc.cluster.local');
  assert.deepEqual([missing.status, missing.answers], ['NXDOMAIN', []]);
  assert.match(missing.text, /cluster\.local\.\s+5\s+IN\s+SOA/);
  const empty = await dig('web.default.svc.cluster.local', 'MX');
  assert.deepEqual([empty.status, empty.answers], ['NOERROR', []]);
  assert.match(empty.text, /SOA/);
  assert.equal((await dig('default.svc.cluster.local')).status, 'NOERROR');
  assert.equal((await dig('-x', '10.244.7.200')).status, 'NXDOMAIN');
});

test('the rest is asked of the host’s servers, loopback ones and large answers included', { skip }, async () => {
  assert.deepEqual((await dig('example.test')).answers, ['192.0.2.7']);
  assert.deepEqual((await dig('+tcp', 'example.test', 'AAAA')).answers, ['2001:db8::7']);
  assert.equal((await dig('nobody.test')).status, 'NXDOMAIN');
  const cut = await dig('+ignore', '+noedns', 'large.test', 'TXT');
  assert.match(cut.flags, /\btc\b/);
  assert.ok((await dig('large.test', 'TXT')).text.includes('y'.repeat(200)));
  // Nobody knows it: dnsmasq refuses, having no server of its own.
  assert.equal((await dig('example.com')).status, 'REFUSED');
});

test('pods find each other by glibc’s and busybox’ resolvers', { skip }, async () => {
  const [web4 = '', web6 = ''] = await ipsOf('web');
  const [zero = ''] = await ipsOf('db-0');
  assert.match(await inPod('client', ['getent', 'ahostsv4', 'web']), new RegExp(`^${web4} `));
  assert.match(await inPod('client', ['getent', 'ahostsv6', 'web']), new RegExp(`^${web6} `));
  assert.match(
    await inPod('client', ['getent', 'ahostsv4', 'zero.db.shop']),
    new RegExp(`^${zero} +STREAM zero\\.db\\.shop\\.svc\\.cluster\\.local`),
  );
  assert.match(await inPod('client', ['getent', 'hosts', zero]), /zero\.db\.shop\.svc\.cluster\.local/);
  assert.match(await inPod('client', ['getent', 'ahostsv4', 'example.test']), /^192\.0\.2\.7 /);
  assert.match(await inPod('client', ['busybox', 'nslookup', 'web.default.svc.cluster.local']), new RegExp(`Address[^:]*: ${web4}`));
  // Of its own namespace first.
  assert.match(await inPod('db-0', ['getent', 'hosts', 'db-1'], 'shop'), /db-1\.shop\.svc\.cluster\.local/);
  assert.match(await inPod('host', ['getent', 'ahostsv4', 'web']), new RegExp(`^${web4} `));
  assert.equal((await inPod('db-1', ['busybox', 'hostname'], 'shop')).trim(), 'one.db.shop.svc.cluster.local');
  assert.equal((await inPod('db-0', ['busybox', 'hostname'], 'shop')).trim(), 'zero');
  assert.match(await inPod('db-0', ['busybox', 'cat', '/etc/hosts'], 'shop'), /\tzero\.db\.shop\.svc\.cluster\.local\tzero\n/);
});

test('each dnsPolicy gives its resolv.conf', { skip }, async () => {
  const cluster = [
    'search default.svc.cluster.local svc.cluster.local cluster.local corp.test',
    `nameserver ${GATEWAYS[0]}`,
    'options ndots:5',
  ];
  const expected = {
    client: cluster,
    host: cluster,
    plain: ['search corp.test', 'nameserver 127.0.0.99', 'nameserver 127.0.0.53', 'options ndots:2'],
    own: ['search a.test', 'nameserver 192.0.2.1', 'options ndots:3'],
  };
  for (const [name, lines] of Object.entries(expected))
    assert.equal(await inPod(name, ['busybox', 'cat', '/etc/resolv.conf']), `${lines.join('\n')}\n`, name);
});

test('nobody outside of the node is answered', { skip }, async () => {
  const outside = `${node.netns}-o`;
  const run = (...args: string[]) => spawnSync('ip', args, { encoding: 'utf8' });
  run('netns', 'add', outside);
  try {
    run('-n', node.netns, 'link', 'add', 'uplink', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', outside);
    run('-n', node.netns, 'addr', 'add', '192.0.2.1/24', 'dev', 'uplink');
    run('-n', node.netns, 'link', 'set', 'uplink', 'up');
    run('-n', outside, 'addr', 'add', '192.0.2.2/24', 'dev', 'eth0');
    run('-n', outside, 'link', 'set', 'eth0', 'up');
    run('-n', outside, 'route', 'add', '10.244.7.0/24', 'via', '192.0.2.1');
    const ask = (...args: string[]) =>
      spawnSync('nsenter', [`--net=/run/netns/${outside}`, 'dig', '+tries=1', '+time=1', ...args, 'web'], { encoding: 'utf8' });
    for (const args of [[`@${GATEWAYS[0]}`], [`@${GATEWAYS[0]}`, '+tcp'], ['@192.0.2.1'], ['@192.0.2.1', '+tcp']])
      assert.notEqual(ask(...args).status, 0, args.join(' '));
  } finally {
    run('netns', 'del', outside);
  }
});

test('a pod that goes takes its names along, and those of running pods come back with the daemon', { skip }, async () => {
  const [zero = ''] = await ipsOf('db-0');
  node.removeManifest('db-0.yaml');
  await poll('the name to go', async () => (await dig('db-0.shop.svc.cluster.local')).status === 'NXDOMAIN');
  assert.equal((await dig('-x', zero)).status, 'NXDOMAIN');
  await node.stop('SIGKILL');
  assert.equal((await dig('web')).status, 'none');
  await node.start('node', { flags: ['--pod-cidr', '10.244.7.0/24,fd00:7::/64', '--resolv-conf', path.join(node.dir, 'resolv.conf')] });
  await poll('the name again', async () => (await dig('web.default.svc.cluster.local')).answers.length === 1);
  assert.match(node.log, /this node answers on 10\.244\.7\.1 and fd00:7::1/);
});
