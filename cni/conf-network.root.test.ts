// Networks of configuration lists, in this process and by executables in a chain with it. A network namespace plays the host.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { hostTest, missing, poll, requestFromHost, run, startPeer, temporaryDirectory } from './testing/host.ts';
import { attach, open } from './testing/network.ts';

const DEBIAN = '/usr/lib/cni';

interface Conf {
  readonly confDir: string;
  readonly dataDir: string;
  write(name: string, content: object): void;
}

function confDirectory(): Conf {
  const directory = temporaryDirectory();
  const confDir = path.join(directory, 'net.d');
  fs.mkdirSync(confDir);
  return {
    confDir,
    dataDir: path.join(directory, 'leases'),
    write: (name, content) => {
      fs.writeFileSync(path.join(directory, name), JSON.stringify(content));
      fs.renameSync(path.join(directory, name), path.join(confDir, name));
    },
  };
}

const list = (dataDir: string, more: readonly object[] = [], ipam: object = {}) => ({
  cniVersion: '1.1.0',
  name: 'listed',
  plugins: [
    {
      type: 'bridge',
      bridge: 'br9',
      isDefaultGateway: true,
      ipMasq: true,
      hairpinMode: true,
      capabilities: { ips: true, mac: true, ipRanges: true },
      ipam: { type: 'host-local', dataDir, ranges: [[{ subnet: '10.9.0.0/24' }], [{ subnet: 'fd09::/64' }]], ...ipam },
    },
    { type: 'portmap', capabilities: { portMappings: true } },
    { type: 'bandwidth', capabilities: { bandwidth: true } },
    ...more,
  ],
});

/** A plugin of others that notes its calls, and gives on what it got. */
function writeProbe(binDir: string, file: string): void {
  fs.mkdirSync(binDir, { recursive: true });
  const script = `#!/bin/sh
config=$(cat)
printf '%s %s %s %s %s\\n' "$CNI_COMMAND" "$CNI_CONTAINERID" "$CNI_NETNS" "$CNI_ARGS" "$config" >>${file}
[ "$CNI_COMMAND" = ADD ] || exit 0
[ ! -e ${file}.fail ] || { echo '{"cniVersion":"1.0.0","code":117,"msg":"the probe refuses","details":"as told"}'; exit 1; }
printf '%s' "$config" | ${process.execPath} -e 'let s="";process.stdin.on("data",(d)=>s+=d).on("end",()=>console.log(JSON.stringify(JSON.parse(s).prevResult)))'
`;
  fs.writeFileSync(path.join(binDir, 'probe'), script, { mode: 0o755 });
}

const causedBy = (message: RegExp) => (error: Error) => message.test(String((error.cause as Error).message));

const left = () => run('ip -o link | grep -E "veth|ifb" || true; nft list ruleset | grep listed || true');

