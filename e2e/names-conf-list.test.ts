// Names of pods whose network is a configuration list, by our bridge and by Debian's: asked by glibc's resolver in pods, and by dig.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { FOREVER, isRunning, listPods, podManifest, untilPod } from './testing/pods.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

const DEBIAN = '/usr/lib/cni';
const IMAGE = 'localhost/resolvers:host';
const absent = ['dig', 'getent', 'busybox'].filter((program) => spawnSync('which', [program]).status !== 0);

const list = (node: TestNode, bridge: string, more: object, ...subnets: readonly string[]) => ({
  cniVersion: '1.0.0',
  name: bridge,
  plugins: [
    {
      ...{ type: 'bridge', bridge, ...more },
      ipam: { type: 'host-local', dataDir: path.join(node.dir, 'leases'), ranges: subnets.map((subnet) => [{ subnet }]) },
    },
  ],
});

function writeList(node: TestNode, name: string, content: object): void {
  const directory = path.join(node.dir, 'net.d');
  fs.mkdirSync(directory, { recursive: true });
  fs.writeFileSync(path.join(node.dir, name), JSON.stringify(content));
  fs.renameSync(path.join(node.dir, name), path.join(directory, name));
}

async function startNode(flags: readonly string[]): Promise<TestNode> {
  const node = await TestNode.create();
  writeList(node, '10-net.conflist', list(node, 'cnitest', { isDefaultGateway: true }, '10.88.0.0/24', 'fd88::/64'));
  fs.writeFileSync(path.join(node.dir, 'resolv.conf'), 'nameserver 192.0.2.53\n');
  const conf = ['--cni-conf-dir', path.join(node.dir, 'net.d'), '--resolv-conf', path.join(node.dir, 'resolv.conf')];
  await node.start('node', { flags: [...conf, ...flags] });
  const programs = ['/usr/bin/getent', '/bin/busybox'].flatMap((program) => ['--bin', program]);
  const built = await node.tskubelet(['image', 'build-host', IMAGE, ...programs]);
  assert.equal(built.code, 0, built.stderr);
  return node;
}

const addPod = (node: TestNode, name: string) =>
  node.addManifest(
    `${name}.yaml`,
    podManifest(name, { command: ['busybox', 'sh', '-c', FOREVER.replace('sleep', 'busybox sleep')], image: IMAGE }),
  );

async function inPod(node: TestNode, name: string, command: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await node.tskubelet(['exec', name, '--', ...command]);
  assert.equal(code, 0, `${command.join(' ')}: ${stdout}${stderr}`);
  return stdout;
}

const dig = async (node: TestNode, ...args: readonly string[]): Promise<string[]> =>
  (await node.inNetwork(['dig', '+short', '+tries=1', '+time=2', ...args])).stdout.trim().split('\n');

async function ipsOf(node: TestNode, name: string): Promise<string[]> {
  const pod = (await listPods(node)).find(({ metadata }) => metadata?.name === name);
  return (pod?.status?.podIPs ?? []).map(({ ip }) => ip);
}

async function explain(node: TestNode, name: string): Promise<string> {
  const { code, stdout, stderr } = await node.tskubelet(['explain', name, 'net']);
  assert.equal(code, 0, stderr);
  return stdout;
}

const kinds = [
  { who: 'our bridge', flags: [], needs: undefined },
  { who: 'Debian’s bridge', flags: ['--cni-bin-dir', DEBIAN], needs: `${DEBIAN}/bridge` },
];

for (const { who, flags, needs } of kinds) {
  const lacking = needs !== undefined && !fs.existsSync(needs) ? [...absent, needs] : absent;
  describe(`names by ${who}`, { skip: lacking.length > 0 ? `needs ${lacking.join(', ')}` : false }, () => {
    let node: TestNode;
    before(async () => {
      node = await startNode(flags);
    });
    after(() => node?.destroy());

    test('the first pods of a node, before which the bridge was not there, find each other', async () => {
      assert.doesNotMatch((await node.inNetwork(['ip', '-o', 'link'])).stdout, /cnitest/);
      for (const name of ['asker', 'web']) addPod(node, name);
      for (const name of ['asker', 'web']) await untilPod(node, name, isRunning);
      const [web4 = '', web6 = ''] = await ipsOf(node, 'web');
      assert.match(web4, /^10\.88\.0\./);
      assert.match(web6, /^fd88::/);
      assert.match(await inPod(node, 'asker', ['busybox', 'cat', '/etc/resolv.conf']), /^nameserver 10\.88\.0\.1$/m);
      assert.match(await inPod(node, 'asker', ['getent', 'ahostsv4', 'web']), new RegExp(`^${web4} `));
      assert.match(await inPod(node, 'asker', ['getent', 'ahostsv6', 'web']), new RegExp(`^${web6} `));
      assert.match(await inPod(node, 'asker', ['getent', 'hosts', web4]), /web\.default\.svc\.cluster\.local/);
      // Debian's plugin lets the kernel look for duplicates of the IPv6 gateway, which takes it a second or two.
      for (const server of ['10.88.0.1', 'fd88::1'])
        await poll(`an answer of ${server}`, async () => (await dig(node, `@${server}`, '+tcp', 'web.default')).join() === web4);
      assert.match(node.log, /this node answers on 10\.88\.0\.1 and fd88::1/);
      assert.doesNotMatch(await explain(node, 'web'), /by name/);
      assert.match(await explain(node, 'web'), /the pods' gateway and name server/);
    });

    test('where no address of this machine is the pods’ gateway, log and explain say so, and others go on being answered', async () => {
      const [web4 = ''] = await ipsOf(node, 'web');
      writeList(node, '05-flat.conflist', list(node, 'flat', {}, '10.99.0.0/24'));
      const why = /do not find each other by name: network flat \(\S+05-flat\.conflist\) does not say which address of this machine/;
      await poll('the list to be taken', () => /new pods get network flat/.test(node.log));
      addPod(node, 'flat');
      await untilPod(node, 'flat', isRunning);
      assert.match(node.log, why);
      assert.match(await inPod(node, 'flat', ['busybox', 'cat', '/etc/resolv.conf']), /^nameserver 192\.0\.2\.53$/m);
      assert.match(await explain(node, 'flat'), /other pods are not found by name: network flat/);
      addPod(node, 'flat-2');
      await untilPod(node, 'flat-2', isRunning);
      assert.match(node.log, /by name: pods of network flat \(\S+\) have no gateway that is this machine's/);
      assert.match(await inPod(node, 'asker', ['getent', 'ahostsv4', 'web']), new RegExp(`^${web4} `));
    });

    test('after a restart the pods’ records tell where to listen', async () => {
      const [web4 = ''] = await ipsOf(node, 'web');
      fs.rmSync(path.join(node.dir, 'net.d/05-flat.conflist'));
      fs.rmSync(path.join(node.dir, 'net.d/10-net.conflist'));
      await node.stop();
      const resolv = ['--cni-conf-dir', path.join(node.dir, 'net.d'), '--resolv-conf', path.join(node.dir, 'resolv.conf')];
      await node.start('node', { flags: [...resolv, ...flags] });
      await poll('the name', async () => (await dig(node, '@10.88.0.1', 'web.default.svc.cluster.local')).join() === web4);
      assert.match(await inPod(node, 'asker', ['getent', 'ahostsv4', 'web']), new RegExp(`^${web4} `));
    });
  });
}
