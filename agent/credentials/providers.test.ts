import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { runCommand } from '../../runtime/linux/command.ts';
import { parseProviderConfig } from './provider-config.ts';
import { openProviders, parseAnswer } from './providers.ts';

const API = 'credentialprovider.kubelet.k8s.io/v1';
const config = (provider: string) => `apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- ${provider}\n`;
const GOOD = `name: ecr\n  matchImages: ["*.dkr.ecr.*.amazonaws.com"]\n  defaultCacheDuration: 12h\n  apiVersion: ${API}`;

test('a provider is read with its images, duration, arguments and variables', () => {
  const text = config(`${GOOD}\n  args: [get]\n  env:\n  - {name: PROFILE, value: test}`);
  assert.deepEqual(parseProviderConfig(text), [
    {
      ...{ name: 'ecr', matchImages: ['*.dkr.ecr.*.amazonaws.com'], defaultCacheMs: 12 * 3_600_000, apiVersion: API },
      ...{ args: ['get'], env: { PROFILE: 'test' } },
    },
  ]);
});

for (const [what, text, sentence] of [
  ['no object', '[]', /not one object of kind CredentialProviderConfig/],
  ['another kind', 'kind: Pod\napiVersion: v1', /does not start with apiVersion/],
  ['no provider', 'apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders: []', /it has no providers/],
  ['a path as its name', config(GOOD.replace('ecr', '../ecr')), /^Error: providers\[0\]\.name: "\.\.\/ecr" is no name of a program/],
  ['no images', config(GOOD.replace(/\[".*"\]/, '[]')), /matchImages: it names no images/],
  ['no duration', config(GOOD.replace('12h', 'long')), /defaultCacheDuration: expected a duration such as 12h/],
  ['another protocol', config(GOOD.replace(API, 'v7')), /apiVersion: expected credentialprovider/],
  ['service account tokens', config(`${GOOD}\n  tokenAttributes: {requireServiceAccount: true}`), /tokenAttributes: .*API server/],
  ['an unknown field', config(`${GOOD}\n  matchImage: [x]`), /matchImage: unknown field/],
] as const)
  test(`a configuration with ${what} is refused`, () => assert.throws(() => parseProviderConfig(text), sentence));

const answer = (fields: object = {}) =>
  JSON.stringify({
    ...{ kind: 'CredentialProviderResponse', apiVersion: API, cacheKeyType: 'Registry' },
    ...{ auth: { 'r.example/team': { username: 'team', password: '1' }, '*.example': { username: 'all', password: '2' } }, ...fields },
  });

function open(text: string | (() => string), failures: string[] = []) {
  const asked: { argv: readonly string[]; image: string; env: Readonly<Record<string, string>> }[] = [];
  let nowMs = 0;
  const run = (async (argv: readonly string[], options: { stdin?: string; env?: Record<string, string> } = {}) => {
    asked.push({ argv, image: (JSON.parse(options.stdin ?? '{}') as { image: string }).image, env: options.env ?? {} });
    return { exitCode: 0, signal: 0, stdout: Buffer.from(typeof text === 'string' ? text : text()), stderr: Buffer.alloc(0) };
  }) as typeof runCommand;
  const provider = { name: 'p', matchImages: ['*.example'], defaultCacheMs: 1000, apiVersion: API, args: ['a'], env: { K: 'V' } };
  const find = openProviders([provider], {
    ...{
      binDir: '/bin',
      run,
      nowMs: () => nowMs,
      onFailure: (error: Error) => void failures.push(`${error.message}: ${(error.cause as Error).message}`),
    },
  });
  const pass = (ms: number) => {
    nowMs += ms;
  };
  return { find, asked, pass };
}

test('a plugin is asked for images that it is for, and its most telling answer comes first', async () => {
  const { find, asked } = open(answer());
  assert.deepEqual(await find('quay.io/x'), []);
  assert.deepEqual(await find('r.example/team/app'), [
    { username: 'team', password: '1' },
    { username: 'all', password: '2' },
  ]);
  assert.deepEqual([asked.length, asked[0]?.argv, asked[0]?.image, asked[0]?.env.K], [1, ['/bin/p', 'a'], 'r.example/team/app', 'V']);
});

for (const [type, asksAgain] of [
  ['Image', [false, true, true]],
  ['Registry', [false, false, true]],
  ['Global', [false, false, false]],
] as const)
  test(`an answer of the type ${type} holds for what it says, as long as it says`, async () => {
    const { find, asked, pass } = open(answer({ cacheKeyType: type, cacheDuration: '1m30s' }));
    await Promise.all([find('r.example/a'), find('r.example/a')]);
    assert.equal(asked.length, 1);
    for (const [i, repository] of ['r.example/a', 'r.example/b', 'other.example/a'].entries()) {
      const before: number = asked.length;
      await find(repository);
      assert.equal(asked.length - before, asksAgain[i] ? 1 : 0, repository);
    }
    pass(90_001);
    const before: number = asked.length;
    await find('r.example/a');
    assert.equal(asked.length, before + 1);
  });

test('without a duration of its own the default holds, and zero means not at all', async () => {
  const plain = open(answer());
  await plain.find('r.example/a');
  plain.pass(999);
  await plain.find('r.example/a');
  assert.equal(plain.asked.length, 1);
  const none = open(answer({ cacheDuration: '0s' }));
  await none.find('r.example/a');
  await none.find('r.example/a');
  assert.equal(none.asked.length, 2);
});

test('a plugin that fails costs its credentials, and is told of', async () => {
  const failures: string[] = [];
  const { find } = open('hello', failures);
  assert.deepEqual(await find('r.example/a'), []);
  assert.deepEqual(failures, ['get credentials for r.example/a from the provider p: its answer is not JSON']);
  assert.throws(() => parseAnswer('{}', API), /its answer is of undefined undefined/);
  assert.throws(() => parseAnswer(answer({ cacheKeyType: 'Node' }), API), /cacheKeyType "Node"/);
  assert.throws(() => parseAnswer(answer({ cacheDuration: 'soon' }), API), /cacheDuration "soon"/);
});