hostTest('a list takes the place of the built-in network, with everything that a sandbox asks for', import.meta.url, async () => {
  const { confDir, dataDir, write } = confDirectory();
  write('10-net.conflist', list(dataDir));
  const { network, stateDir, notices } = await open({ confDir });
  assert.deepEqual(network.status(), { ready: true, reason: '', message: '' });
  const web = await startPeer('web');
  const { netnsFd, netnsPath } = web;
  const request = {
    ...{ sandboxId: 'web', netnsFd, netnsPath, namespace: 'default', name: 'web', uid: 'u1' },
    portMappings: [{ protocol: 'tcp', hostPort: 8080, containerPort: 80 } as const],
    bandwidth: { ingressRate: 8e6, egressRate: 4e6 },
    ips: ['10.9.0.50'],
    mac: '02:11:22:33:44:55',
  };
  const attached = await network.attach(request);
  assert.deepEqual(attached.ips, ['10.9.0.50', 'fd09::2']);
  assert.equal(attached.mac, '02:11:22:33:44:55');
  assert.match(run(`ip -o link show ${attached.hostInterface}`), /master br9/);
  assert.match(run('tc qdisc'), /rate 8Mbit[\s\S]*rate 4Mbit/);
  assert.equal(await requestFromHost('tcp', '127.0.0.1', 8080), 'web 10.9.0.1');
  assert.match(web.run('ip -o link show lo'), /<LOOPBACK,UP/);
  assert.deepEqual(await network.attach(request), attached);
  assert.doesNotMatch(run('ip -o link; nft list tables'), /tsk0|tskubelet$/m);
  const other = await startPeer('other');
  await assert.rejects(
    attach(network, other, request.portMappings),
    causedBy(/hostPort 8080\/tcp is taken by sandbox web \(default\/web\)/),
  );
  const program = net.createServer();
  await new Promise<void>((resolve) => program.listen(8090, resolve));
  await assert.rejects(
    attach(network, other, [{ protocol: 'tcp', hostPort: 8090, containerPort: 80 }]),
    causedBy(/hostPort 8090\/tcp is taken by tskubelet itself, which listens on it/),
  );
  program.close();
  await network.close();

  // The list is another one by now: what is attached goes as it came.
  write('10-net.conflist', { cniVersion: '1.0.0', name: 'replaced', plugins: [{ type: 'loopback' }] });
  const { network: next } = await open({ confDir, stateDir });
  await next.reconcile(new Set(['web']));
  assert.deepEqual(await next.attach(request), attached);
  await next.detach('web');
  assert.equal(left(), '');
  await assert.rejects(attach(next, other), causedBy(/network replaced gave no address for eth0/));
  assert.deepEqual(notices, []);
});

hostTest('a hostPort is one sandbox’s, however the two are attached, and also when they come at once', import.meta.url, async () => {
  const { confDir, dataDir, write } = confDirectory();
  const { network, notices } = await open({ confDir });
  const onto = (hostPort: number) => [{ protocol: 'tcp', hostPort, containerPort: 80 }] as const;
  const [a, b, c, d] = [await startPeer('a'), await startPeer('b'), await startPeer('c'), await startPeer('d')];
  await attach(network, a, onto(8080));
  write('10-net.conflist', list(dataDir));
  await poll('the list', async () => notices.join().includes('new pods get network listed'));
  await assert.rejects(attach(network, b, onto(8080)), causedBy(/^hostPort 8080\/tcp is taken by sandbox a \(default\/a\)$/));
  const both = await Promise.allSettled([attach(network, b, onto(8081)), attach(network, c, onto(8081))]);
  assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
  fs.rmSync(path.join(confDir, '10-net.conflist'));
  await poll('the built-in network', async () => notices.at(-1)?.includes('new pods get the built-in network') === true);
  await assert.rejects(attach(network, d, onto(8081)), causedBy(/^hostPort 8081\/tcp is taken by sandbox [bc] /));
  await attach(network, d, onto(8082));
  for (const { name } of [a, b, c, d]) await network.detach(name);
  await network.close({ remove: true });
});

hostTest('sandboxes that are gone, and half attached ones, are taken back at the next start', import.meta.url, async () => {
  const { confDir, dataDir, write } = confDirectory();
  write('10-net.conflist', list(dataDir));
  const { network, stateDir } = await open({ confDir });
  const [a, b, c] = [await startPeer('a'), await startPeer('b'), await startPeer('c')];
  for (const peer of [a, b, c]) await attach(network, peer, peer === a ? [{ protocol: 'udp', hostPort: 53, containerPort: 80 }] : []);
  await network.close();
  await b.kill();
  const file = path.join(stateDir, 'conf/c.json');
  fs.writeFileSync(
    file,
    JSON.stringify({ ...(JSON.parse(fs.readFileSync(file, 'utf8')) as object), state: 'attaching', result: undefined }),
  );
  // A lease and rules without a record, as of a root-dir that was deleted.
  fs.writeFileSync(path.join(dataDir, 'listed/10.9.0.99'), 'ghost\r\neth0');
  const { network: next, notices } = await open({ confDir, stateDir });
  await next.reconcile(new Set(['a', 'c']));
  assert.deepEqual(
    fs.readdirSync(path.join(dataDir, 'listed')).filter((name) => name.startsWith('10.')),
    ['10.9.0.2'],
  );
  assert.equal(run('ip -o link | grep -c veth').trim(), '1');
  assert.equal(await requestFromHost('udp', '127.0.0.1', 53), 'a 10.9.0.1');
  assert.deepEqual(notices, []);
  a.run('ip addr flush dev eth0');
  await next.reconcile(new Set(['a']));
  assert.match(notices.join(), /the network of default\/a is not as it was left: CHECK of plugin bridge.*10\.9\.0\.2\/24 of eth0 is gone/);
  await next.reconcile(new Set());
  assert.equal(left(), '');
});

