// Requests that no client should send, over the socket: each gets the code that says whose mistake it is, and a sentence. Nothing is left
// of any of them.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import type { CriCallError, CriClient } from '../cri-proto/client.ts';
import type { ContainerConfig, DeepPartial, PodSandboxConfig } from '../cri-proto/gen/api.ts';
import { BUSYBOX, runContainer, type Started, sandboxConfig } from './testing/cri.ts';
import { TestNode } from './testing/test-node.ts';

let node: TestNode;
let cri: CriClient;
let started: Started;

before(async () => {
  node = await TestNode.create();
  await node.start('runtime');
  cri = node.cri;
  started = await runContainer(cri, sandboxConfig('good', node.logDir), { command: ['sh', '-c', 'exec sleep 1000'] });
});
after(() => node?.destroy());

const UNKNOWN_ID = 'f'.repeat(64);
const LONG = 'x'.repeat(1 << 20);
const manyLabels = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`label-${i}`, `value-${i}`]));

interface Case {
  readonly title: string;
  readonly call: () => Promise<unknown>;
  readonly code: string;
  readonly sentence: RegExp;
}

const sandbox = (more: DeepPartial<PodSandboxConfig>) => () =>
  cri.runtime.runPodSandbox({ config: sandboxConfig('bad', node.logDir, more) });
const container = (more: DeepPartial<ContainerConfig>) => () =>
  cri.runtime.createContainer({
    podSandboxId: started.sandboxId,
    config: { metadata: { name: 'bad', attempt: 0 }, image: { image: BUSYBOX }, ...more },
    sandboxConfig: started.sandbox,
  });

