// Measures what goes through the pod network by iperf3: pod to pod and pod to machine, in turns with veth pairs on a bridge that are made
// by hand in a namespace without any rule. In one run, so that the load of the machine is the same for both.
import { type ChildProcess, spawn } from 'node:child_process';
import os from 'node:os';
import path from 'node:path';
import { check, run } from '../e2e/testing/command.ts';
import { sandboxConfig } from '../e2e/testing/cri.ts';
import { poll } from '../e2e/testing/poll.ts';
import { TestNode } from '../e2e/testing/test-node.ts';
import { renderRange } from './samples.ts';

const rounds = Number(process.argv[2] ?? 15);
if (!Number.isInteger(rounds) || rounds < 1) throw new Error(`"${process.argv[2]}" is not a number of rounds`);
const SECONDS = 1;
const PORT = 5201;

interface Network {
  readonly name: string;
  /** What nsenter(1) enters: two pods, and the machine that they are connected to. */
  readonly client: string;
  readonly server: string;
  readonly machine: string;
  readonly serverIp: string;
  readonly machineIp: string;
}

const node = await TestNode.create();
const hand = `${node.netns}-h`;
const servers: ChildProcess[] = [];

async function makeOurs(): Promise<Network> {
  await node.start('runtime', { flags: ['--pod-cidr', '10.244.0.0/24'] });
  const pods = await Promise.all(
    ['client', 'server'].map(async (name) => {
      const config = sandboxConfig(name, path.join(node.logDir, name));
      const { podSandboxId } = await node.cri.runtime.runPodSandbox({ config });
      const { status, info } = await node.cri.runtime.podSandboxStatus({ podSandboxId, verbose: true });
      const { pid } = JSON.parse(info.info ?? '{}') as { pid: number };
      return { netns: `/proc/${pid}/ns/net`, ip: status?.network?.ip ?? '' };
    }),
  );
  const [client, server] = pods as [(typeof pods)[0], (typeof pods)[0]];
  const machine = `/run/netns/${node.netns}`;
  return { name: 'tskubelet', client: client.netns, server: server.netns, machine, serverIp: server.ip, machineIp: '10.244.0.1' };
}

async function makeByHand(): Promise<Network> {
  const ip = (...args: readonly string[]) => check('ip', args);
  await ip('netns', 'add', hand);
  await ip('-n', hand, 'link', 'set', 'lo', 'up');
  await ip('-n', hand, 'link', 'add', 'br0', 'type', 'bridge');
  await ip('-n', hand, 'addr', 'add', '10.9.0.1/24', 'dev', 'br0');
  await ip('-n', hand, 'link', 'set', 'br0', 'up');
  for (const [i, end] of ['client', 'server'].entries()) {
    const netns = `${hand}-${end}`;
    await ip('netns', 'add', netns);
    await ip('-n', netns, 'link', 'set', 'lo', 'up');
    await ip('-n', hand, 'link', 'add', end, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns);
    await ip('-n', hand, 'link', 'set', end, 'master', 'br0', 'up');
    await ip('-n', netns, 'addr', 'add', `10.9.0.${i + 2}/24`, 'dev', 'eth0');
    await ip('-n', netns, 'link', 'set', 'eth0', 'up');
  }
  const at = (name: string) => `/run/netns/${name}`;
  const ends = { client: at(`${hand}-client`), server: at(`${hand}-server`), machine: at(hand) };
  return { name: 'by hand', ...ends, serverIp: '10.9.0.3', machineIp: '10.9.0.1' };
}

async function serve({ client }: Network, netns: string, ip: string): Promise<void> {
  servers.push(spawn('nsenter', [`--net=${netns}`, 'iperf3', '-s', '-p', String(PORT)], { stdio: 'ignore' }));
  await poll(`iperf3 at ${ip}`, async () => (await measure(client, ip, 0.1)) > 0);
}

/** Gbit/s as the receiver counts them. */
async function measure(netns: string, ip: string, seconds = SECONDS): Promise<number> {
  const args = ['-c', ip, '-p', String(PORT), '-t', String(Math.ceil(seconds)), '-J'];
  const { stdout } = await run('nsenter', [`--net=${netns}`, 'iperf3', ...args]);
  const { end } = JSON.parse(stdout) as { end: { sum_received?: { bits_per_second: number } } };
  if (end.sum_received === undefined) throw new Error(stdout);
  return end.sum_received.bits_per_second / 1e9;
}

try {
  const networks = [await makeOurs(), await makeByHand()];
  for (const network of networks) {
    await serve(network, network.server, network.serverIp);
    await serve(network, network.machine, network.machineIp);
  }
  console.log(`Linux ${os.release()}, ${os.cpus().length} CPUs, ${rounds} rounds of ${SECONDS} s, iperf3 with one TCP stream`);
  for (const [title, ipOf] of [
    ['pod to pod', ({ serverIp }: Network) => serverIp],
    ['pod to machine', ({ machineIp }: Network) => machineIp],
  ] as const) {
    const samples = new Map<string, number[]>(networks.map(({ name }) => [name, []]));
    // Each goes first as often as last.
    for (let round = 0; round < rounds; round++)
      for (const network of round % 2 === 0 ? networks : networks.toReversed())
        samples.get(network.name)?.push(await measure(network.client, ipOf(network)));
    const [ours = [], byHand = []] = [...samples.values()];
    console.log(`${title}, Gbit/s, median (min–max): tskubelet ${renderRange(ours)}, by hand ${renderRange(byHand)}`);
    // Of each round by itself: the load of the machine changes from one to the next.
    const ratios = ours.map((value, round) => (value / (byHand[round] ?? Number.NaN)) * 100);
    console.log(`  of what is made by hand, % of each round: ${renderRange(ratios)}`);
  }
} finally {
  for (const server of servers) server.kill('SIGKILL');
  for (const end of ['-client', '-server', '']) await run('ip', ['netns', 'del', `${hand}${end}`]);
  await node.destroy();
}
