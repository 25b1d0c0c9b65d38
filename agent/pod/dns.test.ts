import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { V1PodSpec } from '@kubernetes/client-node';
import { NO_RESOLV_CONF, parseResolvConf, planDns } from './dns.ts';
import { computeHostname, computeKernelHostname, renderHosts } from './hosts.ts';
import { makePod } from './testing/model.ts';

test('parseResolvConf reads servers, the last search line and options, without comments', () => {
  const text =
    '# made by hand\nnameserver 192.0.2.1 ; first\nnameserver 2001:db8::1\ndomain old.example\nsearch a.example . b.example.\noptions ndots:2 timeout:1\noptions edns0 ndots:3\n';
  assert.deepEqual(parseResolvConf(text), {
    servers: ['192.0.2.1', '2001:db8::1'],
    searches: ['a.example', 'b.example'],
    options: ['ndots:3', 'timeout:1', 'edns0'],
  });
  assert.deepEqual(parseResolvConf(''), { servers: [], searches: [], options: [] });
});

const host = { servers: ['1.1.1.1', '2.2.2.2'], searches: ['host.example'], options: ['ndots:2', 'edns0'] };
const sources = { host, clusterServers: ['10.244.0.1'], clusterDomain: 'cluster.local' };
const inShop = (spec: Partial<V1PodSpec>) => ({ ...makePod('Always', ['c'], spec), metadata: { name: 'web', namespace: 'shop' } });
const inCluster = ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local', 'host.example'];

test('each dnsPolicy has its own base', () => {
  const cluster = { servers: ['10.244.0.1'], searches: inCluster, options: ['ndots:5'] };
  const cases: [Partial<V1PodSpec>, object][] = [
    [{}, cluster],
    [{ dnsPolicy: 'ClusterFirst' }, cluster],
    [{ dnsPolicy: 'ClusterFirst', hostNetwork: true }, host],
    [{ dnsPolicy: 'ClusterFirstWithHostNet', hostNetwork: true }, cluster],
    [{ dnsPolicy: 'Default' }, host],
    [
      { dnsPolicy: 'None', dnsConfig: { nameservers: ['3.3.3.3'] } },
      { servers: ['3.3.3.3'], searches: [], options: [] },
    ],
  ];
  for (const [spec, config] of cases) assert.deepEqual(planDns(inShop(spec), sources), { config, problems: [] }, JSON.stringify(spec));
});

test('a node without a resolv.conf gives its pods no servers but those of the cluster', () => {
  const without = { ...sources, host: NO_RESOLV_CONF };
  assert.deepEqual(planDns(inShop({ dnsPolicy: 'Default' }), without).config, { servers: ['127.0.0.1'], searches: ['.'], options: [] });
  assert.deepEqual(planDns(inShop({}), without).config.searches, inCluster.slice(0, 3));
});

test('without cluster name servers ClusterFirst is Default, and said to be', () => {
  const { config, problems } = planDns(inShop({}), { ...sources, clusterServers: [] });
  assert.deepEqual(config, host);
  assert.deepEqual(
    problems.map(({ reason }) => reason),
    ['MissingClusterDNS'],
  );
  assert.deepEqual(planDns(inShop({ dnsPolicy: 'Default' }), { ...sources, clusterServers: [] }).problems, []);
});

test('dnsConfig adds servers and searches once each, and its options replace those of the same name', () => {
  const dnsConfig = {
    nameservers: ['3.3.3.3', '2.2.2.2'],
    searches: ['pod.example', 'host.example'],
    options: [{ name: 'ndots', value: '3' }, { name: 'rotate' }],
  };
  assert.deepEqual(planDns(inShop({ dnsPolicy: 'Default', dnsConfig }), sources), {
    config: {
      servers: ['1.1.1.1', '2.2.2.2', '3.3.3.3'],
      searches: ['host.example', 'pod.example'],
      options: ['ndots:3', 'edns0', 'rotate'],
    },
    problems: [],
  });
  assert.deepEqual(planDns(inShop({ dnsPolicy: 'None', dnsConfig }), sources).config.options, ['ndots:3', 'rotate']);
});

