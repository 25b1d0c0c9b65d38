// What a runtime sees of an executable that it uses wrongly (CNI spec 1.1, section 5): code, sentence, exit code.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serve } from './serve.ts';

const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c1', CNI_NETNS: '/run/netns/none', CNI_IFNAME: 'eth0', CNI_PATH: '/opt/cni/bin' };
const config = { cniVersion: '1.1.0', name: 'n', type: 'bridge', bridge: 'b' };

interface Case {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly stdin?: string;
  readonly config?: object;
  readonly type?: string;
}

async function failureOf(one: Case): Promise<{ cniVersion: string; code: number; msg: string }> {
  const stdin = one.stdin ?? JSON.stringify({ ...config, ...one.config });
  const { exitCode, output } = await serve(one.type ?? 'bridge', { ...env, ...one.env }, async () => stdin);
  assert.equal(exitCode, 1, output);
  return JSON.parse(output) as { cniVersion: string; code: number; msg: string };
}

const cases: readonly (readonly [string, Case, number, RegExp])[] = [
  ['no command', { env: { CNI_COMMAND: undefined } }, 4, /^CNI_COMMAND is not set$/],
  ['an unknown command', { env: { CNI_COMMAND: 'MOVE' } }, 4, /CNI_COMMAND "MOVE": expected ADD, DEL/],
  ['no container', { env: { CNI_CONTAINERID: '' } }, 4, /^CNI_CONTAINERID is not set$/],
  ['a container id that is a path', { env: { CNI_CONTAINERID: '../x' } }, 4, /^CNI_CONTAINERID "\.\.\/x": expected letters/],
  ['a container id with a line break', { env: { CNI_CONTAINERID: 'a\nb' } }, 4, /^CNI_CONTAINERID/],
  ['no interface name', { env: { CNI_IFNAME: undefined } }, 4, /^CNI_IFNAME is not set$/],
  ['an interface name that is too long', { env: { CNI_IFNAME: 'a'.repeat(16) } }, 4, /^CNI_IFNAME "a+" is no name/],
  ['an interface name of too many bytes', { env: { CNI_IFNAME: 'ä'.repeat(8) } }, 4, /^CNI_IFNAME "ä+" is no name/],
  ['an interface name that is a directory', { env: { CNI_IFNAME: '..' } }, 4, /^CNI_IFNAME/],
  ['an interface name with a slash', { env: { CNI_IFNAME: 'a/b' } }, 4, /^CNI_IFNAME/],
  ['no namespace', { env: { CNI_NETNS: '' } }, 4, /^CNI_NETNS is not set$/],
  ['arguments that are none', { env: { CNI_ARGS: 'A=1;B' } }, 4, /^CNI_ARGS "B": expected KEY=VALUE$/],
  ['no JSON', { stdin: '{' }, 6, /^read the network configuration from stdin: /],
  ['nothing on stdin', { stdin: '' }, 6, /^read the network configuration from stdin: /],
  ['JSON that is no object', { stdin: '[]' }, 6, /no JSON object/],
  ['null', { stdin: 'null' }, 6, /no JSON object/],
  ['a version of tomorrow', { config: { cniVersion: '2.0.0' } }, 1, /"2\.0\.0" is not supported: known are 0\.3\.0, .*1\.1\.0/],
  ['a version of yesterday', { config: { cniVersion: '0.2.0' } }, 1, /"0\.2\.0" is not supported/],
  ['no network name', { config: { name: undefined } }, 7, /network name ""/],
  ['a network name that is a path', { config: { name: 'a/b' } }, 7, /network name "a\/b"/],
  ['an unknown plugin', { type: '', config: { type: 'nosuch' } }, 7, /no plugin "nosuch": bandwidth, bridge/],
  ['a configuration with a wrong type', { config: { mtu: 'large' } }, 7, /^mtu "large": expected a whole number/],
  ['STATUS before its time', { env: { CNI_COMMAND: 'STATUS' }, config: { cniVersion: '1.0.0' } }, 1, /STATUS is of CNI version 1\.1\.0/],
  ['GC without its list', { env: { CNI_COMMAND: 'GC' } }, 7, /GC needs cni\.dev\/valid-attachments/],
  [
    'GC with a list of nothing',
    { env: { CNI_COMMAND: 'GC' }, config: { 'cni.dev/valid-attachments': [null] } },
    7,
    /containerID and ifname/,
  ],
  ['CHECK without a result', { env: { CNI_COMMAND: 'CHECK' } }, 7, /CHECK needs prevResult/],
  ['a namespace that is not there', {}, 3, /\/run\/netns\/none/],
];

for (const [title, wrong, code, message] of cases)
  test(`${title} is told by its code`, async () => {
    const failure = await failureOf(wrong);
    assert.equal(failure.code, code, failure.msg);
    assert.match(failure.msg, message);
  });

test('an error has the version of the configuration where that is known', async () => {
  assert.equal((await failureOf({ config: { cniVersion: '0.4.0', name: '' } })).cniVersion, '0.4.0');
  assert.equal((await failureOf({ stdin: '{' })).cniVersion, '1.1.0');
});

test('VERSION needs no more than the command', async () => {
  for (const stdin of ['', '{"cniVersion":"0.4.0"}']) {
    const { exitCode, output } = await serve('bridge', { CNI_COMMAND: 'VERSION' }, async () => stdin);
    assert.equal(exitCode, 0);
    assert.deepEqual(JSON.parse(output), { cniVersion: '1.1.0', supportedVersions: ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] });
  }
});
