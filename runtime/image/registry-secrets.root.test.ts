// Credentials stay with whom they are for, whatever a registry answers. The ports of HTTP and HTTPS on addresses of this host that
// nobody else has: there, a name without a port means both.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import type { Credentials } from '../credentials/docker-config.ts';
import { digestOf } from './digest.ts';
import { parseReference } from './reference.ts';
import { openRepository } from './registry.ts';
import { planUpstream, type RegistryHost } from './registry-hosts.ts';
import { openUploads } from './registry-upload.ts';
import { makeCertificates, missing } from './testing/docker-registry.ts';

const options = { skip: missing };
const blob = Buffer.from('a small blob');
const descriptor = { digest: digestOf(blob), sizeBytes: blob.length, annotations: {} };
const auth: Credentials = { username: 'anna', password: 'secret' };
/** 127.x.y.z of this process alone. */
const address = `127.${1 + (process.pid % 250)}.${(process.pid >> 8) % 250}.7`;
const reference = parseReference(`${address}/team/app:1`);
const secure: RegistryHost = { ...planUpstream(address), base: `https://${address}/v2`, tls: { skipVerify: true } };

let dir = '';
before(() => {
  if (missing !== false) return;
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'secrets-'));
  makeCertificates(dir);
});
after(() => {
  if (dir !== '') fs.rmSync(dir, { recursive: true, force: true });
});

type Answer = (request: http.IncomingMessage, answer: http.ServerResponse, body: string) => void;
const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

/** Notes what everyone was told: "Basic …" or a body with a token in it. */
async function listen(port: number, answer: Answer, at = address): Promise<string[]> {
  const told: string[] = [];
  const read = (name: string) => fs.readFileSync(path.join(dir, name));
  const onRequest: http.RequestListener = async (request, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const body = Buffer.concat(pieces).toString();
    if (request.headers.authorization !== undefined) told.push(request.headers.authorization);
    if (body.includes('refresh-me')) told.push(body);
    answer(request, response, body);
  };
  const server =
    port === 443 ? https.createServer({ cert: read('server.pem'), key: read('server.key') }, onRequest) : http.createServer(onRequest);
  server.listen(port, at);
  await once(server, 'listening');
  closing.push(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });
  return told;
}

const challenge = { 'www-authenticate': 'Basic realm="x"' };

test('a redirect from TLS to the same name without TLS takes no credentials along', options, async () => {
  const told = await listen(80, (_, answer) => void answer.end(blob));
  await listen(443, (request, answer) => {
    if (request.headers.authorization === undefined) return void answer.writeHead(401, challenge).end();
    answer.writeHead(307, { location: `http://${address}${request.url}` }).end();
  });
  const repository = openRepository(reference, { auth, hosts: [secure], retryDelayMs: 1 });
  assert.deepEqual([await repository.blob({ ...descriptor }), told], [blob, []]);
});

test('an upload to a registry with TLS is not sent on without it', options, async () => {
  const told = await listen(80, (_, answer) => void answer.writeHead(201).end());
  await listen(443, (request, answer) => {
    if (request.headers.authorization === undefined) return void answer.writeHead(401, challenge).end();
    answer.writeHead(request.method === 'POST' ? 202 : 404, { location: `http://${address}/v2/upload` }).end();
  });
  const uploads = openUploads(reference, { auth, host: secure, retryDelayMs: 1 });
  await assert.rejects(
    uploads.upload(descriptor.digest, blob.length, { bytes: blob }),
    ({ message }: Error) =>
      message ===
      `${address} is asked with TLS and names http://${address} to upload to; the proxy before it must tell it X-Forwarded-Proto: https`,
  );
  assert.deepEqual(told, []);
});

test('an identity token is not posted to where a token server redirects', options, async () => {
  const other = address.replace(/7$/, '8');
  const told = await listen(80, (_, answer) => void answer.end('{"token":"t"}'), other);
  const asked = await listen(80, (request, answer) => {
    if (request.url?.startsWith('/token')) return void answer.writeHead(307, { location: `http://${other}/token` }).end();
    answer.writeHead(401, { 'www-authenticate': `Bearer realm="http://${address}/token"` }).end();
  });
  const repository = openRepository(reference, { auth: { identityToken: 'refresh-me' }, retryDelayMs: 1 });
  await assert.rejects(
    repository.blob({ ...descriptor }),
    ({ message }: Error) => message === `${address} redirects to http://${other}, which is not told what was meant for ${address} alone`,
  );
  assert.deepEqual([asked.length, told], [1, []]);
});

for (const [what, host] of [
  ['with TLS', secure],
  ['of this host', planUpstream(address)],
] as const)
  test(`a registry ${what} does not have credentials sent over the network in the clear`, options, async () => {
    const onRequest: Answer = (_, answer) =>
      void answer.writeHead(401, { 'www-authenticate': 'Bearer realm="http://tokens.invalid/token"' }).end();
    await listen(host === secure ? 443 : 80, onRequest);
    const repository = openRepository(reference, { auth, hosts: [host], retryDelayMs: 1 });
    await assert.rejects(repository.blob({ ...descriptor }), /the token server tokens\.invalid of .* is to be asked without TLS/);
  });

for (const [serverAddress, isTold] of [
  ['https://other.example/v1/', false],
  [`https://${address}/v1/`, true],
  [address, true],
  ['', true],
] as const)
  test(`credentials for ${serverAddress || 'nobody in particular'} are ${isTold ? '' : 'not '}told to a registry`, options, async () => {
    const told = await listen(80, (request, answer) => {
      if (request.headers.authorization === undefined) return void answer.writeHead(401, challenge).end();
      answer.end(blob);
    });
    const pulled = openRepository(reference, { auth: { ...auth, serverAddress }, retryDelayMs: 1 }).blob({ ...descriptor });
    if (isTold) assert.deepEqual(await pulled, blob);
    else await assert.rejects(pulled, /asks for a user name and a password/);
    assert.equal(told.length, isTold ? 1 : 0);
  });
