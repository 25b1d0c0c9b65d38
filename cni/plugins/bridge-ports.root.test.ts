// Who reaches whom over the ports of the plugin bridge: VLANs and isolation, as the kernel lists them and as it forwards. The case of
// VLANs also runs on an emulated processor, where each process that is started counts: it asks in few of them.
import assert from 'node:assert/strict';
import { hostTest, lacking, missing, type Namespace, openNamespace, run, temporaryDirectory } from '../testing/host.ts';
import { fail, ipam, type Json, succeed } from '../testing/plugin.ts';

/** Which addresses answer to one echo each. The wait is for those that must not. */
function reached(from: Namespace, ...addresses: string[]): string[] {
  const each = addresses.map((address) => `(busybox ping -c 1 -W 3 ${address} >/dev/null && echo ${address}) &`);
  return from
    .run(`${each.join(' ')} wait`)
    .split('\n')
    .filter(Boolean)
    .sort();
}

/** What bridge(8) says of the VLANs of every port, one text each. */
function listVlans(): Map<string, string[]> {
  const ports = JSON.parse(run('bridge -j vlan show')) as {
    ifname: string;
    vlans: { vlan: number; flags?: string[] }[];
  }[];
  return new Map(ports.map(({ ifname, vlans }) => [ifname, vlans.map(({ vlan, flags = [] }) => [vlan, ...flags].join(' '))]));
}

const filters = (bridge: string): boolean => / vlan_filtering 1 /.test(run(`ip -d link show dev ${bridge}`));

const portOf = (result: Json): string => String((result.interfaces as Json[])[1]?.name);

const makeVlan = 'ip link add b type bridge vlan_filtering 1 && ip link add link b name b.2 type vlan id 2';

hostTest(
  'bridge keeps VLANs apart: containers, the gateway of one, trunks, and who is in the default VLAN',
  import.meta.url,
  async () => {
    const config: Json = { bridge: 'br9', preserveDefaultVlan: false, ...ipam(temporaryDirectory()) };
    const inTen: Json = { ...config, vlan: 10, isDefaultGateway: true };
    const trunks: Json = { ...config, ipam: {}, vlanTrunk: [{ id: 10 }, { minID: 20, maxID: 22 }] };
    const [plain, a, b, c, trunk] = ['plain', 'a', 'b', 'c', 'trunk'].map(openNamespace) as Repeat<Namespace>;
    // One network of addresses, .2 to .5: only the VLANs are between them.
    const plainPort = portOf(await succeed('ADD', 'bridge', config, plain));
    assert.equal(filters('br9'), false);
    const result = await succeed('ADD', 'bridge', inTen, a);
    const bPort = portOf(await succeed('ADD', 'bridge', { ...inTen, preserveDefaultVlan: undefined }, b));
    const cPort = portOf(await succeed('ADD', 'bridge', { ...config, vlan: 20 }, c));
    const trunkPort = portOf(await succeed('ADD', 'bridge', trunks, trunk));
    assert.equal(filters('br9'), true);
    const untagged = ['PVID', 'Egress Untagged'];
    assert.deepEqual(
      Object.fromEntries(listVlans()),
      Object.fromEntries([
        ['br9', [`1 ${untagged.join(' ')}`, '10']],
        [plainPort, [`1 ${untagged.join(' ')}`]],
        [portOf(result), [`10 ${untagged.join(' ')}`]],
        // What it sends is in VLAN 10; the default VLAN is left to it, as nothing said otherwise.
        [bPort, ['1 Egress Untagged', `10 ${untagged.join(' ')}`]],
        [cPort, [`20 ${untagged.join(' ')}`]],
        [trunkPort, ['10', '20', '21', '22']],
      ]),
    );
    // The host's address is on its own interface of VLAN 10.
    assert.match(run('ip -o -d addr show dev br9.10'), / inet 10\.9\.0\.1\/24 /);
    assert.deepEqual(reached(a, '10.9.0.1', '10.9.0.2', '10.9.0.4', '10.9.0.5'), ['10.9.0.1', '10.9.0.4']);
    assert.deepEqual(reached(c, '10.9.0.1', '10.9.0.2', '10.9.0.3', '10.9.0.4'), []);
    trunk.run(
      'for id in 10 20; do ip link add link eth0 name v$id type vlan id $id; ip link set v$id up; ip addr add 10.$id.0.1/24 dev v$id; done',
    );
    a.run('ip addr add 10.10.0.2/24 dev eth0');
    c.run('ip addr add 10.20.0.2/24 dev eth0; ip addr add 10.10.0.3/24 dev eth0');
    assert.deepEqual(reached(trunk, '10.10.0.2', '10.10.0.3', '10.20.0.2'), ['10.10.0.2', '10.20.0.2']);

    await succeed('CHECK', 'bridge', { ...inTen, prevResult: result }, a);
    run(`bridge vlan del dev ${portOf(result)} vid 10`);
    assert.match(await fail('CHECK', 'bridge', { ...inTen, prevResult: result }, a), /^101 veth\w+ is not in VLAN 10$/);
    await succeed('DEL', 'bridge', inTen, a);
    await succeed('DEL', 'bridge', trunks, trunk);
    assert.deepEqual([...listVlans().keys()].sort(), ['br9', bPort, cPort, plainPort].sort());
  },
  missing('nft', 'bridge', 'busybox') || lacking('VLANs', makeVlan),
);

type Repeat<T> = [T, T, T, T, T];

hostTest(
  'isolated ports reach the gateway and ports that are not isolated, but not each other',
  import.meta.url,
  async () => {
    const config: Json = { bridge: 'br9', isDefaultGateway: true, ...ipam(temporaryDirectory()) };
    const [a, b, open] = ['a', 'b', 'open'].map(openNamespace) as [Namespace, Namespace, Namespace];
    const ports: string[] = [];
    for (const target of [a, b]) ports.push(portOf(await succeed('ADD', 'bridge', { ...config, portIsolation: true }, target)));
    ports.push(portOf(await succeed('ADD', 'bridge', config, open)));
    assert.deepEqual(
      ports.map((port) => /isolated (on|off)/.exec(run(`bridge -d link show dev ${port}`))?.[1]),
      ['on', 'on', 'off'],
    );
    assert.deepEqual(reached(a, '10.9.0.1', '10.9.0.3', '10.9.0.4'), ['10.9.0.1', '10.9.0.4']);
    assert.deepEqual(reached(b, '10.9.0.2'), []);
    assert.deepEqual(reached(open, '10.9.0.2', '10.9.0.3'), ['10.9.0.2', '10.9.0.3']);
    run(`bridge link set dev ${ports[1]} isolated off`);
    assert.deepEqual(reached(a, '10.9.0.3'), ['10.9.0.3']);
  },
  missing('nft', 'bridge', 'busybox'),
);
