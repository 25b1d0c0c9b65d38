import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseResolvConf, planDns } from './dns.ts';
import { computeHostname, renderHosts } from './hosts.ts';
import { makePod } from './testing/model.ts';

test('parseResolvConf reads servers, the last search line and options, without comments', () => {
  const text =
    '# made by hand\nnameserver 192.0.2.1 ; first\nnameserver 2001:db8::1\ndomain old.example\nsearch a.example . b.example\noptions ndots:2 edns0\n';
  assert.deepEqual(parseResolvConf(text), {
    servers: ['192.0.2.1', '2001:db8::1'],
    searches: ['a.example', 'b.example'],
    options: ['ndots:2', 'edns0'],
  });
  assert.deepEqual(parseResolvConf(''), { servers: [], searches: [], options: [] });
});

test('dnsConfig adds to the host, and replaces it with policy None', () => {
  const host = { servers: ['1.1.1.1', '2.2.2.2'], searches: ['host.example'], options: ['ndots:2', 'edns0'] };
  const dnsConfig = {
    nameservers: ['3.3.3.3', '4.4.4.4'],
    searches: ['pod.example'],
    options: [{ name: 'ndots', value: '5' }, { name: 'rotate' }],
  };
  assert.deepEqual(planDns(makePod('Always', ['c'], { dnsPolicy: 'ClusterFirst', dnsConfig }), host), {
    servers: ['1.1.1.1', '2.2.2.2', '3.3.3.3'],
    searches: ['host.example', 'pod.example'],
    options: ['edns0', 'ndots:5', 'rotate'],
  });
  assert.deepEqual(planDns(makePod('Always', ['c'], { dnsPolicy: 'None', dnsConfig }), host), {
    servers: ['3.3.3.3', '4.4.4.4'],
    searches: ['pod.example'],
    options: ['ndots:5', 'rotate'],
  });
});

test('/etc/hosts names the pod, and hostAliases below it', () => {
  const pod = makePod('Always', ['c'], { hostAliases: [{ ip: '192.0.2.7', hostnames: ['db', 'db.example'] }] });
  const text = renderHosts(pod, ['10.244.0.9'], '');
  assert.match(text, /^# Kubernetes-managed hosts file\.\n127\.0\.0\.1\tlocalhost\n/);
  assert.match(text, /\n10\.244\.0\.9\tweb\n\n# Entries added by HostAliases\.\n192\.0\.2\.7\tdb\tdb\.example\n$/);
});

test("a pod in the host's network sees the host's file", () => {
  const pod = makePod('Always', ['c'], { hostNetwork: true });
  assert.equal(renderHosts(pod, [], '127.0.0.1 localhost\n'), '# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n');
});

test('a hostname is cut to 63 characters and ends in a letter or digit', () => {
  const pod = makePod('Always');
  assert.equal(computeHostname(pod), 'web');
  assert.equal(computeHostname({ ...pod, metadata: { name: `${'a'.repeat(62)}-tail` } }), 'a'.repeat(62));
  assert.equal(computeHostname(makePod('Always', ['c'], { hostname: 'other' })), 'other');
});
