// The real crictl asks what containers and pods use, are and may use: what it prints is compared with the kernel.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { BUSYBOX, namespaceOf } from './testing/cri.ts';
import { type Crictl, crictlTests, type Running, shell } from './testing/crictl.ts';
import { poll } from './testing/poll.ts';
import type { TestNode } from './testing/test-node.ts';

const MEBIBYTE = 1 << 20;
/** Half a core in small turns, 20 MiB on disk, then idle memory; no trap needed: it is killed. */
const WORK = shell(
  'dd if=/dev/zero of=/big bs=1M count=8 2>/dev/null; while :; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 0.01; done',
);

let node: TestNode;
let crictl: Crictl;
let busy: Running;

const { options } = await crictlTests(
  async (startedCrictl, startedNode) => {
    crictl = startedCrictl;
    node = startedNode;
    busy = await crictl.startPod('busy', { ...WORK, linux: { resources: { memory_limit_in_bytes: 64 * MEBIBYTE, cpu_shares: 512 } } });
  },
  { keepPods: true },
);

interface Value {
  readonly value: string;
}

interface Usage {
  readonly cpu: { readonly timestamp: string; readonly usageCoreNanoSeconds: Value; readonly usageNanoCores: Value };
  readonly memory: {
    readonly workingSetBytes: Value;
    readonly availableBytes: Value;
    readonly usageBytes: Value;
    readonly rssBytes: Value;
  };
}

interface ContainerUsage extends Usage {
  readonly attributes: { readonly id: string; readonly metadata: { readonly name: string }; readonly labels: object };
  readonly writableLayer: { readonly usedBytes: Value; readonly inodesUsed: Value; readonly fsId: { readonly mountpoint: string } };
}

/** A file of the container's cgroup, in whichever hierarchy has it. */
function cgroupFile(pid: number, v2: string, controller: string, v1: string): string {
  const lines = fs.readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim().split('\n');
  const at = (wanted: string) => lines.find((line) => line.split(':')[1]?.split(',').includes(wanted))?.split(':')[2];
  const inV1 = at(controller);
  if (inV1 !== undefined) return fs.readFileSync(path.join('/sys/fs/cgroup', controller, inV1, v1), 'utf8').trim();
  const root = fs.existsSync('/sys/fs/cgroup/unified') ? '/sys/fs/cgroup/unified' : '/sys/fs/cgroup';
  return fs.readFileSync(path.join(root, at('') ?? '', v2), 'utf8').trim();
}

async function pidOf(container: string): Promise<number> {
  return Number(await crictl.call('inspect', '-o', 'go-template', '--template', '{{.info.pid}}', container));
}

test('stats: CPU time rises and has a rate, memory and the writable layer are counted', options, async () => {
  const read = async () => {
    const { stats } = await crictl.json<{ stats: ContainerUsage[] }>('stats', '-o', 'json', '--id', busy.container);
    assert.equal(stats.length, 1);
    return stats[0] as ContainerUsage;
  };
  const first = await read();
  const second = await poll(
    'more CPU time, its rate, and the written file',
    async () => {
      const later = await read();
      if (
        Number(later.cpu.usageCoreNanoSeconds.value) > Number(first.cpu.usageCoreNanoSeconds.value) &&
        Number(later.cpu.usageNanoCores.value) > 10_000_000 &&
        Number(later.writableLayer?.usedBytes.value ?? 0) >= 8 * MEBIBYTE
      )
        return later;
      throw new Error(JSON.stringify(later));
    },
    40_000,
  );
  assert.deepEqual([second.attributes.id, second.attributes.metadata.name], [busy.container, 'main']);
  const { workingSetBytes, availableBytes, usageBytes } = second.memory;
  assert.equal(Number(workingSetBytes.value) + Number(availableBytes.value), 64 * MEBIBYTE);
  assert.ok(Number(usageBytes.value) >= Number(workingSetBytes.value));
  assert.ok(second.writableLayer.fsId.mountpoint.startsWith(node.rootDir));
  const table = await crictl.call('stats', busy.container);
  // It clears the screen first.
  assert.match(table, /CONTAINER +NAME +CPU % +MEM +DISK +INODES +SWAP/);
  assert.match(table, new RegExp(`${busy.container.slice(0, 13)} +main +[\\d.]+ +[\\d.]+[kM]B +[\\d.]+MB +\\d+`));
});

