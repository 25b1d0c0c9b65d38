// Debian's docker-registry behind everything that stands between people and their images: TLS of an own CA, client certificates,
// passwords, token servers, config.json and its helpers.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { type Credentials, type FindCredentials, openDockerCredentials } from '../credentials/docker-config.ts';
import { type DockerRegistry, makeCertificates, missing, startDockerRegistry, USER } from './testing/docker-registry.ts';
import { layoutFiles, makeImage, writeFiles } from './testing/images.ts';
import { openTestStore, type TestStore } from './testing/store.ts';

const options = { skip: missing };
const base64 = Buffer.from(`${USER.username}:${USER.password}`).toString('base64');
const image = makeImage([[{ name: 'a', content: 'below' }], [{ name: 'b', content: 'above' }]]);
let dir = '';
let configDir = '';
let home: TestStore;
let imported = '';
let findCredentials: FindCredentials = async () => undefined;
const registries: DockerRegistry[] = [];

before(async () => {
  if (missing !== false) return;
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'access-'));
  configDir = path.join(dir, 'certs.d');
  home = await openTestStore(os.tmpdir(), { registryConfigDir: configDir, findCredentials: (name) => findCredentials(name) });
  const layout = path.join(dir, 'layout');
  writeFiles(layout, layoutFiles(image, { 'org.opencontainers.image.ref.name': 'localhost/test:1' }));
  [imported = ''] = await home.store.import(layout);
});
after(async () => {
  await home?.close();
  for (const registry of registries) await registry.close();
  if (dir !== '') fs.rmSync(dir, { recursive: true, force: true });
});

async function start(name: string, settings: Parameters<typeof startDockerRegistry>[1]): Promise<DockerRegistry> {
  const own = path.join(dir, name);
  fs.mkdirSync(own);
  const registry = await startDockerRegistry(own, settings);
  registries.push(registry);
  return registry;
}

function configure({ host }: DockerRegistry, toml: string): void {
  const own = path.join(configDir, host.replace(/:(\d+)$/, '_$1_'));
  fs.mkdirSync(own, { recursive: true });
  fs.writeFileSync(path.join(own, 'hosts.toml'), toml);
}

/** Pushes there, forgets everything, and pulls it back. */
async function roundTrip({ host }: DockerRegistry, auth?: Credentials): Promise<void> {
  const name = `${host}/team/app:1`;
  const { digest } = await home.store.push(imported, name, auth === undefined ? {} : { auth });
  const given = auth === undefined ? {} : { auth };
  await home.store.remove(name);
  const id = await home.store.pull(name, given);
  const found = await home.store.status(name);
  assert.deepEqual([found?.id, found?.repoDigests.includes(`${host}/team/app@${digest}`)], [id, true]);
  const [top, bottom] = home.store.layers(id).lowerDirs;
  assert.equal(fs.readFileSync(path.join(bottom ?? '', 'a'), 'utf8'), 'below');
  assert.equal(fs.readFileSync(path.join(top ?? '', 'b'), 'utf8'), 'above');
}

test('a registry with a certificate of its own CA is refused with advice, and taken with that CA', options, async () => {
  const certificates = path.join(dir, 'tls');
  fs.mkdirSync(certificates);
  makeCertificates(certificates);
  const registry = await start('secure', { tls: { dir: certificates } });
  const name = `${registry.host}/team/app:1`;
  await assert.rejects(home.store.pull(name), { message: /speaks TLS and was asked without; write server = "https:\/\/127\.0\.0\.1:\d+"/ });
  configure(registry, `server = "https://${registry.host}"\n`);
  await assert.rejects(home.store.pull(name), { message: /CA that is not trusted here; name that as ca in hosts\.toml/ });
  configure(registry, `server = "https://${registry.host}"\nca = "${certificates}/ca.pem"\n`);
  await roundTrip(registry);
  configure(registry, `server = "https://${registry.host}"\nskip_verify = true\n`);
  await roundTrip(registry);
});

