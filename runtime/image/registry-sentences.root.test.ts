// What people are told when a registry, or what stands at its address, does not give what it should.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net, { type AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { parseReference } from './reference.ts';
import { openRepository } from './registry.ts';
import { RegistryError } from './registry-error.ts';
import { planUpstream, type RegistryHost } from './registry-hosts.ts';
import { makeCertificates, missing } from './testing/docker-registry.ts';

let dir = '';
before(() => {
  if (missing !== false) return;
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sentences-'));
  makeCertificates(dir);
  fs.writeFileSync(path.join(dir, 'other.ext'), 'subjectAltName=DNS:other.example,IP:192.0.2.1\n');
  const sign = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'other.ext', '-days', '2'];
  assert.equal(spawnSync('openssl', ['x509', '-req', '-in', 'server.csr', ...sign, '-out', 'other.pem'], { cwd: dir }).status, 0);
});
after(() => {
  if (dir !== '') fs.rmSync(dir, { recursive: true, force: true });
});

const read = (name: string): string => fs.readFileSync(path.join(dir, name), 'utf8');
const answering = (status: number, body: string) => () => http.createServer((_, answer) => void answer.writeHead(status).end(body));
const secure = (cert: string) => () => https.createServer({ cert: read(cert), key: read('server.key') }, (_, answer) => void answer.end());
const withTls = (host: RegistryHost, ca?: string): RegistryHost => ({
  ...host,
  base: host.base.replace('http:', 'https:'),
  tls: { skipVerify: false, ...(ca !== undefined && { ca: [read(ca)] }) },
});

const told: readonly (readonly [
  what: string,
  serve: () => net.Server,
  configure: (host: RegistryHost) => RegistryHost,
  sentence: RegExp,
  isTransient: boolean,
])[] = [
  [
    'a certificate of an unknown CA',
    secure('server.pem'),
    (host) => withTls(host),
    /does not answer \(its certificate is from a CA that is not trusted here; name that as ca in hosts\.toml\)$/,
    false,
  ],
  [
    'a certificate for other names',
    secure('other.pem'),
    (host) => withTls(host, 'ca.pem'),
    /does not answer \(its certificate is for other\.example, 192\.0\.2\.1\)$/,
    false,
  ],
  [
    'a registry without TLS that is asked with it',
    answering(200, ''),
    (host) => withTls(host, 'ca.pem'),
    /does not answer \(it does not speak TLS; if that shall be so, write server = "http:\/\/…" in its hosts\.toml\)$/,
    false,
  ],
  [
    'a proxy with TLS that is asked without it',
    answering(400, '<title>400 The plain HTTP request was sent to HTTPS port</title>'),
    (host) => host,
    /speaks TLS and was asked without; write server = "https:\/\/127\.0\.0\.1:\d+" in its hosts\.toml$/,
    false,
  ],
  [
    'something that is no web server',
    () => net.createServer((socket) => void socket.on('error', () => {}).end('SSH-2.0-OpenSSH_9\r\n')),
    (host) => host,
    /does not answer \(it does not speak HTTP\)$/,
    true,
  ],
  [
    'a message that would write on the terminal',
    answering(403, JSON.stringify({ errors: [{ code: 'DENIED', message: '\u001b[31mno\nway.' }] })),
    (host) => host,
    /answers 403 \[31mno way; give credentials/,
    false,
  ],
];

for (const [what, serve, configure, sentence, isTransient] of told)
  test(`${what}: told in a sentence`, { skip: missing }, async () => {
    const server = serve();
    const sockets = new Set<net.Socket>();
    server.on('connection', (socket: net.Socket) => sockets.add(socket));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      const domain = `127.0.0.1:${(server.address() as AddressInfo).port}`;
      const host = configure(planUpstream(domain));
      const repository = openRepository(parseReference(`${domain}/app:1`), { hosts: [host], retryDelayMs: 1 });
      await assert.rejects(repository.manifest('1'), (error: Error) => {
        assert.ok(error instanceof RegistryError, error.message);
        assert.match(error.message, sentence);
        return error.isTransient === isTransient;
      });
    } finally {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    }
  });
