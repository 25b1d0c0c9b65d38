import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Problem } from '../source/source.ts';
import { parseManifest } from './manifest.ts';

const context = { file: '/pods/web.yaml', nodeName: 'node-1', source: 'file' } as const;

/** A pod whose lines 1-8 are fixed; `container` continues the container, `spec` the spec. */
function manifest({ metadata = '', container = '', spec = '', image = 'image: localhost/node:host' }): string {
  return `apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
spec:
  containers:
  - name: app
    ${image}
${indent(container, 4)}${indent(spec, 2)}${metadata === '' ? '' : `# end\n`}`.replace(
    '  namespace: shop\n',
    `  namespace: shop\n${indent(metadata, 2)}`,
  );
}

function indent(text: string, columns: number): string {
  return text === '' ? '' : `${text.replaceAll(/^/gm, ' '.repeat(columns))}\n`;
}

type Row = [
  name: string,
  text: string,
  severity: Problem['severity'],
  fieldPath: string | undefined,
  line: number | undefined,
  message: RegExp,
];

const c0 = 'spec.containers[0]';

const badInputs: Row[] = [
  // Documents and kinds.
  ['text alone', 'hello', 'refused', undefined, 1, /a manifest is an object with apiVersion and kind/],
  ['a list', '- a\n- b', 'refused', undefined, 1, /a manifest is an object/],
  ['no kind', 'apiVersion: v1\nmetadata: {name: a}', 'refused', 'kind', 1, /the kind is missing/],
  ['a kind that is a number', 'apiVersion: v1\nkind: 5', 'refused', 'kind', 2, /5 is not a kind/],
  [
    'a Deployment',
    'apiVersion: apps/v1\nkind: Deployment',
    'refused',
    'kind',
    2,
    /kind Deployment is not run.*put its spec.template into a Pod/,
  ],
  ['a ConfigMap', 'apiVersion: v1\nkind: ConfigMap', 'refused', 'kind', 2, /kind ConfigMap is not run from manifests, only Pod is$/],
  ['pod in lower case', 'apiVersion: v1\nkind: pod', 'refused', 'kind', 2, /did you mean Pod\?/],
  ['no apiVersion', 'kind: Pod', 'refused', 'apiVersion', 1, /the apiVersion is missing; write apiVersion: v1/],
  ['another apiVersion', 'apiVersion: apps/v1\nkind: Pod', 'refused', 'apiVersion', 1, /a Pod has apiVersion v1, not apps\/v1/],
  ['a List without items', 'apiVersion: v1\nkind: List', 'refused', 'items', 1, /a List has its pods in a list here/],
  ['no spec', 'apiVersion: v1\nkind: Pod\nmetadata: {name: a}', 'refused', 'spec.containers', 1, /a pod needs at least one container/],
  ['a tab', 'apiVersion: v1\nkind: Pod\nmetadata:\n\tname: a', 'refused', undefined, 4, /^a tab indents this line/],
  ['a key twice', 'apiVersion: v1\nkind: Pod\nkind: Pod', 'refused', undefined, 3, /^key kind is given twice, first in line 2/],

  // Types and unknown fields.
  [
    'an image that is a number',
    manifest({ image: 'image: 5' }),
    'refused',
    `${c0}.image`,
    9,
    /^expected a string, got a number \(5\); quote it$/,
  ],
  [
    'an env value that is a boolean',
    manifest({ container: 'env:\n- name: A\n  value: yes' }),
    'refused',
    `${c0}.env[0].value`,
    12,
    /got a boolean \(yes\); quote it/,
  ],
  [
    'a command that is a string',
    manifest({ container: 'command: sleep 60' }),
    'refused',
    `${c0}.command`,
    10,
    /expected a list, got a string \("sleep 60"\); write it as a list: \["sleep","60"\]/,
  ],
  [
    'a shell line as command',
    manifest({ container: 'command: echo hi > /x' }),
    'refused',
    `${c0}.command`,
    10,
    /\["sh","-c","echo hi > \/x"\]/,
  ],
  [
    'a port in quotes',
    manifest({ container: 'ports:\n- containerPort: "80"' }),
    'refused',
    `${c0}.ports[0].containerPort`,
    11,
    /expected an integer, got a string \("80"\); remove the quotes/,
  ],
  [
    'a port with a fraction',
    manifest({ container: 'ports:\n- containerPort: 80.5' }),
    'refused',
    `${c0}.ports[0].containerPort`,
    11,
    /expected an integer, got a number/,
  ],
  [
    'a boolean in quotes',
    manifest({ spec: 'hostNetwork: "true"' }),
    'refused',
    'spec.hostNetwork',
    10,
    /expected true or false, got a string \("true"\); remove the quotes/,
  ],
  [
    'containers as an object',
    'apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n    name: a',
    'refused',
    'spec.containers',
    5,
    /expected a list, got an object; start each entry with "- "/,
  ],
  [
    'a label that is a number',
    manifest({ metadata: 'labels:\n  version: 1.2' }),
    'refused',
    'metadata.labels[version]',
    7,
    /got a number \(1.2\); quote it/,
  ],
  [
    'an argument that is empty',
    manifest({ container: 'args:\n-' }),
    'refused',
    `${c0}.args[0]`,
    11,
    /expected a string, got nothing; write "" for an empty string/,
  ],
  ['a misspelt field', manifest({ container: 'comand: [x]' }), 'ignored', `${c0}.comand`, 10, /^unknown field; did you mean command\?$/],
  ['a field in another case', manifest({ container: 'workingdir: /x' }), 'ignored', `${c0}.workingdir`, 10, /did you mean workingDir\?/],
  [
    'a field in the wrong place',
    manifest({ spec: 'livenessProbe: {}' }),
    'ignored',
    'spec.livenessProbe',
    10,
    /unknown field; it belongs in a container/,
  ],
  [
    'a field that nobody knows',
    manifest({ spec: 'restartCounter: 5' }),
    'ignored',
    'spec.restartCounter',
    10,
    /^unknown field; remove it$/,
  ],
  [
    'an unknown field of a variable',
    manifest({ container: 'env:\n- name: A\n  valeu: x' }),
    'ignored',
    `${c0}.env[0].valeu`,
    12,
    /did you mean value\?/,
  ],
  [
    'a number that is too large',
    manifest({ spec: 'terminationGracePeriodSeconds: 99999999999999999' }),
    'refused',
    undefined,
    10,
    /beyond 2\^53/,
  ],
  [
    'a port beyond 32 bits',
    manifest({ container: 'ports:\n- containerPort: 4294967376' }),
    'refused',
    `${c0}.ports[0].containerPort`,
    11,
    /expected an integer of 32 bits/,
  ],

  // Names.
  [
    'no name',
    'apiVersion: v1\nkind: Pod\nmetadata: {}\nspec: {containers: [{name: a, image: b}]}',
    'refused',
    'metadata.name',
    3,
    /a pod needs a name/,
  ],
  [
    'a name in upper case',
    'apiVersion: v1\nkind: Pod\nmetadata:\n  name: Web\nspec: {containers: [{name: a, image: b}]}',
    'refused',
    'metadata.name',
    4,
    /"Web" may hold only lower case/,
  ],
  [
    'a namespace with a path',
    'apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  namespace: ../x\nspec: {containers: [{name: a, image: b}]}',
    'refused',
    'metadata.namespace',
    5,
    /may hold only lower case/,
  ],
  ['a uid with a path', manifest({ metadata: 'uid: ../../etc' }), 'refused', 'metadata.uid', 6, /may hold only letters, digits/],
  [
    'a label value with a space',
    manifest({ metadata: 'labels:\n  app: a b' }),
    'refused',
    'metadata.labels[app]',
    7,
    /"a b" may hold only/,
  ],
  [
    'a label key with two slashes',
    manifest({ metadata: 'labels:\n  a/b/c: d' }),
    'refused',
    'metadata.labels[a/b/c]',
    7,
    /may hold one "\/"/,
  ],
  [
    'annotations without an end',
    manifest({ metadata: `annotations:\n  a: ${'x'.repeat(300_000)}` }),
    'refused',
    'metadata.annotations',
    6,
    /at most 262144 are allowed/,
  ],
  ['a hostname with a dot', manifest({ spec: 'hostname: a.b' }), 'refused', 'spec.hostname', 10, /"a\.b" may hold only/],

  // Containers.
  [
    'no containers',
    'apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers: []',
    'refused',
    'spec.containers',
    5,
    /at least one container/,
  ],
  ['no image', manifest({ image: 'command: [x]' }), 'refused', `${c0}.image`, 8, /a container needs an image/],
  ['an image with a space', manifest({ image: 'image: "nginx "' }), 'refused', `${c0}.image`, 9, /starts or ends with white space/],
  [
    'a container name twice',
    manifest({ spec: 'containers2: x' }).replace('  containers2: x', '  - name: app\n    image: b'),
    'refused',
    'spec.containers[1].name',
    10,
    /container app is there twice, first as spec.containers\[0\]/,
  ],
  [
    'a pull policy that is none',
    manifest({ container: 'imagePullPolicy: always' }),
    'refused',
    `${c0}.imagePullPolicy`,
    10,
    /"always" is not Always, IfNotPresent or Never; did you mean Always\?/,
  ],
  ['a relative working directory', manifest({ container: 'workingDir: app' }), 'refused', `${c0}.workingDir`, 10, /not an absolute path/],
  [
    'an env name with "="',
    manifest({ container: 'env:\n- name: A=B' }),
    'refused',
    `${c0}.env[0].name`,
    11,
    /any printable ASCII character but "="/,
  ],
  [
    'an env with two sources',
    manifest({ container: 'env:\n- name: A\n  value: x\n  valueFrom: {fieldRef: {fieldPath: metadata.name}}' }),
    'refused',
    `${c0}.env[0].valueFrom`,
    13,
    /not both/,
  ],
  [
    'a fieldRef to nowhere',
    manifest({ container: 'env:\n- name: A\n  valueFrom: {fieldRef: {fieldPath: spec.image}}' }),
    'refused',
    `${c0}.env[0].valueFrom.fieldRef.fieldPath`,
    12,
    /"spec.image" is not one of/,
  ],
  [
    'a port of 0',
    manifest({ container: 'ports:\n- containerPort: 0' }),
    'refused',
    `${c0}.ports[0].containerPort`,
    11,
    /0 is not a port; ports are 1 to 65535/,
  ],
  [
    'a host port above 65535',
    manifest({ container: 'ports:\n- containerPort: 80\n  hostPort: 70000' }),
    'refused',
    `${c0}.ports[0].hostPort`,
    12,
    /70000 is not a port/,
  ],
  [
    'a host port twice',
    manifest({ container: 'ports:\n- {containerPort: 80, hostPort: 8080}\n- {containerPort: 81, hostPort: 8080}' }),
    'refused',
    `${c0}.ports[1].hostPort`,
    12,
    /TCP port 8080 of the host is taken by spec.containers\[0\].ports\[0\]/,
  ],
  [
    'a host port that differs in the host network',
    manifest({ container: 'ports:\n- {containerPort: 80, hostPort: 8080}', spec: 'hostNetwork: true' }),
    'refused',
    `${c0}.ports[0].hostPort`,
    11,
    /8080 is not 80; remove hostPort/,
  ],
  [
    'a port name too long',
    manifest({ container: 'ports:\n- {containerPort: 80, name: a-very-long-port-name}' }),
    'refused',
    `${c0}.ports[0].name`,
    11,
    /at most 15 are allowed/,
  ],
  [
    'a protocol in lower case',
    manifest({ container: 'ports:\n- {containerPort: 80, protocol: tcp}' }),
    'refused',
    `${c0}.ports[0].protocol`,
    11,
    /did you mean TCP\?/,
  ],

  // Resources.
  [
    'a quantity in lower case',
    manifest({ container: 'resources:\n  limits:\n    memory: 64mi' }),
    'refused',
    `${c0}.resources.limits[memory]`,
    12,
    /"64mi" is not a quantity; did you mean "64Mi"\?/,
  ],
  [
    'a quantity without a number',
    manifest({ container: 'resources:\n  limits:\n    cpu: half' }),
    'refused',
    `${c0}.resources.limits[cpu]`,
    12,
    /write a number such as/,
  ],
  [
    'a negative quantity',
    manifest({ container: 'resources:\n  limits:\n    cpu: -1' }),
    'refused',
    `${c0}.resources.limits[cpu]`,
    12,
    /-1 is negative/,
  ],
  [
    'memory in thousandths',
    manifest({ container: 'resources:\n  limits:\n    memory: 128m' }),
    'refused',
    `${c0}.resources.limits[memory]`,
    12,
    /fraction of a byte; did you mean 128Mi\?/,
  ],
  [
    'a request above its limit',
    manifest({ container: 'resources:\n  limits: {cpu: 1}\n  requests: {cpu: 2}' }),
    'refused',
    `${c0}.resources.requests[cpu]`,
    12,
    /the request 2 is more than the limit 1/,
  ],
  [
    'a resource misspelt',
    manifest({ container: 'resources:\n  limits:\n    memmory: 1Gi' }),
    'refused',
    `${c0}.resources.limits[memmory]`,
    12,
    /memmory is not a resource; did you mean memory\?/,
  ],
  [
    'a device',
    manifest({ container: 'resources:\n  limits:\n    nvidia.com/gpu: 1' }),
    'refused',
    `${c0}.resources.limits[nvidia.com/gpu]`,
    12,
    /offered by no device plugin/,
  ],

  // Volumes.
  [
    'a mount without a volume',
    manifest({ container: 'volumeMounts:\n- {name: dta, mountPath: /d}', spec: 'volumes:\n- name: data' }),
    'refused',
    `${c0}.volumeMounts[0].name`,
    11,
    /no volume dta in spec.volumes; did you mean data\?/,
  ],
  [
    'a relative mount path',
    manifest({ container: 'volumeMounts:\n- {name: data, mountPath: d}', spec: 'volumes:\n- name: data' }),
    'refused',
    `${c0}.volumeMounts[0].mountPath`,
    11,
    /not an absolute path/,
  ],
  [
    'a mount path that climbs',
    manifest({ container: 'volumeMounts:\n- {name: data, mountPath: /d/../../x}', spec: 'volumes:\n- name: data' }),
    'refused',
    `${c0}.volumeMounts[0].mountPath`,
    11,
    /may not hold "\.\."/,
  ],
  [
    'a mount path twice',
    manifest({ container: 'volumeMounts:\n- {name: data, mountPath: /d}\n- {name: data, mountPath: /d/}', spec: 'volumes:\n- name: data' }),
    'refused',
    `${c0}.volumeMounts[1].mountPath`,
    12,
    /mounted over twice/,
  ],
  [
    'a volume twice',
    manifest({ spec: 'volumes:\n- name: data\n- name: data' }),
    'refused',
    'spec.volumes[1].name',
    12,
    /volume data is there twice/,
  ],
  [
    'a volume of two kinds',
    manifest({ spec: 'volumes:\n- name: data\n  emptyDir: {}\n  hostPath: {path: /x}' }),
    'refused',
    'spec.volumes[0]',
    11,
    /of several kinds \(emptyDir, hostPath\)/,
  ],
  [
    'a hostPath without a path',
    manifest({ spec: 'volumes:\n- name: data\n  hostPath: {}' }),
    'refused',
    'spec.volumes[0].hostPath.path',
    12,
    /hostPath needs a path/,
  ],
  [
    'a hostPath of an unknown type',
    manifest({ spec: 'volumes:\n- name: data\n  hostPath: {path: /x, type: directory}' }),
    'refused',
    'spec.volumes[0].hostPath.type',
    12,
    /did you mean Directory\?/,
  ],
  [
    'a mounted configMap',
    manifest({ container: 'volumeMounts:\n- {name: data, mountPath: /d}', spec: 'volumes:\n- name: data\n  configMap: {name: x}' }),
    'refused',
    'spec.volumes[0].configMap',
    14,
    /not yet acted on, and the pod is refused because its container would start without the files/,
  ],
  [
    'a configMap that nobody mounts',
    manifest({ spec: 'volumes:\n- name: data\n  configMap: {name: x}' }),
    'later',
    'spec.volumes[0].configMap',
    12,
    /not yet acted on; the pod runs without it/,
  ],

  // Pod-wide.
  [
    'a restart policy misspelt',
    manifest({ spec: 'restartPolicy: never' }),
    'refused',
    'spec.restartPolicy',
    10,
    /"never" is not Always, OnFailure or Never; did you mean Never\?/,
  ],
  [
    'a negative grace period',
    manifest({ spec: 'terminationGracePeriodSeconds: -1' }),
    'refused',
    'spec.terminationGracePeriodSeconds',
    10,
    /cannot be negative/,
  ],
  [
    'a user below 0',
    manifest({ container: 'securityContext:\n  runAsUser: -1' }),
    'refused',
    `${c0}.securityContext.runAsUser`,
    11,
    /-1 is not between 0 and 2147483647/,
  ],
  [
    'a user by name',
    manifest({ container: 'securityContext:\n  runAsUser: nobody' }),
    'refused',
    `${c0}.securityContext.runAsUser`,
    11,
    /expected an integer, got a string \("nobody"\)/,
  ],
  [
    'a capability with CAP_',
    manifest({ container: 'securityContext:\n  capabilities:\n    add: [CAP_NET_ADMIN]' }),
    'refused',
    `${c0}.securityContext.capabilities.add[0]`,
    12,
    /without CAP_ here: NET_ADMIN/,
  ],
  [
    'privileged without escalation',
    manifest({ container: 'securityContext:\n  privileged: true\n  allowPrivilegeEscalation: false' }),
    'refused',
    `${c0}.securityContext.allowPrivilegeEscalation`,
    12,
    /can always escalate/,
  ],
  [
    'dnsPolicy None without servers',
    manifest({ spec: 'dnsPolicy: None' }),
    'refused',
    'spec.dnsConfig.nameservers',
    6,
    /needs at least one nameserver/,
  ],
  [
    'a nameserver that is no address',
    manifest({ spec: 'dnsConfig:\n  nameservers: [dns.example.com]' }),
    'refused',
    'spec.dnsConfig.nameservers[0]',
    11,
    /"dns.example.com" is not an IP address/,
  ],
  ['a Windows pod', manifest({ spec: 'os: {name: windows}' }), 'refused', 'spec.os.name', 10, /windows containers do not run/],
  [
    'two ways to share processes',
    manifest({ spec: 'hostPID: true\nshareProcessNamespace: true' }),
    'refused',
    'spec.shareProcessNamespace',
    11,
    /remove one of the two/,
  ],
  [
    'a pod for another node',
    manifest({ spec: 'nodeName: node-2' }),
    'ignored',
    'spec.nodeName',
    10,
    /node-2 is another node; the pod runs on this one, node-1/,
  ],

  // Fields that come later.
  [
    'init containers',
    manifest({ spec: 'initContainers:\n- {name: i, image: x}' }),
    'refused',
    'spec.initContainers',
    10,
    /not yet acted on, and the pod is refused because the containers would start unprepared/,
  ],
  [
    'users of its own in the network of the host',
    manifest({ spec: 'hostUsers: false\nhostNetwork: true' }),
    'refused',
    'spec.hostNetwork',
    11,
    /cannot share this namespace of the host; remove one of the two/,
  ],
  [
    'a secret in the environment',
    manifest({ container: 'env:\n- name: A\n  valueFrom: {secretKeyRef: {name: s, key: k}}' }),
    'refused',
    `${c0}.env[0].valueFrom.secretKeyRef`,
    12,
    /the variable would be missing/,
  ],
  [
    'an optional secret in the environment',
    manifest({ container: 'env:\n- name: A\n  valueFrom: {secretKeyRef: {name: s, key: k, optional: true}}' }),
    'later',
    `${c0}.env[0].valueFrom.secretKeyRef`,
    12,
    /the pod runs without it/,
  ],
  [
    'a subPath that leaves the image',
    manifest({
      container: 'volumeMounts:\n- {name: i, mountPath: /d, subPath: ../x}',
      spec: 'volumes:\n- {name: i, image: {reference: x}}',
    }),
    'refused',
    `${c0}.volumeMounts[0].subPath`,
    11,
    /must not contain "\.\."/,
  ],
  [
    'mounts passed on to the host without privilege',
    manifest({
      container: 'volumeMounts:\n- {name: data, mountPath: /d, mountPropagation: Bidirectional}',
      spec: 'volumes:\n- name: data',
    }),
    'refused',
    `${c0}.volumeMounts[0].mountPropagation`,
    11,
    /only a privileged container/,
  ],
  [
    'a recursive read-only mount that may be written',
    manifest({
      container: 'volumeMounts:\n- {name: data, mountPath: /d, recursiveReadOnly: Enabled}',
      spec: 'volumes:\n- name: data',
    }),
    'refused',
    `${c0}.volumeMounts[0].recursiveReadOnly`,
    11,
    /needs readOnly: true/,
  ],
  [
    'a subPath',
    manifest({ container: 'volumeMounts:\n- {name: data, mountPath: /d, subPath: x}', spec: 'volumes:\n- name: data' }),
    'refused',
    `${c0}.volumeMounts[0].subPath`,
    11,
    /the container would see the whole volume/,
  ],
  [
    'a probe',
    manifest({ container: 'livenessProbe:\n  exec: {command: [x]}' }),
    'later',
    `${c0}.livenessProbe`,
    10,
    /not yet acted on; the pod runs without it/,
  ],
  [
    'a localhost seccomp profile elsewhere on the host',
    manifest({ spec: 'securityContext:\n  seccompProfile: {type: Localhost, localhostProfile: ../a.json}' }),
    'refused',
    'spec.securityContext.seccompProfile.localhostProfile',
    11,
    /must be a path below <root-dir>\/seccomp/,
  ],
];