test('TLS goes through a tunnel of the proxy that the environment names', options, async (t) => {
  const certificates = path.join(dir, 'tunnelled');
  fs.mkdirSync(certificates);
  makeCertificates(certificates);
  const registry = await start('behind', { tls: { dir: certificates } });
  configure(registry, `server = "https://${registry.host}"\nca = "${certificates}/ca.pem"\n`);
  await roundTrip(registry);
  const asked: string[] = [];
  const proxy = http.createServer();
  proxy.on('connect', (request, socket) => {
    asked.push(request.url ?? '');
    const [address = '', port] = registry.host.split(':');
    const onward = net.connect(Number(port), address, () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      onward.pipe(socket).pipe(onward);
    });
    for (const end of [socket, onward]) end.on('error', () => end.destroy());
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  process.env.HTTPS_PROXY = `127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  t.after(() => {
    delete process.env.HTTPS_PROXY;
    proxy.closeAllConnections();
    proxy.close();
  });
  const own = path.join(configDir, 'registry.invalid');
  fs.mkdirSync(own);
  fs.writeFileSync(path.join(own, 'hosts.toml'), `ca = "${certificates}/ca.pem"\n`);
  await home.store.pull('registry.invalid/team/app:1');
  assert.ok(asked.length > 0 && asked.every((authority) => authority === 'registry.invalid:443'), asked.join());
  process.env.NO_PROXY = '*.invalid';
  t.after(() => delete process.env.NO_PROXY);
  await assert.rejects(home.store.pull('registry.invalid/team/app:1'), /registry\.invalid does not answer/);
});

test('a registry that wants client certificates gets the one of hosts.toml', options, async () => {
  const certificates = path.join(dir, 'mutual');
  fs.mkdirSync(certificates);
  makeCertificates(certificates);
  const registry = await start('clients', { tls: { dir: certificates, clients: true } });
  const ca = `ca = ["${certificates}/ca.pem"]\n`;
  configure(registry, ca);
  await assert.rejects(
    home.store.pull(`${registry.host}/team/app:1`),
    /wants a client certificate that it trusts; name one as client in hosts\.toml/,
  );
  configure(registry, `${ca}client = [["${certificates}/client.pem", "${certificates}/client.key"]]\n`);
  await roundTrip(registry);
  // A mirror that has nothing to do with it and does not listen costs its dial_timeout at most.
  configure(
    registry,
    `${ca}client = [["${certificates}/client.pem", "${certificates}/client.key"]]\n[host."http://127.0.0.1:1"]\ndial_timeout = "1s"\n`,
  );
  await roundTrip(registry);
});

test('a registry with passwords takes them in every form of CRI, and from config.json', options, async () => {
  const registry = await start('basic', { auth: 'basic' });
  await assert.rejects(home.store.pull(`${registry.host}/team/app:1`), {
    status: 401,
    message: /user name and a password; give credentials/,
  });
  const wrong = { username: USER.username, password: 'guess' };
  await assert.rejects(home.store.pull(`${registry.host}/team/app:1`, { auth: wrong }), { status: 401 });
  await roundTrip(registry, USER);
  await roundTrip(registry, { auth: base64, serverAddress: registry.host });
  const file = path.join(dir, 'config.json');
  fs.writeFileSync(file, JSON.stringify({ auths: { [`https://${registry.host}/v1/`]: { auth: base64 } } }));
  findCredentials = openDockerCredentials([file]);
  await roundTrip(registry);
});

test('a push takes layers from where they came from, with the credentials of this machine', options, async (t) => {
  const [locked, open] = [await start('locked', { auth: 'basic' }), await start('open', {})];
  const other = makeImage([[{ name: 'a', content: 'behind a password' }]]);
  const layout = path.join(dir, 'other-layout');
  writeFiles(layout, layoutFiles(other, { 'org.opencontainers.image.ref.name': 'localhost/other:1' }));
  const [name = ''] = await home.store.import(layout);
  await home.store.push(name, `${locked.host}/team/other:1`, { auth: USER });
  await home.store.remove(name);
  findCredentials = async () => USER;
  t.after(() => {
    findCredentials = async () => undefined;
  });
  const id = await home.store.pull(`${locked.host}/team/other:1`);
  // The first push had to pack the layers; from there on they are what they are.
  const { repoDigests = [] } = (await home.store.status(id)) ?? {};
  const given = () => locked.answers().filter((line) => /^GET 200 .*\/blobs\//.test(line)).length;
  const before = given();
  const pushed = await home.store.push(id, `${open.host}/team/other:1`);
  assert.deepEqual([pushed.id, repoDigests, given()], [id, [`${locked.host}/team/other@${pushed.digest}`], before + 1]);
});

test('a credential helper is run when the registry wants credentials', options, async (t) => {
  const registry = await start('helped', { auth: 'basic' });
  const bin = path.join(dir, 'bin');
  fs.mkdirSync(bin);
  const answer = JSON.stringify({ ServerURL: registry.host, Username: USER.username, Secret: USER.password });
  fs.writeFileSync(path.join(bin, 'docker-credential-test'), `#!/bin/sh\n[ "$(cat)" = ${registry.host} ] && echo '${answer}'\n`, {
    mode: 0o755,
  });
  const { PATH } = process.env;
  process.env.PATH = `${bin}:${PATH}`;
  t.after(() => {
    process.env.PATH = PATH;
  });
  const file = path.join(dir, 'helpers.json');
  fs.writeFileSync(file, JSON.stringify({ credHelpers: { [registry.host]: 'test' } }));
  findCredentials = openDockerCredentials([file]);
  await roundTrip(registry);
});

test('a token server gives tokens to who may have them, one for each right', options, async () => {
  findCredentials = async () => undefined;
  const registry = await start('token', { auth: 'token' });
  const name = `${registry.host}/team/app:1`;
  await assert.rejects(home.store.pull(name), { status: 401, message: /answers 401 .*give credentials/ });
  await assert.rejects(home.store.pull(name, { auth: { username: 'eve', password: 'x' } }), {
    status: 401,
    message: /the token server 127\.0\.0\.1:\d+ answers 401/,
  });
  await roundTrip(registry, USER);
  assert.ok(registry.scopes.includes('anna repository:team/app:pull'), registry.scopes.join('\n'));
  const asked = registry.scopes.length;
  await home.store.pull(name, { auth: { identityToken: 'refresh-me' } });
  assert.deepEqual(registry.scopes.slice(asked), ['anna repository:team/app:pull']);
});
