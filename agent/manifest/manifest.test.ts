import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseManifest } from './manifest.ts';
import { c0, context, manifest } from './testing/rows.ts';

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
