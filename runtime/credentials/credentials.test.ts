import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import type { runCommand } from '../linux/command.ts';
import { openDockerCredentials, parseDockerConfig, planConfigFiles } from './docker-config.ts';
import { matchesImage, matchingKeys, parsePattern, repositoryOfImage } from './match-image.ts';

for (const [pattern, image, expected] of [
  ['quay.io', 'quay.io/team/app', true],
  ['https://quay.io/v1/', 'quay.io/team/app', true],
  ['https://index.docker.io/v1/', 'docker.io/library/busybox', true],
  ['registry-1.docker.io', 'docker.io/library/busybox', true],
  ['*.io', 'quay.io/x', true],
  ['*.io', 'a.quay.io/x', false],
  ['*.*.io', 'a.quay.io/x', true],
  ['prefix*.io', 'prefixed.io/x', true],
  ['*.dkr.ecr.*.amazonaws.com', '1234.dkr.ecr.eu-west-1.amazonaws.com/app', true],
  ['registry.io:8080', 'registry.io:8080/x', true],
  ['registry.io', 'registry.io:8080/x', false],
  ['registry.io/team', 'registry.io/team/app', true],
  ['registry.io/team', 'registry.io/team', true],
  ['registry.io/team', 'registry.io/teams/app', false],
  ['registry.io/team/app', 'registry.io/team', false],
] as const)
  test(`the pattern ${pattern} ${expected ? 'means' : 'does not mean'} ${image}`, () =>
    assert.equal(matchesImage(parsePattern(pattern), image), expected));

test('the repository of an image is what stands before its tag and digest', () => {
  for (const [image, repository] of [
    ['busybox', 'docker.io/library/busybox'],
    ['team/app:1', 'docker.io/team/app'],
    ['quay.io/team/app:1@sha256:00', 'quay.io/team/app'],
    ['r:5000/app', 'r:5000/app'],
    ['localhost/app:1', 'localhost/app'],
  ] as const)
    assert.equal(repositoryOfImage(image), repository);
});

test('the most telling key comes first', () => {
  const keys = ['*.example.com', 'r.example.com', 'r.example.com/team', 'r.example.com/team/app', 'other.example.com'];
  assert.deepEqual(matchingKeys(keys, 'r.example.com/team/app'), [
    'r.example.com/team/app',
    'r.example.com/team',
    'r.example.com',
    '*.example.com',
  ]);
});

test('config.json is looked for where docker and the kubelet keep it', () => {
  assert.deepEqual(planConfigFiles({ DOCKER_CONFIG: '/d', HOME: '/root' }, '/var/lib/tskubelet'), [
    '/d/config.json',
    '/var/lib/tskubelet/config.json',
    '/var/lib/kubelet/config.json',
    '/root/.docker/config.json',
    '/.docker/config.json',
  ]);
});

test('entries without credentials count as absent, and what is no JSON is refused', () => {
  const { auths, credsStore } = parseDockerConfig('{"auths":{"a":{},"b":{"auth":"x"},"c":{"identitytoken":"t"}},"credsStore":""}', 'f');
  assert.deepEqual(
    [...auths],
    [
      ['b', { auth: 'x' }],
      ['c', { identityToken: 't' }],
    ],
  );
  assert.equal(credsStore, undefined);
  for (const text of ['', '[]', '{']) assert.throws(() => parseDockerConfig(text, '/x/config.json'), /^Error: \/x\/config\.json is not/);
});

test('helpers are asked before the file, and what they do not have may stand in it', async (t) => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'config-'));
  t.after(() => fs.rmSync(dir, { recursive: true }));
  const file = path.join(dir, 'config.json');
  const asked: string[] = [];
  const run = (async (argv: readonly string[], { stdin = '' } = {}) => {
    asked.push(`${argv.join(' ')} < ${stdin}`);
    const [exitCode, output] =
      argv[0] === 'docker-credential-broken'
        ? [1, 'keychain is locked']
        : stdin === 'quay.io'
          ? [0, '{"ServerURL":"quay.io","Username":"me","Secret":"pw"}']
          : stdin.toString().includes('docker.io')
            ? [0, '{"Username":"<token>","Secret":"refresh"}']
            : [1, 'credentials not found in native keychain'];
    return { exitCode, signal: 0, stdout: Buffer.from(`${output}\n`), stderr: Buffer.alloc(0) };
  }) as typeof runCommand;
  const find = openDockerCredentials([path.join(dir, 'absent.json'), file], run);
  const auths = { 'ghcr.io': { auth: 'abc' } };
  fs.writeFileSync(file, JSON.stringify({ auths, credsStore: 'store', credHelpers: { 'locked.io': 'broken', 'odd.io': '../x' } }));
  assert.deepEqual(await find('quay.io/x'), { username: 'me', password: 'pw' });
  assert.deepEqual(await find('docker.io/library/x'), { identityToken: 'refresh' });
  assert.deepEqual(await find('ghcr.io/x'), { auth: 'abc' });
  assert.equal(await find('nobody.io/x'), undefined);
  await assert.rejects(
    find('locked.io/x'),
    /^Error: get credentials for locked\.io from docker-credential-broken: it ends with 1 \(keychain is locked\)$/,
  );
  await assert.rejects(find('odd.io/x'), /the credential helper "\.\.\/x" is no name of a program/);
  assert.deepEqual(asked.slice(0, 2), [
    'docker-credential-store get < quay.io',
    'docker-credential-store get < https://index.docker.io/v1/',
  ]);
});
