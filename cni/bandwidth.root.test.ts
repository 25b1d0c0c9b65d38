// Limits of bandwidth as iperf3 sees them.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cleanup, hostTest, missing, poll, run, startPeer } from './testing/host.ts';
import { open } from './testing/network.ts';

/** Bits per second that arrived, of payload: a full frame of 1514 bytes carries 1448. */
function measure(options: string): number {
  const { end } = JSON.parse(run(`iperf3 -J -c 10.244.0.2 ${options}`)) as { end: { sum_received: { bits_per_second: number } } };
  return (end.sum_received.bits_per_second * 1514) / 1448;
}

const near = (measured: number, wanted: number) =>
  assert.ok(Math.abs(measured / wanted - 1) < 0.1, `${(measured / 1e6).toFixed(1)} Mbit/s instead of ${wanted / 1e6}`);

hostTest(
  'limits of bandwidth hold both ways within a tenth, and go with the sandbox',
  import.meta.url,
  async () => {
    const { network } = await open();
    const pod = await startPeer('pod');
    const { netnsFd, netnsPath, name } = pod;
    const request = { sandboxId: 'pod', netnsFd, netnsPath, portMappings: [], namespace: 'default', name };
    await network.attach({ ...request, bandwidth: { ingressRate: 80e6, egressRate: 40e6 } });
    const server = spawn('nsenter', [`--net=${netnsPath}`, 'iperf3', '-s'], { stdio: 'ignore' });
    cleanup(() => server.kill('SIGKILL'));
    await poll('iperf3 to listen', () => pod.run('ss -ltn').includes(':5201'));
    near(measure('-t 3 -O 1'), 80e6);
    near(measure('-t 3 -O 1 -R'), 40e6);
    await network.detach('pod');
    assert.doesNotMatch(run('ip -o link; tc qdisc'), /ifb|tbf|veth/);
  },
  missing('iperf3', 'ss', 'tc'),
);
