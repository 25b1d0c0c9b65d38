import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import tls from 'node:tls';
import { findHosts, parseHosts, planHostDirectories, planUpstream } from './registry-hosts.ts';
import { makeCertificates, missing } from './testing/docker-registry.ts';

const parse = (text: string, domain = 'quay.io') => parseHosts(text, '/c/quay.io/hosts.toml', domain);

test('a registry without configuration is asked by itself', async () => {
  assert.equal(planUpstream('quay.io').base, 'https://quay.io/v2');
  assert.equal(planUpstream('docker.io').base, 'https://registry-1.docker.io/v2');
  assert.equal(planUpstream('localhost:5000').base, 'http://localhost:5000/v2');
  assert.deepEqual(await findHosts('/nosuch', 'quay.io'), [planUpstream('quay.io')]);
});

test('directories are looked up as containerd does', () => {
  assert.deepEqual(planHostDirectories('quay.io'), ['quay.io', '_default']);
  assert.deepEqual(planHostDirectories('localhost:5000'), ['localhost_5000_', 'localhost:5000', '_default']);
});

test('mirrors come in the order of the file, the server last', () => {
  const hosts = parse(`
server = "https://quay.io"
[host."http://127.0.0.1:5000"]
  capabilities = ["pull", "resolve"]
[host."https://mirror.example/path/v2"]
  override_path = true
  [host."https://mirror.example/path/v2".header]
    x-token = ["a", "b"]
`);
  assert.deepEqual(
    hosts.map(({ base }) => base),
    ['http://127.0.0.1:5000/v2', 'https://mirror.example/path/v2', 'https://quay.io/v2'],
  );
  assert.deepEqual([...(hosts[0]?.capabilities ?? [])], ['pull', 'resolve']);
  assert.deepEqual(hosts[1]?.headers, { 'x-token': 'a, b' });
  assert.equal(hosts[2]?.capabilities.size, 3);
});

test('without a server the registry itself stands last', () => {
  assert.deepEqual(
    parse('[host."http://m:1"]').map(({ base }) => base),
    ['http://m:1/v2', 'https://quay.io/v2'],
  );
  assert.deepEqual(
    parse('', 'docker.io').map(({ base }) => base),
    ['https://registry-1.docker.io/v2'],
  );
});

test('dial_timeout is a duration of Go', () => {
  const [mirror, upstream] = parse('dial_timeout = "1m1.5s"\n[host."https://m"]\ndial_timeout = "200ms"');
  assert.deepEqual([mirror?.connectTimeoutMs, upstream?.connectTimeoutMs], [200, 61_500]);
});

test('TLS configured for a registry of this host is used', () => {
  assert.deepEqual(
    parse('ca = "ca.pem"', 'localhost:5000').map(({ base }) => base),
    ['https://localhost:5000/v2'],
  );
});

test('what is wrong is told with its file and key', () => {
  for (const [text, sentence] of [
    ['server = 5', '/c/quay.io/hosts.toml: server must be a string'],
    ['[host."ftp://x"]', '/c/quay.io/hosts.toml: "ftp://x" is no http or https URL'],
    [
      '[host."http://x"]\ncapabilities = ["pul"]',
      '/c/quay.io/hosts.toml: host."http://x": "pul" is no capability; there are pull, resolve, push',
    ],
    ['[host."http://x"]\nskip_verify = "yes"', '/c/quay.io/hosts.toml: host."http://x": skip_verify must be true or false'],
    ['[host."http://x"]\nskipverify = true', '/c/quay.io/hosts.toml: host."http://x" has the unknown key skipverify'],
    ['dial_timeout = "5 parsecs"', '/c/quay.io/hosts.toml: the top: dial_timeout "5 parsecs" is no duration; write it like 500ms or 10s'],
    ['server = ', '/c/quay.io/hosts.toml: Invalid TOML document'],
  ] as const)
    assert.throws(
      () => parse(text),
      ({ message }: Error) => message.startsWith(sentence) || assert.fail(message),
    );
});

test('files named there are read beside it, and a mirror is told whom it stands for', async (t) => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'hosts-'));
  t.after(() => fs.rmSync(dir, { recursive: true }));
  const [ca = ''] = tls.rootCertificates;
  fs.mkdirSync(path.join(dir, '_default'));
  fs.writeFileSync(path.join(dir, '_default/ca.pem'), ca);
  fs.writeFileSync(path.join(dir, '_default/hosts.toml'), '[host."https://m"]\nca = "ca.pem"\n[host."http://127.0.0.1:1"]\n');
  const [secure, plain, upstream] = await findHosts(dir, 'gcr.io');
  assert.deepEqual([secure?.tls, secure?.namespace], [{ skipVerify: false, ca: [ca] }, 'gcr.io']);
  assert.deepEqual([plain?.tls, plain?.namespace], [undefined, 'gcr.io']);
  assert.deepEqual([upstream?.base, upstream?.namespace], ['https://gcr.io/v2', undefined]);
  fs.writeFileSync(path.join(dir, '_default/hosts.toml'), '[host."https://m"]\nca = "none.pem"\n');
  await assert.rejects(findHosts(dir, 'gcr.io'), /ENOENT.*none\.pem/);
  fs.writeFileSync(path.join(dir, '_default/none.pem'), 'a CA');
  await assert.rejects(findHosts(dir, 'gcr.io'), /none\.pem has no certificate or key in it \(PEM\)/);
});

test("docker's form is known too, and certificates that cannot be used are told", { skip: missing }, async (t) => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'hosts-'));
  t.after(() => fs.rmSync(dir, { recursive: true }));
  makeCertificates(dir);
  const own = path.join(dir, 'docker/127.0.0.1:5000');
  fs.mkdirSync(own, { recursive: true });
  const put = (from: string, to: string) => fs.copyFileSync(path.join(dir, from), path.join(own, to));
  const read = (name: string) => fs.readFileSync(path.join(dir, name), 'utf8');
  for (const [from, to] of [
    ['ca.pem', 'ca.crt'],
    ['client.pem', 'me.cert'],
    ['client.key', 'me.key'],
  ] as const)
    put(from, to);
  const [found] = await findHosts(`/nosuch:${path.join(dir, 'docker')}`, '127.0.0.1:5000');
  assert.equal(found?.base, 'https://127.0.0.1:5000/v2');
  const expected = { skipVerify: false, ca: [read('ca.pem')], certs: [read('client.pem')], keys: [read('client.key')] };
  assert.deepEqual(found?.tls, expected);
  put('server.key', 'me.key');
  await assert.rejects(findHosts(path.join(dir, 'docker'), '127.0.0.1:5000'), {
    message: `the certificates of ${own} cannot be used: key values mismatch`,
  });
  fs.rmSync(path.join(own, 'me.key'));
  await assert.rejects(findHosts(path.join(dir, 'docker'), '127.0.0.1:5000'), /has me\.cert without me\.key/);
});

test('of several directories the first that says anything counts, as for containerd', async (t) => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'hosts-'));
  t.after(() => fs.rmSync(dir, { recursive: true }));
  for (const [name, server] of [
    ['a/_default', 'http://a'],
    ['b/quay.io', 'http://b'],
  ] as const) {
    fs.mkdirSync(path.join(dir, name), { recursive: true });
    fs.writeFileSync(path.join(dir, name, 'hosts.toml'), `server = "${server}"\n`);
  }
  const [host] = await findHosts(`${dir}/a:${dir}/b`, 'quay.io');
  assert.equal(host?.base, 'http://a/v2');
});