for (const [name, text, severity, fieldPath, line, message] of badInputs) {
  test(`${name} is ${severity}, with field and line`, () => {
    const { pods, problems, refused } = parseManifest(text, context);
    const shown = JSON.stringify(problems, undefined, 1);
    const problem = problems.find((found) => found.fieldPath === fieldPath && message.test(found.message));
    assert.ok(problem, shown);
    assert.equal(problem.severity, severity, shown);
    assert.equal(problem.line, line, shown);
    assert.equal(problem.origin.document, 1);
    assert.equal(pods.length, severity === 'refused' ? 0 : 1, shown);
    assert.equal(refused.length, severity === 'refused' ? 1 : 0);
    // One mistake, one sentence.
    assert.equal(problems.length, 1, shown);
  });
}

test('ephemeral-storage is not yet acted on, huge pages are', () => {
  const { pods, problems } = parseManifest(
    manifest({ container: 'resources: {limits: {ephemeral-storage: 1Gi, hugepages-2Mi: 4Mi}}' }),
    context,
  );
  assert.equal(pods.length, 1);
  assert.deepEqual(
    problems.map(({ fieldPath, severity }) => [fieldPath, severity]),
    [[`${c0}.resources.limits[ephemeral-storage]`, 'later']],
  );
});

test('several mistakes in one document are all told', () => {
  const text = manifest({
    container: 'command: x\nimagePullPolicy: no\nports: [{containerPort: 99999}]',
    spec: 'restartPolicy: Sometimes\nfoo: 1',
  });
  assert.deepEqual(
    parseManifest(text, context).problems.map(({ fieldPath }) => fieldPath),
    [`${c0}.command`, `${c0}.imagePullPolicy`, 'spec.foo', `${c0}.ports[0].containerPort`, 'spec.restartPolicy'],
  );
});

