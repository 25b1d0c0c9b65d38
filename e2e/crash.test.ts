// kill -9 of the daemon between any two steps: what ran runs on, no line of its log is lost or doubled, the interrupted request can be
// made again, and in the end nothing is left.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { ContainerState } from '../cri-proto/gen/api.ts';
import { BUSYBOX, outputOf, pidOf, runContainer, type Started, sandboxConfig, startIn, statusOf, untilExited } from './testing/cri.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

/** Every point that the sources name: a new step is tested without anybody remembering to. */
function faultPoints(): string[] {
  const runtime = path.resolve(import.meta.dirname, '../runtime');
  const sources = fs
    .readdirSync(runtime, { recursive: true, encoding: 'utf8' })
    // Those of external OCI runtimes, pulls and checkpoints: oci-runtimes, registry-faults and checkpoint.test.ts die there.
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts') && !/^(oci|image|checkpoint)\//.test(name));
  const names = sources.flatMap((name) =>
    [...fs.readFileSync(path.join(runtime, name), 'utf8').matchAll(/faultPoint\('([^']+)'\)/g)].map(([, point]) => point ?? ''),
  );
  return [...new Set(names)];
}

let node: TestNode;
let bystander: Started;
let bystanderPid: number;

before(async () => {
  node = await TestNode.create();
  await node.start('runtime');
  const count = ['sh', '-c', 'i=0; while :; do i=$((i+1)); echo line $i; usleep 2000; done'];
  bystander = await runContainer(node.cri, sandboxConfig('bystander', path.join(node.logDir, 'bystander')), {
    metadata: { name: 'main' },
    command: count,
  });
  bystanderPid = await pidOf(node.cri, bystander.containerId);
});
after(() => node?.destroy());

/** A sandbox's whole life. Each step may find that it was done before the crash. */
async function live(attempt: number): Promise<void> {
  const sandbox = sandboxConfig(`crash${attempt}`, path.join(node.logDir, `crash${attempt}`));
  const { sandboxId, containerId } = await runContainer(node.cri, sandbox, {
    metadata: { name: 'main' },
    command: ['sh', '-c', 'trap "exit 5" TERM; echo up; while :; do usleep 20000; done'],
  });
  // One more that is still running when the sandbox is stopped.
  await startIn(node.cri, sandboxId, sandbox, { command: ['sh', '-c', 'trap "" TERM; while :; do usleep 20000; done'] });
  await node.cri.runtime.updateContainerResources({ containerId, linux: { cpuShares: 512n } });
  await node.cri.runtime.stopContainer({ containerId, timeout: 5n });
  const status = await statusOf(node.cri, containerId);
  assert.ok([5, 143].includes(status.exitCode), `exit code ${status.exitCode}`);
  await node.cri.runtime.removeContainer({ containerId });
  await node.cri.runtime.stopPodSandbox({ podSandboxId: sandboxId });
  await node.cri.runtime.removePodSandbox({ podSandboxId: sandboxId });
}

/** What an agent does after the runtime came back: everything but the bystander goes. */
async function removeOthers(): Promise<void> {
  for (const { id } of (await node.cri.runtime.listPodSandbox({})).items) {
    if (id === bystander.sandboxId) continue;
    for (const container of (await node.cri.runtime.listContainers({ filter: { podSandboxId: id } })).containers)
      await node.cri.runtime.removeContainer({ containerId: container.id });
    await node.cri.runtime.stopPodSandbox({ podSandboxId: id });
    await node.cri.runtime.removePodSandbox({ podSandboxId: id });
  }
}

async function assertOnlyBystander(): Promise<void> {
  for (const [directory, expected] of [
    ['root/sandboxes', [`${bystander.sandboxId}.json`]],
    ['root/containers', [bystander.containerId]],
    ['root/images/snapshots', [bystander.containerId]],
    ['run/sandboxes', [bystander.sandboxId]],
    ['run/containers', [bystander.containerId]],
  ] as const)
    assert.deepEqual(fs.readdirSync(path.join(node.dir, directory)), expected, directory);
  await poll(
    'one veth',
    async () => (await node.inNetwork(['ip', '-br', 'link'])).stdout.split('\n').filter((line) => line.includes('veth')).length === 1,
  );
  await poll(
    'one shim and one pause process',
    () => node.processes().filter((pid) => /^tskubelet-(shim|pause)/.test(titleOf(pid))).length === 2,
  );
}

/** argv of a process, "" when it has ended meanwhile. */
function titleOf(pid: number): string {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return '';
  }
}