hostTest(
  'executables of others stand in the chain, are told what their configuration asks for, and may refuse',
  import.meta.url,
  async () => {
    const { confDir, dataDir, write } = confDirectory();
    const binDir = path.join(path.dirname(confDir), 'bin');
    const calls = path.join(path.dirname(confDir), 'calls');
    writeProbe(binDir, calls);
    write('10-net.conflist', {
      ...list(dataDir, [
        { type: 'probe', capabilities: { aliases: true, portMappings: false, 'io.kubernetes.cri.pod-annotations': true }, own: 'option' },
      ]),
      cniVersion: '1.0.0',
    });
    const { network } = await open({ confDir, binDirs: [binDir] });
    const pod = await startPeer('pod');
    const { netnsFd, netnsPath } = pod;
    const { ips } = await network.attach({
      ...{ sandboxId: 'pod', netnsFd, netnsPath, namespace: 'default', name: 'pod', annotations: { of: 'the pod' } },
      portMappings: [{ protocol: 'tcp', hostPort: 8080, containerPort: 80 }],
    });
    assert.deepEqual(ips, ['10.9.0.2', 'fd09::2']);
    await network.detach('pod');
    const [add = '', del = ''] = fs.readFileSync(calls, 'utf8').trim().split('\n');
    assert.match(
      add,
      /^ADD pod \/proc\/\d+\/ns\/net IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod;K8S_POD_INFRA_CONTAINER_ID=pod \{/,
    );
    const config = JSON.parse(add.slice(add.indexOf('{'))) as { runtimeConfig: object; own: string; prevResult: { ips: object[] } };
    assert.deepEqual(config.runtimeConfig, { aliases: ['pod'], 'io.kubernetes.cri.pod-annotations': { of: 'the pod' } });
    assert.equal(config.own, 'option');
    assert.equal(config.prevResult.ips.length, 2);
    assert.match(del, /^DEL pod \/proc\/\d+\/ns\/net .*"prevResult":\{"cniVersion":"1\.0\.0"/);
    fs.writeFileSync(`${calls}.fail`, '');
    await assert.rejects(attach(network, pod), (error: Error) => {
      assert.match(String((error.cause as Error).message), /ADD of plugin probe in network listed/);
      assert.match(String(((error.cause as Error).cause as Error).message), /probe ADD: the probe refuses/);
      return true;
    });
    assert.equal(left(), '');
  },
);

hostTest('whatever an executable does wrong is told in one sentence, and leaves nothing behind', import.meta.url, async () => {
  const { confDir, dataDir, write } = confDirectory();
  const binDir = path.join(path.dirname(confDir), 'bin');
  fs.mkdirSync(binDir);
  fs.writeFileSync(path.join(binDir, 'odd'), '', { mode: 0o755 });
  write('10-net.conflist', { ...list(dataDir, [{ type: 'odd' }]), cniVersion: '1.0.0' });
  const { network } = await open({ confDir, binDirs: [binDir] });
  const pod = await startPeer('pod');
  for (const [script, told] of [
    ['echo garbage', /odd ADD wrote no JSON: garbage/],
    ['exit 0', /ADD of plugin odd in network listed: a result is no object/],
    ['echo oops >&2; echo garbage; exit 3', /odd ADD ended with 3: oops/],
    ['echo half; kill -9 $$', /odd ADD was ended by signal 9: half/],
    ['head -c 3000000 /dev/zero', /odd ADD: .*odd wrote more than 1048576 bytes/],
    [
      `printf %s '{"code":11,"msg":"come back later","details":"the daemon\\n  is starting"}'; exit 1`,
      /odd ADD: come back later: the daemon is starting$/,
    ],
    [`echo '{"cniVersion":"1.0.0","ips":[{"address":"nonsense"}]}'`, /"nonsense" is no/],
  ] as const) {
    // DEL and others go well.
    fs.writeFileSync(path.join(binDir, 'odd'), `#!/bin/sh\ncat >/dev/null; [ "$CNI_COMMAND" = ADD ] || exit 0\n${script}\n`, {
      mode: 0o755,
    });
    await assert.rejects(attach(network, pod), (error: Error) => {
      const sentences = [];
      for (let one: unknown = error; one instanceof Error; one = one.cause) sentences.push(one.message);
      assert.match(sentences.join(': '), told);
      return true;
    });
    assert.equal(left(), '');
  }
  // What failed is told, and what its taking back did too; the next detach goes on from there.
  fs.writeFileSync(path.join(binDir, 'odd'), `#!/bin/sh\necho '{"code":100,"msg":"no '$CNI_COMMAND'"}'; exit 1\n`, { mode: 0o755 });
  await assert.rejects(attach(network, pod), causedBy(/no ADD.*taking it back.*no DEL/));
  fs.writeFileSync(path.join(binDir, 'odd'), '#!/bin/sh\n', { mode: 0o755 });
  await network.detach('pod');
  assert.equal(left(), '');
});

hostTest('the network is ready when the plugins of its list are', import.meta.url, async () => {
  const { confDir, dataDir, write } = confDirectory();
  write('10-net.conflist', list(dataDir));
  const { network, notices } = await open({ confDir });
  write('05-full.conflist', list(dataDir, [], { ranges: [[{ subnet: '10.8.0.0/30', exclude: ['10.8.0.2/32'] }]] }));
  await poll('a full network to be not ready', () => /no free address in 10\.8\.0\.0\/30/.test(network.status().message));
  // What the node is told by UpdateRuntimeConfig, for plugins with the capability ipRanges.
  await network.setPodCidrs(['10.7.0.0/24']);
  fs.rmSync(path.join(confDir, '05-full.conflist'));
  await poll('the network to be ready', () => network.status().ready);
  const pod = await startPeer('pod');
  assert.deepEqual((await attach(network, pod)).ips, ['10.7.0.2', '10.9.0.2', 'fd09::2']);
  write('00-unknown.conf', { cniVersion: '1.0.0', name: 'n', type: 'nosuch' });
  await poll('an unknown plugin to be told', () => /no plugin nosuch: it is not built in/.test(network.status().message));
  assert.match(notices.at(-1) ?? '', /new pods get no network: no plugin nosuch/);
  await network.detach('pod');
  assert.equal(left(), '');
});

hostTest(
  'Debian’s plugins work in a chain with ours',
  import.meta.url,
  async () => {
    const { confDir, write } = confDirectory();
    // Its ipam plugin under our bridge, our portmap behind its tuning.
    write('10-net.conflist', {
      cniVersion: '1.0.0',
      name: 'listed',
      plugins: [
        {
          type: 'bridge',
          bridge: 'br9',
          isGateway: true,
          hairpinMode: true,
          ipam: { type: 'static', addresses: [{ address: '10.9.0.7/24', gateway: '10.9.0.1' }], routes: [{ dst: '0.0.0.0/0' }] },
        },
        { type: 'firewall', backend: 'iptables' },
        { type: 'portmap', capabilities: { portMappings: true } },
      ],
    });
    const { network } = await open({ confDir });
    const pod = await startPeer('pod');
    const { ips } = await attach(network, pod, [{ protocol: 'tcp', hostPort: 8080, containerPort: 80 }]);
    assert.deepEqual(ips, ['10.9.0.7']);
    assert.match(run('iptables -S'), /-d 10\.9\.0\.7\/32/);
    assert.equal(await requestFromHost('tcp', '127.0.0.1', 8080), 'pod 10.9.0.1');
    await network.detach('pod');
    assert.doesNotMatch(run('iptables -S'), /10\.9\.0\.7/);
    assert.equal(left(), '');
  },
  missing('nft', 'iptables') || (fs.existsSync(`${DEBIAN}/static`) ? false : 'needs containernetworking-plugins'),
);