test("what exceeds the limits of resolv.conf is left out and said in the kubelet's words", () => {
  const dnsConfig = {
    nameservers: ['3.3.3.3', '4.4.4.4', '5.5.5.5'],
    searches: Array.from({ length: 40 }, (_, i) => `s${i}.example`),
  };
  const { config, problems } = planDns(inShop({ dnsConfig }), sources);
  assert.deepEqual(config.servers, ['10.244.0.1', '3.3.3.3', '4.4.4.4']);
  assert.equal(config.searches.length, 32);
  assert.deepEqual(
    problems.map(({ reason, message }) => `${reason}: ${message.split(',')[0]}`),
    ['DNSConfigForming: Nameserver limits were exceeded', 'DNSConfigForming: Search Line limits were exceeded'],
  );
  assert.match(problems[0]?.message ?? '', /the applied nameserver line is: 10\.244\.0\.1 3\.3\.3\.3 4\.4\.4\.4$/);
  const long = Array.from({ length: 12 }, (_, i) => `${'a'.repeat(60)}.${'b'.repeat(60)}.${'c'.repeat(60)}.${'d'.repeat(20)}.s${i}`);
  const searches = planDns(inShop({ dnsPolicy: 'None', dnsConfig: { searches: long } }), sources).config.searches;
  assert.ok(searches.join(' ').length <= 2048 && searches.length === 9, String(searches.length));
  assert.deepEqual(planDns(inShop({ dnsPolicy: 'None', dnsConfig: { searches: ['x'.repeat(256), 'ok'] } }), sources).config.searches, [
    'ok',
  ]);
});

const none = { hostFile: '', clusterDomain: 'cluster.local' };

test('/etc/hosts names the pod, and hostAliases below it', () => {
  const pod = makePod('Always', ['c'], { hostAliases: [{ ip: '192.0.2.7', hostnames: ['db', 'db.example'] }] });
  const text = renderHosts(pod, ['10.244.0.9'], none);
  assert.match(text, /^# Kubernetes-managed hosts file\.\n127\.0\.0\.1\tlocalhost\n/);
  assert.match(text, /\n10\.244\.0\.9\tweb\n\n# Entries added by HostAliases\.\n192\.0\.2\.7\tdb\tdb\.example\n$/);
});

test("a pod in the host's network sees the host's file", () => {
  const pod = makePod('Always', ['c'], { hostNetwork: true });
  assert.equal(
    renderHosts(pod, [], { ...none, hostFile: '127.0.0.1 localhost\n' }),
    '# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n',
  );
});

test('a hostname is cut to 63 characters and ends in a letter or digit', () => {
  const pod = makePod('Always');
  assert.equal(computeHostname(pod), 'web');
  assert.equal(computeHostname({ ...pod, metadata: { name: `${'a'.repeat(62)}-tail` } }), 'a'.repeat(62));
  assert.equal(computeHostname(makePod('Always', ['c'], { hostname: 'other' })), 'other');
});

test('a subdomain gives the pod a whole name, which the kernel knows when asked to', () => {
  const pod = { ...makePod('Always', ['c'], { hostname: 'a', subdomain: 'db' }), metadata: { name: 'web', namespace: 'shop' } };
  assert.match(renderHosts(pod, ['10.244.0.9'], none), /\n10\.244\.0\.9\ta\.db\.shop\.svc\.cluster\.local\ta\n$/);
  assert.equal(computeKernelHostname(pod, 'cluster.local'), 'a');
  const asked = { ...pod, spec: { ...pod.spec, setHostnameAsFQDN: true, containers: [] } };
  assert.equal(computeKernelHostname(asked, 'cluster.local'), 'a.db.shop.svc.cluster.local');
  assert.throws(
    () => computeKernelHostname(asked, `${'x'.repeat(50)}.local`),
    /setHostnameAsFQDN: .* has 70 characters and a hostname at most 64/,
  );
});