test('stats lists created containers too, and statsp the traffic of the pod', options, async () => {
  const [podFile, containerFile] = crictl.configs('idle', shell('exec sleep 1000'));
  const sandbox = await crictl.call('runp', podFile);
  const created = await crictl.call('create', sandbox, containerFile, podFile);
  const { stats } = await crictl.json<{ stats: ContainerUsage[] }>('stats', '-a', '-o', 'json');
  assert.ok(stats.some(({ attributes }) => attributes.id === created));
  assert.ok(stats.some(({ attributes }) => attributes.id === busy.container));
  await crictl.call('start', created);
  const ip = await crictl.call('inspectp', '-o', 'go-template', '--template', '{{.status.network.ip}}', sandbox);
  // Nobody listens there: the answer to the first packet is a reset, which is traffic too.
  assert.notEqual((await crictl.try(['exec', busy.container, 'wget', '-T', '2', '-q', '-O', '-', `http://${ip}:9/`])).code, 0);
  interface PodUsage {
    readonly attributes: { readonly id: string };
    readonly linux: Usage & {
      readonly network: { readonly defaultInterface: { readonly name: string; readonly rxBytes: Value; readonly txBytes: Value } };
      readonly process: { readonly processCount: Value };
      readonly containers: readonly ContainerUsage[];
    };
  }
  const { stats: pods } = await crictl.json<{ stats: PodUsage[] }>('statsp', '-o', 'json', '--id', sandbox);
  const [pod] = pods;
  assert.ok(pod !== undefined && pods.length === 1);
  assert.equal(pod.linux.network.defaultInterface.name, 'eth0');
  assert.ok(Number(pod.linux.network.defaultInterface.rxBytes.value) > 80);
  assert.ok(Number(pod.linux.network.defaultInterface.txBytes.value) > 80);
  assert.equal(pod.linux.process.processCount.value, '1');
  assert.deepEqual(
    pod.linux.containers.map(({ attributes }) => attributes.id),
    [created],
  );
  assert.match(await crictl.call('statsp'), /POD +POD ID +CPU % +MEM/);
  await crictl.call('stopp', sandbox);
  const { stats: left } = await crictl.json<{ stats: PodUsage[] }>('statsp', '-o', 'json');
  assert.ok(!left.some(({ attributes }) => attributes.id === sandbox), 'a stopped sandbox uses nothing');
});

