import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Flags, parseArgv } from './flags.ts';
import { readNodeSettings, readSettings } from './settings.ts';

for (const [argv, words, flags, rest] of [
  [['get', 'pods', '-A'], ['get', 'pods'], { 'all-namespaces': true }, undefined],
  [['--run-dir', '/x', 'get', 'pods'], ['get', 'pods'], { 'run-dir': '/x' }, undefined],
  [['get', '--run-dir=/x', 'pods', '-owide'], ['get', 'pods'], { 'run-dir': '/x', output: 'wide' }, undefined],
  [['exec', '-it', 'web', '--', 'ls', '-l', '--'], ['exec', 'web'], { stdin: true, tty: true }, ['ls', '-l', '--']],
  [['exec', 'web', '--'], ['exec', 'web'], {}, []],
  [['--manifests', 'a', '--manifests=b'], [], { manifests: ['a', 'b'] }, undefined],
  [['logs', 'web', '-fp', '--tail', '5'], ['logs', 'web'], { follow: true, previous: true, tail: '5' }, undefined],
  [['run', '-v', '4', 'x.yaml'], ['run', 'x.yaml'], { v: '4' }, undefined],
] as const)
  test(`parseArgv reads ${argv.join(' ')}`, () => {
    const invocation = parseArgv(argv);
    assert.deepEqual({ ...invocation.flags }, flags);
    assert.deepEqual(invocation.words, words);
    assert.deepEqual(invocation.rest, rest);
  });

for (const [argv, message] of [
  [['--nope'], "unknown flag --nope; 'tskubelet --help' lists the flags"],
  [['--manifest', 'x'], "unknown flag --manifest (did you mean --manifests?); 'tskubelet --help' lists the flags"],
  [['-z'], "unknown flag -z; 'tskubelet --help' lists the flags"],
  [['--tail'], '--tail needs a value'],
  [['--tail', '--follow'], '--tail needs a value'],
  [['--follow=yes'], '--follow takes no value'],
  [['--port', '10250'], '--port is not served by this version of tskubelet yet; leave it out'],
] as const)
  test(`parseArgv refuses ${argv.join(' ')}`, () => {
    assert.throws(() => parseArgv(argv), { message, exitCode: 2 });
  });

test('settings are the defaults of the design', () => {
  const settings = readNodeSettings({ 'node-name': 'N1' });
  assert.deepEqual(
    { ...settings },
    {
      nodeName: 'n1',
      rootDir: '/var/lib/tskubelet',
      runDir: '/run/tskubelet',
      logDir: '/var/log/pods',
      agentSocket: '/run/tskubelet/agent.sock',
      criSocket: '/run/tskubelet/cri.sock',
      foreignRuntime: undefined,
      manifests: [],
      fileCheckFrequencyMs: undefined,
      podCidrs: [],
      nonMasqueradeCidrs: [],
      cniConfDir: undefined,
      cniBinDirs: undefined,
      dns: { clusterServers: [], clusterDomain: 'cluster.local', resolvConf: '/etc/resolv.conf' },
      cgroupRoot: undefined,
      registryConfigDir: undefined,
      credentialProviders: undefined,
      streaming: {},
      runtimeHandlers: {},
      readOnlyAddress: '127.0.0.1',
      readOnlyPort: 10255,
      logFormat: 'text',
      logLevel: 'info',
      stopPodsOnExit: false,
      allowNoLimits: false,
      imageGc: { highThresholdPercent: 85, lowThresholdPercent: 80, minimumAgeMs: 120_000, maximumAgeMs: 0 },
    },
  );
});

test('--runtime-handler names an OCI runtime for each handler', () => {
  const { runtimeHandlers } = readNodeSettings({ 'node-name': 'n', 'runtime-handler': ['crun=/usr/bin/crun', 'runc=/usr/sbin/runc'] });
  assert.deepEqual(runtimeHandlers, { crun: '/usr/bin/crun', runc: '/usr/sbin/runc' });
  for (const [values, sentence] of [
    [['crun'], /expected NAME=PATH/],
    [['crun=bin/crun'], /expected NAME=PATH/],
    [['Crun=/usr/bin/crun'], /expected NAME=PATH/],
    [['tskubelet=/usr/bin/crun'], /our own runtime/],
    [['a=/x', 'a=/y'], /given twice/],
  ] as const)
    assert.throws(() => readNodeSettings({ 'node-name': 'n', 'runtime-handler': [...values] }), sentence);
});

test('another runtime is named by its socket in either spelling', () => {
  for (const flags of [
    { 'cri-socket': '/x.sock' },
    { 'cri-socket': 'unix:///x.sock' },
    { 'container-runtime-endpoint': 'unix:///x.sock' },
  ] satisfies Flags[])
    assert.equal(readSettings(flags).criSocket, '/x.sock');
});

test('a command in the foreground is quiet unless asked', () => {
  const level = (flags: Flags) => readNodeSettings(flags, { logLevel: 'warn' }).logLevel;
  assert.deepEqual([level({}), level({ v: '2' }), level({ v: '4' }), level({ 'log-format': 'json' })], ['warn', 'info', 'debug', 'info']);
});

for (const [flags, message] of [
  [{ 'run-dir': '' }, /--run-dir is empty/],
  [{ 'node-name': 'my node' }, /--node-name "my node" is no name for a node/],
  [{ 'cri-socket': 'tcp://x' }, /only unix sockets/],
  [{ 'file-check-frequency': '5' }, /expected a duration such as 20s/],
  [{ 'streaming-address': 'here' }, /--streaming-address here: expected an IP address/],
  [{ 'streaming-port': '70000' }, /--streaming-port 70000: expected a whole number from 0 to 65535/],
  [{ 'streaming-tls-cert-file': '/c' }, /--streaming-tls-cert-file needs --streaming-tls-private-key-file/],
  [{ 'streaming-tls-private-key-file': '/k' }, /--streaming-tls-private-key-file needs --streaming-tls-cert-file/],
  [{ manifests: ['https://x/y.yaml'] }, /URLs are not served by this version/],
  [{ v: 'loud' }, /--v loud: expected a whole number/],
] satisfies [Flags, RegExp][])
  test(`settings refuse ${JSON.stringify(flags)}`, () => {
    assert.throws(() => readNodeSettings(flags), { message, exitCode: 2 });
  });