test('an unknown field is told even inside a field that is not yet acted on', () => {
  const { problems } = parseManifest(manifest({ container: 'livenessProbe: {httpGet: {port: 80, pth: /}}' }), context);
  assert.deepEqual(
    problems.map(({ fieldPath, severity }) => [fieldPath, severity]),
    [
      [`${c0}.livenessProbe.httpGet.pth`, 'ignored'],
      [`${c0}.livenessProbe`, 'later'],
    ],
  );
});

test('a bad document leaves the others of its file running', () => {
  const good = (name: string) => `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}}\nspec: {containers: [{name: c, image: i}]}\n`;
  const { pods, refused } = parseManifest([good('a'), 'a: [\n', 'kind: Service\n', good('b'), good('a'), good('c')].join('---\n'), context);
  assert.deepEqual(
    pods.map(({ pod, origin }) => [pod.metadata?.name, origin.document]),
    [
      ['a', 1],
      ['b', 4],
      ['c', 6],
    ],
  );
  assert.deepEqual(refused, [{ document: 2 }, { document: 3 }, { document: 5, namespace: 'default', name: 'a' }]);
});

test('the items of a List count as documents', () => {
  const items = `items:
- apiVersion: v1
  kind: Pod
  metadata: {name: a}
  spec: {containers: [{name: c, image: i}]}
- apiVersion: v1
  kind: Secret
- apiVersion: v1
  kind: Pod
  metadata: {name: b}
  spec: {containers: [{name: c}]}
`;
  const { pods, problems } = parseManifest(`apiVersion: v1\nkind: List\n${items}`, context);
  assert.deepEqual(
    pods.map(({ pod }) => pod.metadata?.name),
    ['a'],
  );
  assert.deepEqual(
    problems.map(({ origin, fieldPath, line }) => [origin.document, fieldPath, line]),
    [
      [2, 'items[1].kind', 9],
      [3, 'items[2].spec.containers[0].image', 13],
    ],
  );
  const bare = parseManifest(
    'apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a}\n  spec: {containers: [{name: c, image: i}]}\n',
    context,
  );
  assert.deepEqual(bare.problems, []);
  assert.equal(bare.pods.length, 1);
});

