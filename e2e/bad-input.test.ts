// What is wrong with a pod is one sentence, and it stands where people look: in `get pods -o wide`, in the daemon's log, and where the
// runtime knows the container, in its CRI status. All pods are dropped at once: nothing waits for another one's mistake.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import type { V1Container, V1Pod, V1PodSpec } from '@kubernetes/client-node';
import { BUSYBOX } from './testing/cri.ts';
import { FOREVER, getJson, isRunning, listPods, podManifest, sh, untilPod } from './testing/pods.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

interface BadPod {
  readonly name: string;
  readonly container: Partial<V1Container>;
  readonly spec?: Partial<V1PodSpec>;
  /** Of the container; undefined when the pod itself waits. */
  readonly reason: string;
  readonly sentence: RegExp;
  /** The runtime has made the container and keeps the sentence. */
  readonly inStatus?: true;
}

let node: TestNode;
let files: string;

/** A hostPath volume "v" and where it is mounted. */
function mounted(hostPath: string, mountPath: string, type?: string): Pick<BadPod, 'container' | 'spec'> {
  return {
    container: { ...sh(FOREVER), volumeMounts: [{ name: 'v', mountPath }] },
    spec: { volumes: [{ name: 'v', hostPath: { path: hostPath, ...(type === undefined ? {} : { type }) } }] },
  };
}

