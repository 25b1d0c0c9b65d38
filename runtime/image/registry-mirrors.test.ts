// Asking mirrors in the order of a hosts.toml, over real connections on this host.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import type { Credentials } from '../credentials/docker-config.ts';
import { parseReference } from './reference.ts';
import { openRepository } from './registry.ts';
import { findHosts } from './registry-hosts.ts';
import { makeImage } from './testing/images.ts';
import { startTestRegistry, type TestRegistry } from './testing/registry.ts';

const image = makeImage([[{ name: 'a', content: 'mirrored' }]]);
let first: TestRegistry;
let second: TestRegistry;
let dir: string;

before(async () => {
  [first, second] = await Promise.all([startTestRegistry(), startTestRegistry()]);
  second.serve('team/app', '1', image);
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mirrors-'));
  fs.mkdirSync(path.join(dir, '_default'));
});
after(async () => {
  await Promise.all([first.close(), second.close()]);
  fs.rmSync(dir, { recursive: true });
});
beforeEach(() => {
  for (const registry of [first, second]) {
    registry.requests.length = 0;
    registry.intercept = () => false;
  }
});

/** `.invalid` is never a host (RFC 2606): what is pulled from it comes from a mirror. */
async function open(hosts: string, auth: Credentials = {}) {
  fs.writeFileSync(path.join(dir, '_default/hosts.toml'), hosts);
  const reference = parseReference('registry.invalid/team/app:1');
  return openRepository(reference, { hosts: await findHosts(dir, reference.domain), auth, retryDelayMs: 1 });
}

test('what the first mirror lacks comes from the second, which is told whom it stands for', async () => {
  const repository = await open(`[host."http://${first.host}"]\n[host."http://${second.host}"]\n`);
  assert.equal((await repository.manifest('1')).digest, image.manifest.digest);
  const asked = 'GET /v2/team/app/manifests/1?ns=registry.invalid';
  assert.deepEqual([first.requests, second.requests], [[asked], [asked]]);
});

test('a mirror without the capability to resolve is asked by digest only', async () => {
  first.serve('team/app', '1', image);
  const repository = await open(`[host."http://${first.host}"]\ncapabilities = ["pull"]\n[host."http://${second.host}"]\n`);
  const { digest } = await repository.manifest('1');
  assert.deepEqual([first.requests.length, second.requests.length], [0, 1]);
  await repository.manifest(digest);
  assert.deepEqual([first.requests.length, second.requests.length], [1, 1]);
});

test('override_path and headers are taken as they are', async () => {
  const headers: unknown[] = [];
  second.intercept = (request) => {
    headers.push(request.headers['x-tenant']);
    request.url = request.url?.replace('/proxy/cache', '/v2') ?? '';
    return false;
  };
  const url = `http://${second.host}/proxy/cache`;
  const repository = await open(`[host."${url}"]\noverride_path = true\n[host."${url}".header]\nx-tenant = "blue"\n`);
  assert.equal((await repository.manifest('1')).digest, image.manifest.digest);
  assert.deepEqual([second.requests, headers], [['GET /proxy/cache/team/app/manifests/1?ns=registry.invalid'], ['blue']]);
});

for (const [serverAddress, told] of [
  ['https://registry.invalid/v1/', false],
  ['', true],
] as const)
  test(`credentials for ${serverAddress || 'nobody in particular'} are ${told ? '' : 'not '}told to a mirror`, async () => {
    const seen: (string | undefined)[] = [];
    second.intercept = (request, answer) => {
      seen.push(request.headers.authorization);
      if (request.headers.authorization !== undefined) return false;
      return Boolean(answer.writeHead(401, { 'www-authenticate': 'Basic' }).end());
    };
    const hosts = `server = "http://${first.host}"\n[host."http://${second.host}"]\n`;
    const repository = await open(hosts, { username: 'me', password: 'pw', serverAddress });
    await repository.manifest('1').catch(() => undefined);
    assert.equal(
      seen.some((header) => header !== undefined),
      told,
    );
  });

test('without an answer from anyone the error names all that were asked', async () => {
  second.intercept = (_, answer) => Boolean(answer.writeHead(404).end());
  const repository = await open(`server = "http://${first.host}"\n[host."http://${second.host}"]\n`);
  first.intercept = (_, answer) => Boolean(answer.writeHead(404).end());
  await assert.rejects(repository.manifest('1'), ({ message }: Error) => {
    assert.match(
      message,
      /^registry\.invalid\/team\/app:1 is not in the mirror 127\.0\.0\.1:\d+ \(404\); check its name and tag; before that: /,
    );
    return message.includes(`before that: registry.invalid/team/app:1 is not in the mirror ${second.host} (404)`);
  });
});