test('metricdescs and metricsp: every sample has a descriptor, and a value for each of its labels', options, async () => {
  interface Descriptor {
    readonly name: string;
    readonly help: string;
    readonly labelKeys: readonly string[];
  }
  interface Metric {
    readonly name: string;
    readonly metricType: string;
    readonly labelValues: readonly string[];
    readonly value: Value;
  }
  const { descriptors } = await crictl.json<{ descriptors: Descriptor[] }>('metricdescs');
  const byName = new Map(descriptors.map((descriptor) => [descriptor.name, descriptor]));
  assert.equal(byName.size, descriptors.length, 'each once');
  assert.ok(descriptors.length >= 60, `${descriptors.length} families`);
  const { podMetrics } = await crictl.json<{
    podMetrics: { podSandboxId: string; metrics: Metric[]; containerMetrics: { containerId: string; metrics: Metric[] }[] }[];
  }>('metricsp');
  const pod = podMetrics.find(({ podSandboxId }) => podSandboxId === busy.sandbox);
  const container = pod?.containerMetrics.find(({ containerId }) => containerId === busy.container);
  assert.ok(pod !== undefined && container !== undefined);
  for (const { name, labelValues, metricType } of [...pod.metrics, ...container.metrics]) {
    const descriptor = byName.get(name);
    assert.ok(descriptor !== undefined, name);
    assert.equal(labelValues.length, descriptor.labelKeys.length, name);
    // cAdvisor's two exceptions to the rule of names.
    const counts = (name.endsWith('_total') && name !== 'container_fs_inodes_total') || name === 'container_memory_failcnt';
    assert.equal(metricType === 'COUNTER', counts, `${name} is a ${metricType}`);
  }
  const value = (name: string, label?: string) => {
    const found = container.metrics.find((metric) => metric.name === name && (label === undefined || metric.labelValues.includes(label)));
    assert.ok(found !== undefined, name);
    return Number(found.value.value);
  };
  const labels = (metric: Metric | undefined) =>
    Object.fromEntries((byName.get(metric?.name ?? '')?.labelKeys ?? []).map((key, i) => [key, metric?.labelValues[i]]));
  const usage = container.metrics.find(({ name }) => name === 'container_memory_usage_bytes');
  assert.deepEqual(
    { ...labels(usage), id: '' },
    { container: 'main', id: '', image: BUSYBOX, name: busy.container, namespace: 'shop', pod: 'busy' },
  );
  assert.equal(value('container_spec_memory_limit_bytes'), 64 * MEBIBYTE);
  assert.equal(value('container_spec_cpu_shares'), 512);
  assert.ok(value('container_processes') >= 1);
  assert.ok(value('container_file_descriptors') >= 3);
  assert.ok(value('container_memory_failures_total', 'pgfault') > 0);
  assert.ok(value('container_fs_usage_bytes') > 0);
  assert.ok(value('container_ulimits_soft', 'max_open_files') > 0);
  assert.ok(Math.abs(value('container_last_seen') - Date.now() / 1000) < 30);
  const traffic = pod.metrics.find(({ name }) => name === 'container_network_receive_bytes_total');
  assert.deepEqual([labels(traffic).interface, labels(traffic).container], ['eth0', 'POD']);
  if (fs.existsSync('/proc/pressure/cpu')) value('container_pressure_cpu_waiting_seconds_total');
});

test('update changes the kernel and the status, refuses nonsense before it writes, and a restart keeps it', options, async () => {
  const { container } = await crictl.startPod('grow', {
    ...shell('exec sleep 1000'),
    linux: { resources: { memory_limit_in_bytes: 32 * MEBIBYTE, memory_swap_limit_in_bytes: 32 * MEBIBYTE } },
  });
  const pid = await pidOf(container);
  const memoryLimit = () => cgroupFile(pid, 'memory.max', 'memory', 'memory.limit_in_bytes');
  interface Inspection {
    readonly status: { readonly resources: { readonly linux: Record<string, string> } };
  }
  const resources = async () => (await crictl.json<Inspection>('inspect', container)).status.resources.linux;
  assert.equal(memoryLimit(), String(32 * MEBIBYTE));
  await crictl.call('update', '--memory', String(48 * MEBIBYTE), '--cpu-quota', '50000', '--cpu-period', '100000', container);
  assert.equal(memoryLimit(), String(48 * MEBIBYTE));
  assert.match(cgroupFile(pid, 'cpu.max', 'cpu', 'cpu.cfs_quota_us'), /^50000/, 'a controller that it had not joined');
  const updated = await resources();
  assert.deepEqual([updated.memoryLimitInBytes, updated.cpuQuota, updated.cpuPeriod], [String(48 * MEBIBYTE), '50000', '100000']);

  assert.match(
    await crictl.refusal('update', '--cpu-quota', '10', '--memory', String(40 * MEBIBYTE), container),
    /InvalidArgument desc = cpu_quota 10 is neither/,
  );
  assert.equal(memoryLimit(), String(48 * MEBIBYTE), 'nothing of the request was done');
  assert.match(
    await crictl.refusal('update', '--cpuset-cpus', '4000', '--memory', String(40 * MEBIBYTE), container),
    /InvalidArgument desc = .*cpuset/,
  );
  assert.equal(memoryLimit(), String(48 * MEBIBYTE), 'what was written was taken back');
  assert.deepEqual(await resources(), updated);
  assert.match(await crictl.refusal('update', '--cpu-share', '2', 'absent'), /NotFound desc = no container with id "absent"/);

  // cgroup2 would take it, and kill.
  if (fs.existsSync('/sys/fs/cgroup/memory'))
    assert.match(
      await crictl.refusal('update', '--memory', '4096', container),
      /FailedPrecondition desc = the container uses more memory than this limit, and the kernel cannot take it back/,
    );

  await node.stop('SIGKILL');
  await node.start('runtime');
  assert.deepEqual(await resources(), updated);
  assert.equal(await pidOf(container), pid);
});

