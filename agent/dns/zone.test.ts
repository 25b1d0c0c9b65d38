import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NOERROR, NXDOMAIN, TYPE_A, TYPE_AAAA, TYPE_ANY, TYPE_PTR } from './message.ts';
import { planReply } from './server.ts';
import { buildZone, type ZonePod } from './zone.ts';

const pod = (name: string, ips: readonly string[], more: Partial<ZonePod> = {}): ZonePod => ({
  ...{ namespace: 'default', name, hostname: name, subdomain: '', ips, hostNetwork: false },
  ...more,
});

const zone = buildZone({
  domain: 'cluster.local',
  podCidrs: ['10.244.0.0/24', 'fd00:244::/64'],
  pods: [
    pod('web', ['10.244.0.2', 'fd00:244::2']),
    pod('db-0', ['10.244.0.3'], { namespace: 'shop', hostname: 'zero', subdomain: 'db' }),
    pod('db-1', ['10.244.0.4'], { namespace: 'shop', hostname: 'one', subdomain: 'db' }),
    pod('agent', ['192.0.2.7'], { namespace: 'kube-system', hostNetwork: true }),
    pod(`${'x'.repeat(70)}`, ['10.244.0.9']),
  ],
});

/** "10.244.0.2 …", or what there is instead. */
function look(name: string, client = '10.244.0.2'): string {
  const found = zone.find(name.split('.'), client);
  return found.kind === 'name' ? [...found.ips, ...found.names].join(' ') : found.kind;
}

test('a pod has its names in the domain, and as they stand', () => {
  const cases = {
    'web.default.svc.cluster.local': '10.244.0.2 fd00:244::2',
    'db-0.shop.svc.cluster.local': '10.244.0.3',
    'zero.db.shop.svc.cluster.local': '10.244.0.3',
    'db.shop.svc.cluster.local': '10.244.0.3 10.244.0.4',
    'agent.kube-system.svc.cluster.local': '192.0.2.7',
    web: '10.244.0.2 fd00:244::2',
    'web.default': '10.244.0.2 fd00:244::2',
    'db-1.shop': '10.244.0.4',
    'one.db.shop': '10.244.0.4',
    '10-244-0-3.shop.pod.cluster.local': '10.244.0.3',
    'fd00-244--2.default.pod.cluster.local': 'fd00:244::2',
  };
  for (const [name, expected] of Object.entries(cases)) assert.equal(look(name), expected, name);
});

test('a name without a namespace is looked for in that of who asks', () => {
  assert.equal(look('db-1'), 'foreign');
  assert.equal(look('db-1', '10.244.0.3'), '10.244.0.4');
  assert.equal(look('web', '10.244.0.3'), 'foreign');
  assert.equal(look('web', '10.244.0.1'), '10.244.0.2 fd00:244::2');
});

test('what is not in the domain is absent, names on the way exist, and the rest is asked elsewhere', () => {
  for (const name of ['cluster.local', 'svc.cluster.local', 'pod.cluster.local', 'shop.svc.cluster.local', 'shop.pod.cluster.local'])
    assert.equal(look(name), '', name);
  for (const name of [
    'web.shop.svc.cluster.local',
    'a.web.default.svc.cluster.local',
    'nothing.cluster.local',
    'example.com.default.svc.cluster.local',
    '10-244-0-3.default.pod.cluster.local',
    '192-0-2-7.kube-system.pod.cluster.local',
    'a.10-244-0-3.shop.pod.cluster.local',
    'other.svc.cluster.local',
  ])
    assert.equal(look(name), 'absent', name);
  for (const name of ['example.com', 'local', 'acluster.local', 'other.cluster', '']) assert.equal(look(name), 'foreign', name);
  assert.equal(zone.find(['web.default', 'svc', 'cluster', 'local'], '').kind, 'absent');
});

test('addresses of pods have names, other addresses of the ranges none', () => {
  assert.equal(look('2.0.244.10.in-addr.arpa'), 'web.default.svc.cluster.local');
  assert.equal(look('3.0.244.10.in-addr.arpa'), 'zero.db.shop.svc.cluster.local');
  assert.equal(look(reverse6('fd000244')), 'web.default.svc.cluster.local');
  assert.equal(look('77.0.244.10.in-addr.arpa'), 'absent');
  // Longer than DNS can say.
  assert.equal(look('9.0.244.10.in-addr.arpa'), '');
  assert.equal(look('7.2.0.192.in-addr.arpa'), 'foreign');
  assert.equal(look('0.244.10.in-addr.arpa'), 'foreign');
});

function reverse6(prefix: string): string {
  const digits = `${prefix}${'0'.repeat(23)}2`;
  return `${[...digits].toReversed().join('.')}.ip6.arpa`;
}

test('a reply has the records of the type, or says that there are none', () => {
  const reply = (name: string, type: number) => {
    const labels = name.split('.');
    return planReply({ id: 1, flags: 0, question: Buffer.of(), labels, type, edns: false, maxBytes: 512 }, zone, '10.244.0.2');
  };
  const types = (name: string, type: number) => (reply(name, type)?.answers ?? []).map((answer) => answer.type).toSorted();
  assert.deepEqual(types('web', TYPE_A), [TYPE_A]);
  assert.deepEqual(types('web', TYPE_ANY), [TYPE_A, TYPE_AAAA]);
  assert.deepEqual(reply('web', TYPE_AAAA)?.answers?.[0]?.data.toString('hex'), `fd000244${'0'.repeat(23)}2`);
  assert.deepEqual(types('2.0.244.10.in-addr.arpa', TYPE_PTR), [TYPE_PTR]);
  const empty = reply('db-0.shop.svc.cluster.local', TYPE_AAAA);
  assert.deepEqual([empty?.rcode, empty?.answers, empty?.soa?.zone], [NOERROR, undefined, ['cluster', 'local']]);
  const absent = reply('no.shop.svc.cluster.local', TYPE_A);
  assert.deepEqual([absent?.rcode, absent?.soa?.zone, absent?.ttlSeconds], [NXDOMAIN, ['cluster', 'local'], 5]);
  assert.equal(reply('example.com', TYPE_A), undefined);
});
