// What a root process in a default container cannot reach over the network. docs/security.md lists these tests.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { NamespaceMode, SecurityProfile_ProfileType } from '../cri-proto/gen/api.ts';
import { runContainer, sandboxConfig } from './testing/cri.ts';
import { PRINT_SOURCES, SEND_FRAME } from './testing/frames.ts';
import { buildPerlImage, noPerl, PERL, perlIn, shellIn } from './testing/perl.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

const skip = noPerl;
const image = { image: PERL };
const command = ['perl', '-e', 'sleep 1 while 1'];
const seccomp = { profileType: SecurityProfile_ProfileType.RuntimeDefault };
const linux = { securityContext: { seccomp } };

let node: TestNode;
let attacker: string;
let victim: string;
const pod = (name: string, more = {}) => sandboxConfig(name, path.join(node.logDir, name), more);

before(async () => {
  if (skip !== false) return;
  node = await TestNode.create();
  await node.start('runtime');
  await buildPerlImage(node);
  attacker = (await runContainer(node.cri, pod('attacker'), { image, command, linux })).containerId;
  victim = (await runContainer(node.cri, pod('victim'), { image, command, linux })).containerId;
});
after(() => node?.destroy());

test('forged frames do not pass for clients on localhost, nor reach what listens there', { skip }, async () => {
  const gateway = (await shellIn(node, attacker, 'ip route')).match(/default via (\S+)/)?.[1] ?? '';
  const own = (await shellIn(node, attacker, 'ip -4 addr show eth0')).match(/inet ([\d.]+)/)?.[1] ?? '';
  const link = (await node.inNetwork(['ip', '-o', 'link', 'show', 'type', 'bridge'])).stdout;
  const mac = (link.match(/link\/ether (\S+)/)?.[1] ?? '').replaceAll(':', '');
  const listening = node.inNetwork(['perl', '-e', PRINT_SOURCES, '9998']);
  await poll('the port to be taken', async () => (await node.inNetwork(['ss', '-lnu'])).stdout.includes(':9998'));
  for (const [source, destination] of [
    ['127.0.0.1', gateway],
    ['127.0.0.2', gateway],
    [own, '127.0.0.1'],
    ['127.0.0.2', '127.0.0.1'],
    [own, gateway],
  ] as const)
    await perlIn(node, attacker, SEND_FRAME, [mac, source, destination, '9998']);
  const end = 'socket(S, 2, 2, 17); send(S, "end", 0, pack("S n C4 x8", 2, 9998, 127, 0, 0, 1))';
  await node.inNetwork(['perl', '-e', end]);
  assert.equal((await listening).stdout, `listening\n${own}\n`);
});

test('neither the host nor another sandbox takes a container for its router', { skip }, async () => {
  await poll('the link-local address', async () => !(await shellIn(node, victim, 'ip -6 addr show eth0')).includes('tentative'));
  await perlIn(node, attacker, SEND_FRAME, ['ra']);
  // The same frame again: whoever believed the first one has answered it by now.
  await perlIn(node, attacker, SEND_FRAME, ['ra']);
  const host = (await node.inNetwork(['ip', '-6', 'route'])).stdout;
  const sandbox = await shellIn(node, victim, 'ip -6 route');
  for (const routes of [host, sandbox]) assert.doesNotMatch(routes, /bad/);
  assert.doesNotMatch(host, /default/);
  // The only router is the one that it was given.
  const [gateway, ...more] = [...sandbox.matchAll(/default via (\S+)/g)].map((match) => match[1] ?? '');
  assert.deepEqual(more, []);
  assert.match((await node.inNetwork(['ip', '-6', '-o', 'addr'])).stdout, new RegExp(` ${gateway}/64 `));
  assert.equal(await shellIn(node, victim, 'cat /proc/sys/net/ipv6/conf/eth0/accept_ra'), '0\n');
});

test('a container changes neither its interface, its addresses, its routes nor packet filters', { skip }, async () => {
  for (const change of ['link set eth0 down', 'addr add 192.0.2.9/32 dev eth0', 'route add 192.0.2.0/24 dev eth0', 'link add d type dummy'])
    assert.match(await shellIn(node, attacker, `ip ${change}`), /Operation not permitted/, change);
  // NFT_MSG_NEWTABLE in a batch needs CAP_NET_ADMIN: the answer is an error message with -EPERM.
  const nft = `
    socket(S, 16, 3, 12) or die $!;
    my $batch = sub { pack("L S S L L C C n", 20, $_[0], 1, 0, 0, 0, 0, 10) };
    my $table = pack("L S S L L C C n S S a8", 32, 0x0a00, 0x405, 1, 0, 1, 0, 0, 6, 1, "t");
    send(S, $batch->(0x10) . $table . $batch->(0x11), 0, pack("S S L L", 16, 0, 0, 0)) or die $!;
    recv(S, my $answer, 999, 0); print unpack("l", substr $answer, 16, 4);`;
  assert.equal(await perlIn(node, attacker, nft), '-1');
});

test('abstract sockets of the host and of other sandboxes are not there', { skip }, async () => {
  const serve = 'socket(S, 1, 1, 0); bind(S, pack("S a*", 1, "\\0tsk-secret")) or die $!; listen(S, 1); sleep 30';
  const name = 'cat /proc/net/unix';
  const serving = perlIn(node, victim, `alarm 3; ${serve}`).catch(() => undefined);
  await poll('the socket', async () => (await shellIn(node, victim, name)).includes('@tsk-secret'));
  assert.ok(!(await shellIn(node, attacker, name)).includes('tsk-secret'));
  const connect = 'socket(S, 1, 1, 0); print connect(S, pack("S a*", 1, "\\0tsk-secret")) ? "connected" : $!+0';
  assert.equal(await perlIn(node, attacker, connect), '111');
  await serving;
});

test('the streaming port is out of reach of a sandbox, and gives nothing without a token to one in the host’s network', {
  skip,
}, async () => {
  const { url } = await node.cri.runtime.exec({ containerId: victim, cmd: ['id'], stdout: true });
  const { port, hostname } = new URL(url);
  assert.equal(hostname, '127.0.0.1');
  const get = (from: string, host: string, where = '/') =>
    perlIn(
      node,
      from,
      `my ($host, $where) = @ARGV; socket(S, 2, 1, 6);
      connect(S, pack("S n C4 x8", 2, ${port}, split /\\./, $host)) or do { print $!+0; exit };
      syswrite(S, "GET $where HTTP/1.1\\r\\nHost: $host\\r\\nConnection: close\\r\\n\\r\\n"); print scalar <S>;`,
      [host, where],
    );
  const ECONNREFUSED = '111';
  const gateway = (await shellIn(node, attacker, 'ip route')).match(/default via (\S+)/)?.[1] ?? '';
  for (const host of ['127.0.0.1', gateway]) assert.equal(await get(attacker, host), ECONNREFUSED, host);
  const options = { linux: { securityContext: { seccomp, namespaceOptions: { network: NamespaceMode.NODE } } } };
  const { containerId } = await runContainer(node.cri, pod('host-network', options), { image, command, ...options });
  for (const where of ['/', '/exec/', '/exec/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA', '/attach/x', '/portforward/x', '/../'])
    assert.match(await get(containerId, '127.0.0.1', where), /^HTTP\/1\.1 4\d\d/, where);
});