function badPods(): readonly BadPod[] {
  return [
    {
      name: 'image-unknown',
      container: { image: 'localhost/nothing:host' },
      reason: 'ErrImagePull',
      sentence: /image "localhost\/nothing:host" cannot be pulled: .*usable without a registry: localhost\/node:host/,
    },
    {
      name: 'image-name',
      container: { image: 'x:y:z' },
      reason: 'InvalidImageName',
      sentence: /image name "x:y:z" is not valid: .+/,
    },
    {
      name: 'image-never',
      container: { image: 'docker.io/library/absent:1', imagePullPolicy: 'Never' },
      reason: 'ErrImageNeverPull',
      sentence: /container image "docker\.io\/library\/absent:1" is not present with pull policy of Never/,
    },
    {
      name: 'image-registry',
      container: { image: '127.0.0.1:1/x:1' },
      reason: 'ErrImagePull',
      sentence: /image "127\.0\.0\.1:1\/x:1" cannot be pulled: 127\.0\.0\.1:1 does not answer/,
    },
    {
      name: 'image-offline',
      container: { image: 'nginx' },
      reason: 'ErrImagePull',
      sentence: /image "nginx" cannot be pulled: docker\.io .*localhost\/node:host/,
    },
    {
      name: 'command-in-path',
      container: { command: ['no-such-program'] },
      reason: 'RunContainerError',
      sentence: /exec "no-such-program": executable file not found in \$PATH/,
      inStatus: true,
    },
    {
      name: 'command-missing',
      container: { command: ['/no/such/program'] },
      reason: 'RunContainerError',
      sentence: /exec "\/no\/such\/program": no such file or directory in the container/,
      inStatus: true,
    },
    {
      name: 'command-directory',
      container: { command: ['/etc'] },
      reason: 'RunContainerError',
      sentence: /exec "\/etc": permission denied/,
      inStatus: true,
    },
    {
      name: 'command-no-program',
      container: { command: ['/etc/passwd'] },
      reason: 'RunContainerError',
      sentence: /exec "\/etc\/passwd": permission denied/,
      inStatus: true,
    },
    {
      name: 'command-garbage',
      ...mounted(path.join(files, 'garbage'), '/garbage'),
      container: { command: ['/garbage'], volumeMounts: [{ name: 'v', mountPath: '/garbage' }] },
      reason: 'RunContainerError',
      sentence: /exec "\/garbage": exec format error/,
      inStatus: true,
    },
    {
      name: 'command-interpreter',
      ...mounted(path.join(files, 'script'), '/script'),
      container: { command: ['/script'], volumeMounts: [{ name: 'v', mountPath: '/script' }] },
      reason: 'RunContainerError',
      sentence: /exec "\/script": the file is there, its interpreter is not/,
      inStatus: true,
    },
    {
      name: 'arguments-too-long',
      container: { ...sh('true'), args: ['x'.repeat(200_000)] },
      reason: 'RunContainerError',
      sentence: /exec "\/usr\/bin\/sh": its arguments and environment are too long/,
      inStatus: true,
    },
    {
      name: 'working-dir-file',
      container: { ...sh(FOREVER), workingDir: '/etc/passwd' },
      reason: 'RunContainerError',
      sentence: /chdir\("\/etc\/passwd"\): .*: the working directory is a file/,
      inStatus: true,
    },
    {
      name: 'user-root',
      container: { ...sh(FOREVER), securityContext: { runAsNonRoot: true } },
      reason: 'CreateContainerConfigError',
      sentence: /container has runAsNonRoot and image will run as root/,
    },
    {
      name: 'user-root-asked-for',
      container: { ...sh(FOREVER), securityContext: { runAsUser: 0, runAsNonRoot: true } },
      reason: 'CreateContainerConfigError',
      sentence: /runAsUser breaks non-root policy/,
    },
    {
      name: 'capability',
      container: { ...sh(FOREVER), securityContext: { capabilities: { add: ['FLY'] } } },
      reason: 'CreateContainerError',
      sentence: /unknown capability "FLY"/,
    },
    {
      name: 'host-path-missing',
      ...mounted('/no/such/place', '/data'),
      reason: 'CreateContainerError',
      sentence: /mount source \/no\/such\/place does not exist on the host/,
    },
    {
      name: 'host-path-directory',
      ...mounted('/no/such/place', '/data', 'Directory'),
      reason: 'ContainerCreating',
      sentence: /hostPath type check failed: \/no\/such\/place does not exist/,
    },
    {
      name: 'host-path-file',
      ...mounted('/etc', '/data', 'File'),
      reason: 'ContainerCreating',
      sentence: /hostPath type check failed: \/etc is not a file/,
    },
    {
      name: 'host-path-device',
      ...mounted('/etc/passwd', '/data', 'CharDevice'),
      reason: 'ContainerCreating',
      sentence: /hostPath type check failed: \/etc\/passwd is not a character device/,
    },
    {
      name: 'mount-over-file',
      ...mounted('/etc', '/etc/passwd'),
      reason: 'RunContainerError',
      sentence: /"\/etc\/passwd", .*: a directory can only be mounted on a directory/,
      inStatus: true,
    },
    {
      name: 'mount-file-over-directory',
      ...mounted('/etc/passwd', '/etc'),
      reason: 'RunContainerError',
      sentence: /"\/etc", .*: a directory can only be mounted on a directory, a file on a file/,
      inStatus: true,
    },
    {
      name: 'port-in-use',
      container: { ...sh(FOREVER), ports: [{ containerPort: 80, hostPort: 18_080 }] },
      reason: 'ContainerCreating',
      sentence: /hostPort 18080\/tcp is taken by sandbox [0-9a-f]{12} \(default\/holder\)/,
    },
  ];
}

/** Manifests that no pod comes from: told by the agent alone. */
const BAD_FILES: readonly (readonly [file: string, text: string, sentence: RegExp])[] = [
  ['yaml-flow.yaml', 'apiVersion: v1\nkind: Pod\nmetadata:\n  name: [oops\n', /yaml-flow\.yaml, document 1, line \d+: .+/],
  ['yaml-tab.yaml', 'apiVersion: v1\nkind: Pod\nmetadata:\n\tname: x\n', /yaml-tab\.yaml, document 1, line 4: a tab indents this line/],
  ['yaml-twice.yaml', 'apiVersion: v1\nkind: Pod\nkind: Pod\n', /yaml-twice\.yaml, document 1, line 3: key kind is given twice/],
  ['json-cut.json', '{"apiVersion": "v1", "kind": "Pod", ', /json-cut\.json, document 1, line \d+: .+/],
  [
    'kind.yaml',
    'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n',
    /kind\.yaml, .*line 2: kind: kind ConfigMap is not run from manifests/,
  ],
  [
    'no-image.yaml',
    'apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: c}]}\n',
    /no-image\.yaml.*\.image: a container needs an image/,
  ],
  ['binary.yaml', '\0\u0001\u0002', /binary\.yaml.*: .+/],
];