const NO_CONTAINER = { code: 'NOT_FOUND', sentence: /^no container with id "/ };
const NO_SANDBOX = { code: 'NOT_FOUND', sentence: /no sandbox with id "/ };

const INVALID = 'INVALID_ARGUMENT';
const NO_ID = { code: INVALID, sentence: /^the request has no (container|pod_sandbox)_id$/ };

/** Calls on one container or sandbox, for the empty id and for one that nobody has. */
function byId(title: string, id: string): Case[] {
  const of = { containerId: id };
  const pod = { podSandboxId: id };
  // The streaming calls tell a request without an id from one with a wrong id.
  const unless = <T>(refusal: T) => (id === '' ? NO_ID : refusal);
  return [
    { title: `startContainer of ${title}`, call: () => cri.runtime.startContainer(of), ...NO_CONTAINER },
    { title: `containerStatus of ${title}`, call: () => cri.runtime.containerStatus(of), ...NO_CONTAINER },
    { title: `containerStats of ${title}`, call: () => cri.runtime.containerStats(of), ...NO_CONTAINER },
    {
      title: `updateContainerResources of ${title}`,
      call: () => cri.runtime.updateContainerResources({ ...of, linux: {} }),
      ...NO_CONTAINER,
    },
    { title: `reopenContainerLog of ${title}`, call: () => cri.runtime.reopenContainerLog(of), ...NO_CONTAINER },
    { title: `execSync in ${title}`, call: () => cri.runtime.execSync({ ...of, cmd: ['true'] }), ...NO_CONTAINER },
    { title: `exec in ${title}`, call: () => cri.runtime.exec({ ...of, cmd: ['true'], stdout: true }), ...unless(NO_CONTAINER) },
    { title: `attach to ${title}`, call: () => cri.runtime.attach({ ...of, stdout: true }), ...unless(NO_CONTAINER) },
    { title: `podSandboxStatus of ${title}`, call: () => cri.runtime.podSandboxStatus(pod), ...NO_SANDBOX },
    { title: `podSandboxStats of ${title}`, call: () => cri.runtime.podSandboxStats(pod), ...NO_SANDBOX },
    { title: `updatePodSandboxResources of ${title}`, call: () => cri.runtime.updatePodSandboxResources(pod), ...NO_SANDBOX },
    { title: `portForward to ${title}`, call: () => cri.runtime.portForward(pod), ...unless(NO_SANDBOX) },
    {
      title: `createContainer in ${title}`,
      call: () => cri.runtime.createContainer({ ...pod, config: { metadata: { name: 'x' } } }),
      ...NO_SANDBOX,
    },
  ];
}

const CASES: readonly Case[] = [
  ...byId('the empty id', ''),
  ...byId('an unknown id', UNKNOWN_ID),
  ...byId('a path for an id', '../../../etc'),
  {
    title: 'runPodSandbox without anything',
    call: () => cri.runtime.runPodSandbox({}),
    code: INVALID,
    sentence: /^sandbox config has no metadata$/,
  },
  { title: 'runPodSandbox without a name', call: sandbox({ metadata: { uid: 'u' } }), code: INVALID, sentence: /needs a name/ },
  {
    title: 'an unknown runtime handler',
    call: () => cri.runtime.runPodSandbox({ config: sandboxConfig('bad', node.logDir), runtimeHandler: 'gvisor' }),
    code: INVALID,
    sentence: /"gvisor"/,
  },
  { title: 'a hostname of a megabyte', call: sandbox({ hostname: LONG }), code: INVALID, sentence: /^hostname .*longer than 64 bytes$/ },
  {
    title: 'a port above 65535',
    call: sandbox({ portMappings: [{ hostPort: 70_000, containerPort: 80 }] }),
    code: INVALID,
    sentence: /ports go from 1 to 65535/,
  },
  {
    title: 'a protocol that is none',
    call: sandbox({ portMappings: [{ protocol: 99 as 0, hostPort: 8080, containerPort: 80 }] }),
    code: INVALID,
    sentence: /protocol 99/,
  },
  {
    title: 'a namespace mode that is none',
    call: sandbox({ linux: { securityContext: { namespaceOptions: { network: 77 as 0 } } } }),
    code: INVALID,
    sentence: /namespace mode 77/,
  },
  {
    title: 'a relative log directory',
    call: sandbox({ logDirectory: '../../etc' }),
    code: INVALID,
    sentence: /log_directory .* absolute path/,
  },
  {
    title: 'a cgroup parent that leads out',
    call: sandbox({ linux: { cgroupParent: '/../../etc' } }),
    code: INVALID,
    sentence: /cgroup_parent/,
  },
  {
    title: 'a sysctl that is a path',
    call: sandbox({ linux: { sysctls: { '../../etc/passwd': '1' } } }),
    code: INVALID,
    sentence: /sysctl/,
  },
  {
    title: 'createContainer without a config',
    call: () => cri.runtime.createContainer({ podSandboxId: started.sandboxId }),
    code: INVALID,
    sentence: /no container config/,
  },
  { title: 'a container without a name', call: container({ metadata: { name: '' } }), code: INVALID, sentence: /no metadata.name/ },
  { title: 'a container without an image', call: container({ image: { image: '' } }), code: INVALID, sentence: /names no image/ },
  {
    title: 'a container of an absent image',
    call: container({ image: { image: 'localhost/absent:1' } }),
    code: 'NOT_FOUND',
    sentence: /localhost\/absent:1/,
  },
  {
    title: 'a log path that leads out',
    call: container({ logPath: '../../../etc/passwd' }),
    code: INVALID,
    sentence: /log_path .* leads out of log_directory/,
  },
  {
    title: 'a mount on the root',
    call: container({ mounts: [{ hostPath: '/tmp', containerPath: '/.' }] }),
    code: INVALID,
    sentence: /mount of \//,
  },
  { title: 'a mount on nothing', call: container({ mounts: [{ hostPath: '/tmp', containerPath: '' }] }), code: INVALID, sentence: /mount/ },
  {
    title: 'a mount target that leads out',
    call: container({ mounts: [{ hostPath: '/tmp', containerPath: '/a/../../../b' }] }),
    code: INVALID,
    sentence: /mount|container_path/,
  },
  {
    title: 'a mount propagation that is none',
    call: container({ mounts: [{ hostPath: '/tmp', containerPath: '/t', propagation: 9 as 0 }] }),
    code: INVALID,
    sentence: /propagation/,
  },
  {
    title: 'a negative uid',
    call: container({ linux: { securityContext: { runAsUser: { value: -1n } } } }),
    code: INVALID,
    sentence: /-1/,
  },
  {
    title: 'a group without a user',
    call: container({ linux: { securityContext: { runAsGroup: { value: 1n } } } }),
    code: INVALID,
    sentence: /run_as_group/,
  },
  {
    title: 'a capability that is none',
    call: container({ linux: { securityContext: { capabilities: { addCapabilities: ['FLY'] } } } }),
    code: INVALID,
    sentence: /FLY/,
  },
  {
    title: 'resources that are none',
    call: container({ linux: { resources: { cpusetCpus: 'all' } } }),
    code: INVALID,
    sentence: /cpuset_cpus "all"/,
  },
  {
    title: 'a memory limit below none',
    call: container({ linux: { resources: { memoryLimitInBytes: -9n } } }),
    code: INVALID,
    sentence: /memory_limit_in_bytes -9/,
  },
  {
    title: 'a command without a name',
    call: container({ command: [''] }),
    code: INVALID,
    sentence: /^command: the name of the program is empty$/,
  },
  {
    title: 'execSync without a command',
    call: () => cri.runtime.execSync({ containerId: started.containerId }),
    code: INVALID,
    sentence: /no command/,
  },
  { title: 'pullImage without an image', call: () => cri.image.pullImage({}), code: INVALID, sentence: /names no image/ },
  {
    title: 'pullImage of no reference',
    call: () => cri.image.pullImage({ image: { image: '../../etc/passwd' } }),
    code: INVALID,
    sentence: /passwd/,
  },
  { title: 'imageStatus without an image', call: () => cri.image.imageStatus({}), code: INVALID, sentence: /names no image/ },
  { title: 'removeImage without an image', call: () => cri.image.removeImage({}), code: INVALID, sentence: /names no image/ },
  {
    title: 'updateRuntimeConfig with no range',
    call: () => cri.runtime.updateRuntimeConfig({ runtimeConfig: { networkConfig: { podCidr: '1.2.3/x' } } }),
    code: INVALID,
    sentence: /pod_cidr "1.2.3\/x"/,
  },
  {
    title: 'startContainer of a running one',
    call: () => cri.runtime.startContainer({ containerId: started.containerId }),
    code: 'FAILED_PRECONDITION',
    sentence: /is running/,
  },
];

function onDisk(): string[] {
  return [
    path.join(node.rootDir, 'sandboxes'),
    path.join(node.rootDir, 'containers'),
    path.join(node.runDir, 'sandboxes'),
    path.join(node.runDir, 'containers'),
  ].flatMap((directory) => fs.readdirSync(directory).map((name) => path.join(directory, name)));
}

for (const { title, call, code, sentence } of CASES)
  test(title, { timeout: 20_000 }, async () => {
    const before = onDisk();
    const error = await call().then(
      () => undefined,
      (refusal: CriCallError) => refusal,
    );
    assert.ok(error !== undefined, 'it was accepted');
    assert.equal(error.code, code, error.message);
    assert.match(error.message, sentence);
    assert.ok(error.message.length < 2048, `a sentence of ${error.message.length} bytes`);
    assert.deepEqual(onDisk(), before);
  });

for (const id of ['', UNKNOWN_ID])
  test(`stop and remove of "${id.slice(0, 4)}" succeed and end nothing`, async () => {
    await cri.runtime.stopContainer({ containerId: id, timeout: 0n });
    await cri.runtime.removeContainer({ containerId: id });
    await cri.runtime.stopPodSandbox({ podSandboxId: id });
    await cri.runtime.removePodSandbox({ podSandboxId: id });
    assert.equal((await cri.runtime.containerStatus({ containerId: started.containerId })).status?.state, 1);
  });

test('10,000 labels and annotations come back as they were given', { timeout: 30_000 }, async () => {
  const config = sandboxConfig('many', node.logDir, { labels: manyLabels, annotations: manyLabels });
  const { podSandboxId } = await cri.runtime.runPodSandbox({ config });
  const { items } = await cri.runtime.listPodSandbox({ filter: { id: podSandboxId } });
  assert.deepEqual([items[0]?.labels, items[0]?.annotations], [manyLabels, manyLabels]);
  const filtered = await cri.runtime.listPodSandbox({ filter: { labelSelector: manyLabels } });
  assert.equal(filtered.items.length, 1);
  await cri.runtime.removePodSandbox({ podSandboxId });
});