test('update of a created container holds from its start', options, async () => {
  const [podFile, containerFile] = crictl.configs('later', shell('exec sleep 1000'));
  const sandbox = await crictl.call('runp', podFile);
  const container = await crictl.call('create', sandbox, containerFile, podFile);
  await crictl.call('update', '--memory', String(24 * MEBIBYTE), container);
  await crictl.call('start', container);
  assert.equal(cgroupFile(await pidOf(container), 'memory.max', 'memory', 'memory.limit_in_bytes'), String(24 * MEBIBYTE));
  await crictl.call('stop', '--timeout', '0', container);
  assert.match(
    await crictl.refusal('update', '--memory', String(30 * MEBIBYTE), container),
    /FailedPrecondition desc = container .* is exited/,
  );
});

test('inspect and inspectp as scripts use them: pid, namespaces, config in snake case, the runtime spec', options, async () => {
  const pid = await pidOf(busy.container);
  assert.match(fs.readFileSync(`/proc/${pid}/cmdline`, 'latin1'), /^sh\0-c\0dd/);
  const template = '{{range .info.runtimeSpec.linux.namespaces}}{{.type}} {{end}}';
  const types = (await crictl.call('inspect', '-o', 'go-template', '--template', template, busy.container)).trim().split(' ');
  for (const type of ['network', 'ipc', 'uts', 'mount', 'pid']) assert.ok(types.includes(type), `${type} in ${types}`);
  interface Info {
    readonly info: {
      readonly sandboxID: string;
      readonly snapshotter: string;
      readonly config: { readonly log_path?: string; readonly log_directory?: string; readonly linux?: { readonly resources: object } };
      readonly runtimeSpec: {
        readonly process: { readonly args: string[] };
        readonly linux: { readonly namespaces: { readonly type: string; readonly path?: string }[] };
      };
      readonly netNamespaceClosed?: boolean;
      readonly processStatus?: string;
      readonly pid: number;
    };
  }
  const { info } = await crictl.json<Info>('inspect', '-o', 'json', busy.container);
  assert.deepEqual([info.sandboxID, info.snapshotter, info.config.log_path], [busy.sandbox, 'overlayfs', 'main/2.log']);
  assert.deepEqual(info.config.linux?.resources, { memory_limit_in_bytes: 64 * MEBIBYTE, cpu_shares: 512 });
  assert.equal(info.runtimeSpec.process.args[0], 'sh');
  const { info: pod } = await crictl.json<Info>('inspectp', busy.sandbox);
  assert.deepEqual(
    [pod.processStatus, pod.netNamespaceClosed, pod.config.log_directory],
    ['running', false, path.join(node.logDir, 'busy')],
  );
  const netns = pod.runtimeSpec.linux.namespaces.find(({ type }) => type === 'network')?.path ?? '';
  assert.equal(fs.readlinkSync(netns), namespaceOf(pid, 'net'));
});