test('what kubectl get -o yaml prints is run without a word about what the server wrote', () => {
  const { pods, problems } = parseManifest(
    `apiVersion: v1
kind: Pod
metadata:
  name: web
  creationTimestamp: "2026-01-01T00:00:00Z"
  resourceVersion: "1"
  generation: 1
  uid: 0f8b1c9e-2f0e-4f7a-9a39-8b7a3d0e6d11
  managedFields: [{manager: kubectl}]
spec:
  containers:
  - name: c
    image: nginx
    livenessProbe:
    args:
    resources: {}
    terminationMessagePath: /dev/termination-log
    terminationMessagePolicy: File
    stdin: false
  dnsPolicy: ClusterFirst
  enableServiceLinks: true
  preemptionPolicy: PreemptLowerPriority
  priority: 0
  restartPolicy: Always
  schedulerName: default-scheduler
  securityContext: {}
  serviceAccountName: default
  tolerations: []
status:
  phase: Running
`,
    context,
  );
  assert.deepEqual(problems, []);
  assert.equal(pods[0]?.pod.metadata?.uid, '0f8b1c9e-2f0e-4f7a-9a39-8b7a3d0e6d11');
  assert.equal('managedFields' in (pods[0]?.pod.metadata ?? {}), false);
});

test('a pod gets the defaults of the API', () => {
  const { pods } = parseManifest(
    `apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  hostNetwork: true
  containers:
  - name: c
    image: nginx
    ports: [{containerPort: 80}]
    env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    resources: {limits: {memory: 1024Mi, cpu: 0.5}, requests: {cpu: 250m}}
  volumes: [{name: v}, {name: h, hostPath: {path: /x}}, {name: e, emptyDir: {medium: Memory, sizeLimit: 1024Ki}}]
`,
    { ...context, seen: new Date('2026-01-02T03:04:05Z') },
  );
  const pod = pods[0]?.pod;
  assert.deepEqual(pod?.metadata?.annotations, {
    'kubernetes.io/config.hash': pods[0]?.hash,
    'kubernetes.io/config.seen': '2026-01-02T03:04:05.000Z',
    'kubernetes.io/config.source': 'file',
  });
  assert.equal(pod?.metadata?.namespace, 'default');
  assert.deepEqual(pod?.spec, {
    hostNetwork: true,
    nodeName: 'node-1',
    restartPolicy: 'Always',
    dnsPolicy: 'ClusterFirst',
    terminationGracePeriodSeconds: 30,
    enableServiceLinks: true,
    schedulerName: 'default-scheduler',
    securityContext: {},
    containers: [
      {
        name: 'c',
        image: 'nginx',
        imagePullPolicy: 'Always',
        ports: [{ containerPort: 80, hostPort: 80, protocol: 'TCP' }],
        env: [{ name: 'A', valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.name' } } }],
        resources: { limits: { memory: '1Gi', cpu: '500m' }, requests: { memory: '1Gi', cpu: '250m' } },
        terminationMessagePath: '/dev/termination-log',
        terminationMessagePolicy: 'File',
      },
    ],
    volumes: [
      { name: 'v', emptyDir: {} },
      { name: 'h', hostPath: { path: '/x', type: '' } },
      { name: 'e', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
    ],
  });
});

test('the pull policy follows the tag', () => {
  const cases: [string, string][] = [
    ['nginx', 'Always'],
    ['nginx:latest', 'Always'],
    ['registry.example:5000/nginx', 'Always'],
    ['registry.example:5000/nginx:1.27', 'IfNotPresent'],
    ['localhost/node:host', 'IfNotPresent'],
    ['nginx@sha256:abc', 'IfNotPresent'],
    ['nginx:1@sha256:abc', 'IfNotPresent'],
  ];
  for (const [image, policy] of cases) {
    const { pods } = parseManifest(manifest({ image: `image: ${image}` }), context);
    assert.equal(pods[0]?.pod.spec?.containers[0]?.imagePullPolicy, policy, image);
  }
});

test('the hash changes with the pod and with nothing else, the UID with its place alone', () => {
  const text = manifest({ container: 'args: [a, b]', metadata: 'labels: {a: x, b: z}' });
  const same = [
    text.replace('    args: [a, b]', '    # comment\n    args:\n    - a\n    - "b"\n    env: []\n    stdin:'),
    text.replace('{a: x, b: z}', '{b: z, a: x}'),
  ];
  const other = [text.replace('[a, b]', '[b, a]'), text.replace('a: x', 'a: w'), text.replace('host', 'next')];
  const read = (from: string, place = {}) => parseManifest(from, { ...context, ...place }).pods[0];
  const first = read(text);
  assert.match(first?.pod.metadata?.uid ?? '', /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  for (const variant of same) assert.equal(read(variant)?.hash, first?.hash, variant);
  for (const variant of other) {
    assert.notEqual(read(variant)?.hash, first?.hash, variant);
    assert.equal(read(variant)?.pod.metadata?.uid, first?.pod.metadata?.uid);
  }
  for (const place of [{ file: '/pods/other.yaml' }, { nodeName: 'node-2' }]) {
    assert.equal(read(text, place)?.hash, first?.hash);
    assert.notEqual(read(text, place)?.pod.metadata?.uid, first?.pod.metadata?.uid);
  }
});
