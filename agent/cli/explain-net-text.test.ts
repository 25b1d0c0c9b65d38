import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ExplainedNet, renderExplainedNet } from './explain-net-text.ts';

const none = { packets: 0, bytes: 0, errors: 0, dropped: 0 };
const link = {
  ...{ kind: 'veth', mac: '0a:58:0a:f4:00:02', mtu: 1500, up: true, addresses: [], routes: [], received: none, sent: none, commands: [] },
};

const explained: ExplainedNet = {
  namespace: 'shop',
  pod: 'web',
  dns: { servers: ['10.244.0.1'], searches: ['shop.svc.cluster.local'], options: ['ndots:5'] },
  names: { servers: ['10.244.0.1'] },
  network: {
    netns: '/proc/4711/ns/net',
    ips: ['10.244.0.2', 'fd00::2'],
    pod: [
      {
        ...{ ...link, name: 'eth0', index: 2, peer: 5, addresses: ['10.244.0.2/24'], routes: ['default via 10.244.0.1'] },
        ...{ received: { packets: 1, bytes: 42, errors: 0, dropped: 3 }, sent: { packets: 2000, bytes: 1_500_000, errors: 1, dropped: 0 } },
        commands: ['nsenter --net=/proc/4711/ns/net ip route'],
      },
    ],
    host: {
      port: { ...link, name: 'veth1', index: 5, peer: 2, port: { bridge: 'tsk0', hairpin: true, isolated: false } },
      bridge: { ...link, name: 'tsk0', kind: 'bridge', index: 4, peer: 0, ports: 2, addresses: ['10.244.0.1/24'] },
    },
    nat: {
      table: 'tskubelet',
      hostPorts: [
        {
          map: 'hostport4',
          element: 'tcp . 8080 counter packets 3 bytes 180 : 10.244.0.2 . 80',
          command: 'nft list map inet tskubelet hostport4',
        },
      ],
      rules: [
        {
          chain: 'postrouting',
          text: 'ip saddr 10.244.0.0/24 oifname != "tsk0" counter packets 2 bytes 120 masquerade',
          comment: 'pods to other networks, IPv4',
        },
      ],
      commands: ['nft list table inet tskubelet'],
    },
  },
};

test('the way of a packet is told from the pod outwards, with the commands that show it', () => {
  assert.equal(
    renderExplainedNet(explained),
    `pod shop/web: 10.244.0.2 and fd00::2

  2: eth0@if5   in the pod's network namespace
    10.244.0.2/24, MAC 0a:58:0a:f4:00:02, MTU 1500, up
    received 1 packet (42 B), 3 dropped; sent 2000 packets (1.5 MB), 1 errors
    route default via 10.244.0.1
      $ nsenter --net=/proc/4711/ns/net ip route
   │  a veth pair: what enters one end comes out of the other
  5: veth1@if2   its other end, on the machine: a port of tsk0, hairpin on
    MAC 0a:58:0a:f4:00:02, MTU 1500, up
    received 0 packets (0 B); sent 0 packets (0 B)
   │
  4: tsk0   the bridge, with 2 ports: the pods' gateway and name server
    10.244.0.1/24, MAC 0a:58:0a:f4:00:02, MTU 1500, up
    received 0 packets (0 B); sent 0 packets (0 B)
   │
  nftables table inet tskubelet   translates addresses, and counts connections by their first packets
    map hostport4: tcp . 8080 counter packets 3 bytes 180 : 10.244.0.2 . 80
    postrouting ip saddr 10.244.0.0/24 oifname != "tsk0" counter packets 2 bytes 120 masquerade               # pods to other networks, IPv4
      $ nft list map inet tskubelet hostport4
      $ nft list table inet tskubelet
   │
  no way out: this machine has no default route

  names: resolv.conf says nameserver 10.244.0.1, search shop.svc.cluster.local, options ndots:5
      $ nsenter --net=/proc/4711/ns/net dig @10.244.0.1 web.shop
`,
  );
});

test('a pod that finds no others by name is told why', () => {
  const names = (node: ExplainedNet['names']) =>
    renderExplainedNet({ ...explained, names: node })
      .split('\n')
      .filter((line) => /by name/.test(line));
  assert.deepEqual(names({ servers: [], problem: 'port 53 is taken' }), ['    other pods are not found by name: port 53 is taken']);
  assert.deepEqual(names({ servers: ['10.9.0.1'] }), [
    '    other pods are not found by name: this pod is not told 10.9.0.1, where this node answers',
  ]);
  assert.deepEqual(names(undefined), []);
});
