// CNI between runtimes: Debian's containerd with our plugins as executables, and our runtime with Debian's plugins.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Protocol } from '../cri-proto/gen/api.ts';
import { check } from './testing/command.ts';
import { type Containerd, startContainerdWithCni } from './testing/containerd.ts';
import { sandboxConfig } from './testing/cri.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

const DEBIAN = '/usr/lib/cni';
const launcher = path.resolve(import.meta.dirname, '../bin/tskubelet');

function lacking(...needed: readonly string[]): string | false {
  if (process.getuid?.() !== 0) return 'needs root';
  const missing = needed.find((file) => !fs.existsSync(file));
  return missing === undefined ? false : `needs ${missing}`;
}

const list = (cniVersion: string, dataDir: string, ...more: readonly object[]) =>
  JSON.stringify({
    cniVersion,
    name: 'testnet',
    plugins: [
      {
        type: 'bridge',
        bridge: 'cnitest',
        isDefaultGateway: true,
        ipMasq: true,
        hairpinMode: true,
        ipam: { type: 'host-local', dataDir, ranges: [[{ subnet: '10.88.0.0/24' }]] },
      },
      { type: 'portmap', capabilities: { portMappings: true } },
      ...more,
    ],
  });

/** A web server in the namespace, for as long as the work takes. */
async function serving<T>(netns: string, directory: string, work: () => Promise<T>): Promise<T> {
  fs.writeFileSync(path.join(directory, 'index.html'), 'from the pod');
  const pidFile = path.join(directory, 'httpd.pid');
  const script = `busybox httpd -f -p 80 -h ${directory} >/dev/null 2>&1 & echo $! >${pidFile}`;
  await check('nsenter', [`--net=${netns}`, 'sh', '-c', script]);
  try {
    return await work();
  } finally {
    process.kill(Number(fs.readFileSync(pidFile, 'utf8')));
  }
}

/** What the host of the node gets from a web server; retried while it starts. */
const fetchIn = (node: TestNode, host: string) => {
  const script = `const get = (left) => fetch('http://${host}/', { signal: AbortSignal.timeout(2000) }).then((r) => r.text()).then(console.log,
    (e) => left > 0 ? setTimeout(get, 100, left - 1) : console.log(String(e.cause ?? e)));
    get(20);`;
  return node.inNetwork([process.execPath, '-e', script]);
};

describe('containerd with our plugins', { skip: lacking('/usr/bin/containerd', '/usr/sbin/runc', '/bin/busybox') }, () => {
  let node: TestNode;
  let containerd: Containerd;
  before(async () => {
    node = await TestNode.create();
    const [confDir, binDir] = ['net.d', 'bin'].map((name) => path.join(node.dir, name)) as [string, string];
    fs.mkdirSync(confDir);
    fs.writeFileSync(
      path.join(confDir, '10-test.conflist'),
      list(
        '1.0.0',
        path.join(node.dir, 'leases'),
        { type: 'bandwidth', capabilities: { bandwidth: true } },
        { type: 'tuning', sysctl: { 'net.core.somaxconn': '500' } },
      ),
    );
    assert.match(await check(launcher, ['cni', 'install', binDir]), /bridge, host-local/);
    containerd = await startContainerdWithCni(node, { confDir, binDir });
  });
  after(async () => {
    await containerd?.stop();
    await node?.destroy();
  });

  test('a sandbox is connected, limited, tuned, reached by its hostPort, and leaves nothing behind', async () => {
    const { cri } = containerd;
    const config = sandboxConfig('web', '', {
      linux: { cgroupParent: `${node.cgroupRoot}/web` },
      portMappings: [{ protocol: Protocol.TCP, hostPort: 8080, containerPort: 80 }],
      annotations: { 'kubernetes.io/ingress-bandwidth': '10M', 'kubernetes.io/egress-bandwidth': '5M' },
    });
    const { podSandboxId } = await cri.runtime.runPodSandbox({ config }).catch((error: unknown) => {
      throw new Error(containerd.log().slice(-2000), { cause: error });
    });
    const { status, info } = await cri.runtime.podSandboxStatus({ podSandboxId, verbose: true });
    assert.equal(status?.network?.ip, '10.88.0.2');
    const { pid } = JSON.parse(info.info ?? '{}') as { pid: number };
    const netns = `/proc/${pid}/ns/net`;
    assert.equal(await check('nsenter', [`--net=${netns}`, 'cat', '/proc/sys/net/core/somaxconn']), '500\n');
    const qdiscs = (await node.inNetwork(['tc', 'qdisc', 'show'])).stdout;
    assert.match(qdiscs, /tbf .*rate 10Mbit/);
    assert.match(qdiscs, /tbf .*dev ifb.*rate 5Mbit|dev ifb\w+ root .*rate 5Mbit/);
    await serving(netns, node.dir, async () => {
      assert.equal((await fetchIn(node, '10.88.0.2')).stdout.trim(), 'from the pod');
      assert.equal((await fetchIn(node, '127.0.0.1:8080')).stdout.trim(), 'from the pod');
    });
    await cri.runtime.stopPodSandbox({ podSandboxId });
    await cri.runtime.removePodSandbox({ podSandboxId });
    const left = (await node.inNetwork(['sh', '-c', 'ip -o link; nft list table inet tskubelet_cni'])).stdout;
    assert.doesNotMatch(left, /veth|ifb|testnet/);
    assert.deepEqual(
      fs.readdirSync(path.join(node.dir, 'leases/testnet')).filter((name) => name.startsWith('10.')),
      [],
    );
  });
});