test('inspecti tells the image as OCI writes it', options, async () => {
  interface Inspection {
    readonly info: {
      readonly chainID: string;
      readonly imageSpec: {
        readonly architecture: string;
        readonly os: string;
        readonly config: { readonly Env?: string[] };
        readonly rootfs: object;
      };
    };
  }
  const { info } = await crictl.json<Inspection>('inspecti', BUSYBOX);
  assert.match(info.chainID, /^sha256:[0-9a-f]{64}$/);
  assert.equal(info.imageSpec.os, 'linux');
  assert.ok(info.imageSpec.config !== undefined && info.imageSpec.rootfs !== undefined);
});

test('update-runtime-config takes a pod CIDR at once and refuses what is none', options, async () => {
  await crictl.call('update-runtime-config', '--pod-cidr', '10.99.7.0/24');
  const [podFile] = crictl.configs('moved', shell('exec sleep 1000'));
  const sandbox = await crictl.call('runp', podFile);
  assert.match(await crictl.call('inspectp', '-o', 'go-template', '--template', '{{.status.network.ip}}', sandbox), /^10\.99\.7\./);
  assert.match(await crictl.refusal('update-runtime-config', '--pod-cidr', 'ten/8'), /InvalidArgument desc = pod_cidr "ten\/8"/);
  await crictl.call('update-runtime-config', '--pod-cidr', '10.244.0.0/24');
});

test('events: every change of a pod and its container, with statuses and a timestamp, in order', options, async () => {
  const [command, ...args] = crictl.commandLine(['events', '-o', 'json']);
  const events = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    let text = '';
    events.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    // The stream tells nothing of its being open: pods are made until one is seen.
    let probe = 0;
    await poll('the event stream to be open', async () => {
      const [file] = crictl.configs(`probe${probe++}`, {});
      await crictl.call('rmp', '--force', await crictl.call('runp', file));
      return text !== '';
    });
    const { sandbox, container } = await crictl.startPod('told', shell('exit 3'));
    await poll('the container to exit', async () => (await crictl.call('ps', '-a', '-q', '--state', 'exited')).includes(container));
    await crictl.call('rmp', '--force', sandbox);
    interface Event {
      readonly containerId: string;
      readonly containerEventType: string;
      readonly createdAt: string;
      readonly podSandboxStatus: { readonly id: string; readonly metadata: { readonly uid: string } };
      readonly containersStatuses: readonly { readonly id: string; readonly state: string; readonly exitCode: number }[];
    }
    const seen = () =>
      text
        .split(/\n(?=\{)/)
        .flatMap((part): Event[] => {
          try {
            return [JSON.parse(part) as Event];
          } catch {
            return [];
          }
        })
        .filter(({ podSandboxStatus }) => podSandboxStatus?.id === sandbox);
    await poll('the last event', () => seen().some((event) => event.containerId === sandbox && /DELETED/.test(event.containerEventType)));
    const types = (id: string) =>
      seen()
        .filter(({ containerId }) => containerId === id)
        .map(({ containerEventType }) => containerEventType.replace(/CONTAINER_|_EVENT/g, ''));
    assert.deepEqual(types(container), ['CREATED', 'STARTED', 'STOPPED', 'DELETED']);
    assert.deepEqual(types(sandbox), ['CREATED', 'STARTED', 'STOPPED', 'DELETED']);
    for (const event of seen()) {
      assert.ok(Number(event.createdAt) > 1e18, event.createdAt);
      assert.equal(event.podSandboxStatus.metadata.uid, 'told');
    }
    const stopped = seen().find((event) => event.containerId === container && /STOPPED/.test(event.containerEventType));
    assert.deepEqual(
      stopped?.containersStatuses.map(({ id, state, exitCode }) => [id, state, exitCode]),
      [[container, 'CONTAINER_EXITED', 3]],
    );
  } finally {
    events.kill();
  }
});
