import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDurationMs, renderDurationMs } from './duration.ts';
import { parseKubeletConfig, readKubeletConfig, renderConfigProblem } from './kubelet-config.ts';
import { configObjects } from './schema.ts';

const head = 'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n';
const sentences = (text: string) =>
  parseKubeletConfig(text).problems.map((problem) => `${problem.severity} ${renderConfigProblem('f', problem)}`);

test('the fields that are acted on come out in units', () => {
  const text = `${head}staticPodPath: /etc/pods
fileCheckFrequency: 1m30s
podLogsDir: /var/log/pods
cgroupRoot: /node
podCIDR: 10.1.0.0/24
readOnlyPort: 0
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
streamingConnectionIdleTimeout: 1h
`;
  assert.deepEqual(parseKubeletConfig(text), {
    config: {
      staticPodPath: '/etc/pods',
      fileCheckFrequencyMs: 90_000,
      podLogsDir: '/var/log/pods',
      cgroupRoot: '/node',
      podCidr: '10.1.0.0/24',
      readOnlyPort: 0,
      containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
      streamingConnectionIdleTimeoutMs: 3_600_000,
    },
    problems: [],
  });
});

test('an empty configuration says nothing, and neither do the zeroes that kubeadm writes', () => {
  assert.deepEqual(parseKubeletConfig(head), { config: {}, problems: [] });
  const zeroes = `${head}metadata: {}\nsyncFrequency: 0s\nfileCheckFrequency: 0s\nstreamingConnectionIdleTimeout: 0s\nruntimeRequestTimeout: 0s\nmemorySwap: {}\nstaticPodPath: ""\n`;
  assert.deepEqual(parseKubeletConfig(zeroes), { config: {}, problems: [] });
});

test('each wrong, unknown or not yet used field is one sentence with its line', () => {
  const rows: [string, string[]][] = [
    ['', ['refused f: the file is empty']],
    [
      '- a',
      ['refused f, line 1: the file is no object; it starts with apiVersion: kubelet.config.k8s.io/v1beta1 and kind: KubeletConfiguration'],
    ],
    [
      'apiVersion: v1\nkind: Pod\n',
      [
        'refused f, line 1: it starts with apiVersion: v1 and kind: Pod; expected apiVersion: kubelet.config.k8s.io/v1beta1 and kind: KubeletConfiguration',
      ],
    ],
    [`${head}---\n${head}`, ['refused f: the file holds several documents; a KubeletConfiguration stands alone']],
    [`${head}\tx: 1`, ['refused f, line 3: a tab indents this line; YAML is indented with spaces']],
    [`${head}maxPods: 50\n`, ['later f, line 3: maxPods: not yet acted on; tskubelet goes by its own default']],
    [`${head}maxpods: 50\n`, ['ignored f, line 3: maxpods: unknown field; did you mean maxPods?']],
    [`${head}maxPods: "50"\n`, ['refused f, line 3: maxPods: expected an integer, got a string ("50"); remove the quotes']],
    [`${head}staticPodPath: pods\n`, ['refused f, line 3: staticPodPath: "pods" is not an absolute path; start it with "/"']],
    [`${head}readOnlyPort: 70000\n`, ['refused f, line 3: readOnlyPort: 70000 is not a port; ports are 1 to 65535, and 0 switches it off']],
    [`${head}fileCheckFrequency: soon\n`, ['refused f, line 3: fileCheckFrequency: "soon" is not a duration; write it like 20s or 1m30s']],
    [
      `${head}authentication:\n  anonymous:\n    enabled: false\n    foo: 1\n`,
      [
        'ignored f, line 6: authentication.anonymous.foo: unknown field; remove it',
        'later f, line 3: authentication: not yet acted on; tskubelet goes by its own default',
      ],
    ],
  ];
  for (const [text, expected] of rows) assert.deepEqual(sentences(text), expected, text);
});

test('a file that is not there is one sentence', async () => {
  await assert.rejects(readKubeletConfig('/nowhere/kubelet.yaml'), /read the configuration \/nowhere\/kubelet\.yaml/);
});

test('every object that the table names is described in it', () => {
  for (const [name, { fields, later = {} }] of Object.entries(configObjects)) {
    for (const type of [...Object.values(fields), ...Object.values(later).map((field) => field.type)]) {
      const inner = type.replace(/^\[\]/, '').replace(/^map\[(.*)\]$/, '$1');
      assert.ok(/^(string|int32|int64|bool|quantity|any)$/.test(inner) || inner in configObjects, `${name} names ${inner}`);
    }
  }
});

test('durations are read as Go reads them', () => {
  const rows: [string, number | undefined][] = [
    ['20s', 20_000],
    ['1m0s', 60_000],
    ['1.5h', 5_400_000],
    ['1h2m3s', 3_723_000],
    ['300ms', 300],
    ['100us', 0],
    ['0', 0],
    ['-2s', -2000],
    ['', undefined],
    ['20', undefined],
    ['s', undefined],
    ['1d', undefined],
    ['1 s', undefined],
  ];
  for (const [text, ms] of rows) assert.equal(parseDurationMs(text), ms, text);
});

test('durations are written as Go writes them', () => {
  const rows = [
    [0, '0s'],
    [345.6, '345ms'],
    [1000, '1s'],
    [1234, '1.234s'],
    [123_500, '2m3.5s'],
    [3_600_000, '1h0m0s'],
  ] as const;
  for (const [ms, text] of rows) assert.equal(renderDurationMs(ms), text);
});