describe('our runtime with plugins of others', { skip: lacking(`${DEBIAN}/bridge`, '/usr/sbin/iptables', '/bin/busybox') }, () => {
  let node: TestNode;
  const confFile = () => path.join(node.dir, 'net.d/10-test.conflist');
  before(async () => {
    node = await TestNode.create();
    fs.mkdirSync(path.join(node.dir, 'net.d'));
    fs.writeFileSync(confFile(), list('1.0.0', path.join(node.dir, 'leases')));
    await node.start('runtime', { flags: ['--cni-conf-dir', path.join(node.dir, 'net.d'), '--cni-bin-dir', DEBIAN] });
  });
  after(() => node?.destroy());

  test('a sandbox is connected by executables, and taken back by them after a restart', async () => {
    const config = sandboxConfig('web', '', { portMappings: [{ protocol: Protocol.TCP, hostPort: 8080, containerPort: 80 }] });
    const { podSandboxId } = await node.cri.runtime.runPodSandbox({ config });
    const { status } = await node.cri.runtime.podSandboxStatus({ podSandboxId });
    assert.equal(status?.network?.ip, '10.88.0.2');
    assert.match((await node.inNetwork(['iptables', '-t', 'nat', '-S'])).stdout, /CNI-DN-.*--dport 8080/);
    assert.doesNotMatch((await node.inNetwork(['ip', '-o', 'link'])).stdout, /tsk/);
    await node.stop();
    await node.start('runtime', { flags: ['--cni-conf-dir', path.join(node.dir, 'net.d'), '--cni-bin-dir', DEBIAN] });
    await node.cri.runtime.stopPodSandbox({ podSandboxId });
    await node.cri.runtime.removePodSandbox({ podSandboxId });
    assert.doesNotMatch((await node.inNetwork(['sh', '-c', 'ip -o link; iptables -t nat -S'])).stdout, /veth|CNI-DN-/);
    assert.deepEqual(
      fs.readdirSync(path.join(node.dir, 'leases/testnet')).filter((name) => name.startsWith('10.')),
      [],
    );
  });

  test('NetworkReady says what is wrong with the configuration, and follows the directory', async () => {
    const condition = async () => (await node.cri.runtime.status({})).status?.conditions.find(({ type }) => type === 'NetworkReady');
    assert.equal((await condition())?.status, true);
    fs.writeFileSync(path.join(node.dir, 'net.d/05-broken.conf'), '{"name": "x", "cniVersion": "9.9.9", "type": "bridge"}');
    const bad = await poll('NetworkReady to be false', async () => {
      const found = await condition();
      return found?.status === false ? found : undefined;
    });
    assert.match(bad.message, /05-broken\.conf: CNI version "9\.9\.9" is not supported/);
    await assert.rejects(node.cri.runtime.runPodSandbox({ config: sandboxConfig('no', '') }), /05-broken\.conf/);
    fs.rmSync(path.join(node.dir, 'net.d/05-broken.conf'));
    await poll('NetworkReady to be true', async () => (await condition())?.status);
    fs.rmSync(confFile());
    await poll('the built-in network', async () => {
      const { podSandboxId } = await node.cri.runtime.runPodSandbox({ config: sandboxConfig('builtin', '') });
      const { status } = await node.cri.runtime.podSandboxStatus({ podSandboxId });
      await node.cri.runtime.removePodSandbox({ podSandboxId });
      return status?.network?.ip.startsWith('10.244.');
    });
    assert.equal((await condition())?.status, true);
  });
});
