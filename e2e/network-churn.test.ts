// A hundred sandboxes come and go at once while the daemon is killed at random moments: nothing of them may stay behind.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { PodSandboxState, Protocol } from '../cri-proto/gen/api.ts';
import { check } from './testing/command.ts';
import { sandboxConfig } from './testing/cri.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

const SANDBOXES = 100;
const KILLS = 4;
const skip = process.getuid?.() === 0 ? false : 'needs root';

let node: TestNode;
before(async () => {
  if (skip) return;
  node = await TestNode.create({ flags: ['--pod-cidr', '10.244.0.0/24,fd00:244::/64'] });
  await node.start('runtime');
});
after(() => node?.destroy());

/** Everything that sandboxes have on the machine: links, addresses of the bridge, elements of the table, leases, records, namespaces. */
async function footprint(): Promise<string> {
  const state = path.join(node.runDir, 'network');
  const files = fs.readdirSync(state, { recursive: true, encoding: 'utf8' }).filter((name) => fs.statSync(path.join(state, name)).isFile());
  const links = await check('ip', ['-n', node.netns, '-o', 'link']);
  const names = links.split('\n').map((line) => line.split(': ')[1]?.split('@')[0] ?? '');
  const { stdout: table } = await node.inNetwork(['nft', '-s', 'list', 'ruleset']);
  const pauses = node.processes().filter((pid) => commOf(pid) === 'tskubelet-pause');
  return [...names, table, ...files.sort(), `${pauses.length} network namespaces`, `${node.mounts().length} mounts`].join('\n');
}

function commOf(pid: number): string {
  try {
    return fs.readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}

/** Runs the sandbox, and mostly stops and removes it again; calls that the daemon's death cuts off are nobody's loss. */
async function comeAndGo(number: number): Promise<void> {
  const { runtime } = node.cri;
  const portMappings = [{ containerPort: 80, hostPort: 20_000 + number, protocol: number % 2 === 0 ? Protocol.TCP : Protocol.UDP }];
  const config = sandboxConfig(`churn-${number}`, path.join(node.logDir, `churn-${number}`), { portMappings });
  const { podSandboxId } = await runtime.runPodSandbox({ config }, { timeoutMs: 120_000 });
  if (number % 4 === 0) return;
  await runtime.stopPodSandbox({ podSandboxId });
  if (number % 4 !== 1) await runtime.removePodSandbox({ podSandboxId });
}

/** As the client of a daemon does that was cut off: what is listed is ended. */
async function endAll(): Promise<void> {
  const { runtime } = node.cri;
  const { items } = await runtime.listPodSandbox({});
  await Promise.all(
    items.map(async ({ id }) => {
      await runtime.stopPodSandbox({ podSandboxId: id }, { timeoutMs: 120_000 });
      await runtime.removePodSandbox({ podSandboxId: id }, { timeoutMs: 120_000 });
    }),
  );
}

test(`${SANDBOXES} sandboxes that come and go at once, with the daemon killed ${KILLS} times, leave nothing`, {
  skip,
  timeout: 300_000,
}, async (t) => {
  const before = await footprint();
  const nothingLeft = () =>
    poll(
      'nothing to be left',
      async () => {
        const now = await footprint();
        if (now !== before) throw new Error(describeDifference(before, now));
        return true;
      },
      60_000,
    );
  // Undisturbed, each goes through, and has its own addresses and hostPort.
  const startedMs = performance.now();
  await Promise.all(Array.from({ length: SANDBOXES }, (_, number) => comeAndGo(number)));
  const wholeMs = performance.now() - startedMs;
  const { items: ready } = await node.cri.runtime.listPodSandbox({ filter: { state: { state: PodSandboxState.SANDBOX_READY } } });
  assert.equal(ready.length, SANDBOXES / 4);
  const statuses = await Promise.all(ready.map(({ id }) => node.cri.runtime.podSandboxStatus({ podSandboxId: id })));
  const ips = statuses.flatMap(({ status }) => [status?.network?.ip, ...(status?.network?.additionalIps ?? []).map(({ ip }) => ip)]);
  assert.equal(new Set(ips).size, (SANDBOXES / 4) * 2);
  await endAll();
  await nothingLeft();
  for (let kill = 0; kill < KILLS; kill++) {
    const outcomes = Promise.allSettled(Array.from({ length: SANDBOXES }, (_, number) => comeAndGo(number)));
    // A moment of each quarter: from the first record to the last that is taken back.
    const afterMs = ((kill + Math.random()) / KILLS) * wholeMs;
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    await node.stop('SIGKILL');
    const cutOff = (await outcomes).filter(({ status }) => status === 'rejected').length;
    await node.start('runtime');
    const { items } = await node.cri.runtime.listPodSandbox({});
    t.diagnostic(
      `killed after ${afterMs.toFixed(0)} of ${wholeMs.toFixed(0)} ms: ${cutOff} calls cut off, ${items.length} sandboxes found`,
    );
    await endAll();
    await nothingLeft();
  }
});

function describeDifference(before: string, now: string): string {
  const [was, is] = [new Set(before.split('\n')), new Set(now.split('\n'))];
  const more = [...is].filter((line) => !was.has(line));
  const less = [...was].filter((line) => !is.has(line));
  return `too much: ${more.join(', ')}; too little: ${less.join(', ')}`;
}