before(async () => {
  node = await TestNode.create();
  files = path.join(node.dir, 'files');
  fs.mkdirSync(files);
  fs.writeFileSync(path.join(files, 'garbage'), 'neither ELF nor script', { mode: 0o755 });
  fs.writeFileSync(path.join(files, 'script'), '#!/no/such/interpreter\n', { mode: 0o755 });
  await node.start('node');
  await node.cri.image.pullImage({ image: { image: BUSYBOX } });
  node.addManifest('holder.json', podManifest('holder', { ...sh(FOREVER), ports: [{ containerPort: 80, hostPort: 18_080 }] }));
  await untilPod(node, 'holder', isRunning);
  for (const { name, container, spec } of badPods()) node.addManifest(`${name}.json`, podManifest(name, container, spec));
  for (const [file, text] of BAD_FILES) node.addManifest(file, text);
});
after(() => node?.destroy());

const sentenceOf = ({ status }: V1Pod) => status?.containerStatuses?.[0]?.state?.waiting?.message ?? '';

test('the sentence of each wrong pod is in its status, in get pods -o wide, in the log, and in the CRI status', async (t) => {
  const bad = badPods();
  await poll(
    'every pod to say what is wrong',
    async () => {
      const pods = await listPods(node);
      const silent = bad.filter(({ name }) => !pods.some((pod) => pod.metadata?.name === name && sentenceOf(pod) !== ''));
      if (silent.length > 0) throw new Error(`silent: ${silent.map(({ name }) => name).join(', ')}`);
      return true;
    },
    60_000,
  );
  const pods = new Map((await listPods(node)).map((pod) => [pod.metadata?.name, pod]));
  const table = (await node.tskubelet(['get', 'pods', '-o', 'wide'])).stdout.split('\n');
  const { containers } = await node.cri.runtime.listContainers({});
  for (const { name, reason, sentence, inStatus } of bad)
    await t.test(name, async () => {
      const waiting = pods.get(name)?.status?.containerStatuses?.[0]?.state?.waiting;
      assert.equal(waiting?.reason, reason);
      assert.match(waiting?.message ?? '', sentence);
      const row = table.find((line) => line.startsWith(`${name} `)) ?? '';
      assert.match(row, sentence);
      const logged = node.log.split('\n').filter((line) => line.includes(`default/${name}`));
      assert.ok(
        logged.some((line) => line.includes('warning') && sentence.test(line)),
        logged.join('\n'),
      );
      if (inStatus === undefined) return;
      const ours = containers.filter((container) => container.labels['io.kubernetes.pod.name'] === name);
      const statuses = await Promise.all(ours.map(({ id }) => node.cri.runtime.containerStatus({ containerId: id })));
      assert.ok(
        statuses.some(({ status }) => sentence.test(status?.message ?? '')),
        JSON.stringify(statuses.map(({ status }) => [status?.reason, status?.message])),
      );
    });
});

test('the sentence of each wrong file names file and line, in get pods and in the log', async (t) => {
  const problems = await poll('every file to be refused', async () => {
    const found = await getJson<{ file: string; text: string }[]>(node, '/problems');
    return BAD_FILES.every(([name]) => found.some(({ file }) => file.endsWith(name))) && found;
  });
  const { stderr } = await node.tskubelet(['get', 'pods']);
  for (const [name, , sentence] of BAD_FILES)
    await t.test(name, () => {
      const { text } = problems.find(({ file }) => file.endsWith(name)) ?? { text: '' };
      assert.match(text, sentence);
      assert.ok(node.log.includes(text), 'in the log');
      assert.ok(stderr.includes(`refused: ${text}\n`), stderr);
    });
});

test('the pod beside them runs on, never restarted', async () => {
  const holder = await untilPod(node, 'holder', isRunning);
  assert.equal(holder.status?.containerStatuses?.[0]?.restartCount, 0);
});
