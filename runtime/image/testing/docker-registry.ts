// Starts Debian's docker-registry for tests: plain, with TLS of a CA of its own, with passwords, or behind a token server.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomUUID, sign } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import { type AddressInfo, connect, createServer } from 'node:net';
import path from 'node:path';
import { findCommand } from '../shared-libraries.ts';

const READY_WITHIN_MS = 20_000;

/** The user of every registry that has one, and the same for htpasswd (bcrypt). */
export const USER = { username: 'anna', password: 'secret' };
const HTPASSWD = 'anna:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n';

export interface DockerRegistry {
  /** "127.0.0.1:40000" */
  readonly host: string;
  /** What the token server was asked for, in order: "anna repository:x:pull". */
  readonly scopes: readonly string[];
  /** "GET 206 4096 /v2/…" of every answer: method, status, bytes, path. */
  answers(): string[];
  close(): Promise<void>;
}

export interface DockerRegistryOptions {
  /** Of an own CA: server.pem and server.key from makeCertificates; clients must show a certificate of that CA with `clients`. */
  readonly tls?: { readonly dir: string; readonly clients?: boolean };
  readonly auth?: 'basic' | 'token';
}

/** Why a test without docker-registry or openssl is skipped; false when they are there. */
export const missing: string | false =
  findCommand('docker-registry') === undefined
    ? 'docker-registry is not installed'
    : findCommand('openssl') === undefined && 'openssl is not installed';

/** A CA with certificates for 127.0.0.1 and for a client: ca.pem, server.{pem,key}, client.{pem,key} in `dir`. */
export function makeCertificates(dir: string): void {
  const openssl = (...args: string[]) => {
    const { status, stderr } = spawnSync('openssl', args, { cwd: dir });
    if (status !== 0) throw new Error(`openssl ${args.join(' ')}: ${stderr}`);
  };
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl('req', '-x509', ...key, '-days', '2', '-subj', '/CN=Test CA', '-keyout', 'ca.key', '-out', 'ca.pem');
  fs.writeFileSync(path.join(dir, 'server.ext'), 'subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:registry.invalid\n');
  fs.writeFileSync(path.join(dir, 'client.ext'), 'extendedKeyUsage=clientAuth\n');
  for (const name of ['server', 'client']) {
    openssl('req', ...key, '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.csr`);
    const ca = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2'];
    openssl('x509', '-req', '-in', `${name}.csr`, ...ca, '-extfile', `${name}.ext`, '-out', `${name}.pem`);
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** `dir`: an existing directory for its configuration, content and log. */
export async function startDockerRegistry(dir: string, { tls, auth }: DockerRegistryOptions = {}): Promise<DockerRegistry> {
  const host = `127.0.0.1:${await freePort()}`;
  const scopes: string[] = [];
  const tokens = auth === 'token' ? await startTokenServer(dir, scopes) : undefined;
  const config = {
    version: '0.1',
    log: { level: 'info', formatter: 'json' },
    storage: { filesystem: { rootdirectory: path.join(dir, 'data') }, delete: { enabled: true } },
    http: {
      addr: host,
      ...(tls && {
        tls: {
          certificate: path.join(tls.dir, 'server.pem'),
          key: path.join(tls.dir, 'server.key'),
          ...(tls.clients && { clientcas: [path.join(tls.dir, 'ca.pem')] }),
        },
      }),
    },
    ...(auth === 'basic' && { auth: { htpasswd: { realm: 'test', path: path.join(dir, 'htpasswd') } } }),
    ...(tokens && { auth: { token: tokens.auth } }),
  };
  fs.writeFileSync(path.join(dir, 'htpasswd'), HTPASSWD);
  // YAML has JSON in it.
  const file = path.join(dir, 'config.yml');
  fs.writeFileSync(file, JSON.stringify(config));
  const log = path.join(dir, 'log');
  const out = fs.openSync(log, 'w');
  const program: ChildProcess = spawn('docker-registry', ['serve', file], { stdio: ['ignore', out, out] });
  fs.closeSync(out);
  await untilListening(host, program, log);
  return {
    host,
    scopes,
    answers: () => readAnswers(fs.readFileSync(log, 'utf8')),
    close: async () => {
      const ended = once(program, 'exit');
      program.kill();
      await ended;
      await tokens?.close();
    },
  };
}

async function untilListening(host: string, program: ChildProcess, log: string): Promise<void> {
  const [address = '', port = ''] = host.split(':');
  for (const deadline = Date.now() + READY_WITHIN_MS; ; ) {
    const socket = connect(Number(port), address);
    const isUp = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    socket.destroy();
    if (isUp) return;
    if (program.exitCode !== null || Date.now() > deadline)
      throw new Error(`docker-registry does not listen at ${host}: ${fs.readFileSync(log, 'utf8').slice(-2000)}`);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

/** Its lines of log about answers, whichever of its two ways it writes them in. */
function readAnswers(log: string): string[] {
  return log.split('\n').flatMap((line) => {
    if (!line.startsWith('{')) return [];
    const fields = JSON.parse(line) as Record<string, unknown>;
    if (!/^response completed/.test(String(fields.msg))) return [];
    const name = (key: string) => String(fields[key] ?? 0);
    return [`${name('http.request.method')} ${name('http.response.status')} ${name('http.response.written')} ${name('http.request.uri')}`];
  });
}

/** Signs what it is asked for: to anna everything, to others nothing (distribution's token authentication, JWT with x5c). */
async function startTokenServer(dir: string, scopes: string[]) {
  const certificates = path.join(dir, 'token');
  fs.mkdirSync(certificates);
  makeCertificates(certificates);
  const read = (name: string) => fs.readFileSync(path.join(certificates, name), 'utf8');
  const key = read('server.key');
  const der = read('server.pem').replace(/-----[^-]+-----|\s/g, '');
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const issue = (scope: string, isAllowed: boolean) => {
    const access = scope
      .split(' ')
      .filter(() => isAllowed)
      .map((each) => {
        const [type, name, actions = ''] = each.split(':');
        return { type, name, actions: actions.split(',') };
      });
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: 'test', sub: '', aud: 'registry', exp: now + 300, nbf: now - 10, iat: now, jti: randomUUID(), access };
    const unsigned = `${encode({ typ: 'JWT', alg: 'ES256', x5c: [der] })}.${encode(claims)}`;
    return `${unsigned}.${sign('sha256', Buffer.from(unsigned), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
  };
  const server = http.createServer((request, answer) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const url = new URL(request.url ?? '', 'http://x');
      const form = request.method === 'POST' ? new URLSearchParams(Buffer.concat(pieces).toString()) : url.searchParams;
      const scope = form.getAll('scope').join(' ');
      const basic = Buffer.from((request.headers.authorization ?? '').replace(/^Basic /, ''), 'base64').toString();
      const isAnna = basic === `${USER.username}:${USER.password}` || form.get('refresh_token') === 'refresh-me';
      scopes.push(`${isAnna ? USER.username : 'nobody'} ${scope}`);
      if (basic !== '' && !isAnna) return answer.writeHead(401).end();
      return answer.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ token: issue(scope, isAnna) }));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const realm = `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
  return {
    auth: { realm, service: 'registry', issuer: 'test', rootcertbundle: path.join(certificates, 'ca.pem') },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
