import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ImageConfig } from '../image/store.ts';
import { DEFAULT_PATH, planArgs, planEnv } from './command.ts';

const image = (entrypoint: string[], cmd: string[], env: string[] = []): ImageConfig => ({
  entrypoint,
  cmd,
  env,
  workingDir: '',
  user: '',
  stopSignal: '',
  labels: {},
  volumes: [],
});

for (const [entrypoint, cmd, command, args, expected] of [
  [['ep'], ['cmd'], [], [], ['ep', 'cmd']],
  [['ep'], ['cmd'], [], ['arg'], ['ep', 'arg']],
  [['ep'], ['cmd'], ['run'], [], ['run']],
  [['ep'], ['cmd'], ['run'], ['arg'], ['run', 'arg']],
  [[], ['cmd'], [], [], ['cmd']],
] as const)
  test(`planArgs of ENTRYPOINT [${entrypoint}] CMD [${cmd}] with command [${command}] args [${args}] is [${expected}]`, () => {
    assert.deepEqual(planArgs({ command, args }, image([...entrypoint], [...cmd])), expected);
  });

test('planArgs refuses a container without any command', () => {
  assert.throws(() => planArgs({ command: [], args: [] }, image([], [])), /no command specified/);
});

test('planEnv lets the request override the image, and adds PATH and HOSTNAME', () => {
  assert.deepEqual(
    planEnv([{ key: 'A', value: Buffer.from('2') }], image([], [], ['A=1', 'B=x=y']), { hostname: 'web', terminal: false }),
    [`PATH=${DEFAULT_PATH}`, 'HOSTNAME=web', 'A=2', 'B=x=y'],
  );
});

for (const [title, key, value, sentence] of [
  ['without a name', '', Buffer.from('x'), /"" is no name/],
  ['with = in its name', 'A=B', Buffer.from('x'), /"A=B" is no name/],
  ['with a NUL byte', 'A', Buffer.from([65, 0]), /variable A has a NUL byte/],
  ['that is not UTF-8', 'A', Buffer.from([0xff]), /variable A is not UTF-8/],
] as const)
  test(`planEnv refuses a variable ${title}`, () => {
    assert.throws(() => planEnv([{ key, value }], image([], []), { hostname: '', terminal: false }), sentence);
  });