/** Every number once, in order: nothing lost, nothing doubled. */
function assertLogWhole(): void {
  const lines = outputOf(path.join(node.logDir, 'bystander/main/0.log')).trimEnd().split('\n');
  for (const [i, line] of lines.entries()) if (line !== `line ${i + 1}`) assert.fail(`line ${i + 1} of the log is "${line}"`);
}

for (const [i, point] of faultPoints().entries())
  test(`kill -9 at "${point}"`, async () => {
    await node.stop('SIGKILL');
    await node.start('runtime', { env: { TSKUBELET_FAULT_POINT: point } });
    await node.cri.image.pullImage({ image: { image: BUSYBOX } });
    await assert.rejects(live(i), 'the daemon dies');
    await node.ended();
    await node.start('runtime');
    const status = await statusOf(node.cri, bystander.containerId);
    assert.equal(status.state, ContainerState.CONTAINER_RUNNING);
    assert.equal(await pidOf(node.cri, bystander.containerId), bystanderPid);
    await removeOthers();
    await live(i);
    await assertOnlyBystander();
    assertLogWhole();
  });

test('kill -9 while an image is made: the next pull makes it whole, and no part of the first is left', async () => {
  const image = { image: 'localhost/node:host' };
  for (const afterMs of [20, 80, 200]) {
    const pull = node.cri.image.pullImage({ image }).catch((error: unknown) => error);
    // The length of the pull is what is looked for here: no state tells how far it is.
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    await node.stop('SIGKILL');
    await pull;
    await node.start('runtime');
    assert.equal(await pidOf(node.cri, bystander.containerId), bystanderPid);
  }
  const { imageRef } = await node.cri.image.pullImage({ image });
  const { containerId, sandboxId } = await runContainer(node.cri, sandboxConfig('pulled', path.join(node.logDir, 'pulled')), {
    metadata: { name: 'main' },
    image,
    command: ['node', '-p', '6 * 7'],
  });
  assert.equal((await untilExited(node.cri, containerId)).exitCode, 0);
  assert.equal(outputOf(path.join(node.logDir, 'pulled/main/0.log')), '42\n');
  await node.cri.runtime.removePodSandbox({ podSandboxId: sandboxId });
  assert.equal((await node.cri.image.imageStatus({ image })).image?.id, imageRef);
  const left = fs
    .readdirSync(path.join(node.rootDir, 'images'), { recursive: true, encoding: 'utf8' })
    .filter((name) => /(^|\/)(ingest|tmp|staging)\/./.test(name));
  assert.deepEqual(left, []);
});

test('a container that ended while no daemon ran has its exit code and its last lines', async () => {
  const script = 'echo first; while [ ! -e /tmp/go ]; do usleep 10000; done; echo last; exit 42';
  const { containerId, sandboxId } = await runContainer(node.cri, sandboxConfig('late', path.join(node.logDir, 'late')), {
    metadata: { name: 'main' },
    command: ['sh', '-c', script],
  });
  const pid = await pidOf(node.cri, containerId);
  await node.stop('SIGKILL');
  fs.writeFileSync(`/proc/${pid}/root/tmp/go`, '');
  await poll('the container to end', () => !fs.existsSync(`/proc/${pid}`));
  await node.start('runtime');
  const status = await statusOf(node.cri, containerId);
  assert.deepEqual([status.state, status.exitCode, status.reason], [ContainerState.CONTAINER_EXITED, 42, 'Error']);
  assert.equal(outputOf(path.join(node.logDir, 'late/main/0.log')), 'first\nlast\n');
  await node.cri.runtime.removePodSandbox({ podSandboxId: sandboxId });
});
