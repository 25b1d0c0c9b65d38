// A real Prometheus scrapes the node and answers from what it scraped.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { run } from './testing/command.ts';
import { BUSYBOX } from './testing/cri.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

const available = (await run('sh', ['-c', 'command -v prometheus'])).code === 0;
const skip = available ? false : 'prometheus is not installed';

let node: TestNode;
before(async () => {
  if (!available) return;
  node = await TestNode.create();
  await node.start('node', { flags: ['--read-only-port', '10255'] });
});
after(() => node?.destroy());

interface Answer {
  readonly data: { readonly result: readonly { readonly metric: Record<string, string>; readonly value: [number, string] }[] };
}

test('Prometheus finds the node up, and its pods and containers counted', { skip }, async () => {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'counted' },
    spec: { terminationGracePeriodSeconds: 0, containers: [{ name: 'main', image: BUSYBOX, command: ['sleep', '1000'] }] },
  };
  node.addManifest('counted.json', JSON.stringify(pod));
  const config = path.join(node.dir, 'prometheus.yaml');
  // The README's configuration, scraped more often.
  fs.writeFileSync(
    config,
    "scrape_configs:\n  - job_name: tskubelet\n    scrape_interval: 500ms\n    scrape_timeout: 500ms\n    static_configs:\n      - targets: ['127.0.0.1:10255']\n",
  );
  const args = [
    `--net=/run/netns/${node.netns}`,
    'prometheus',
    `--config.file=${config}`,
    `--storage.tsdb.path=${path.join(node.dir, 'tsdb')}`,
    '--web.listen-address=127.0.0.1:9090',
  ];
  const prometheus = spawn('nsenter', args, { stdio: 'ignore' });
  try {
    const ask = async (query: string) => {
      const url = `http://127.0.0.1:9090/api/v1/query?query=${encodeURIComponent(query)}`;
      const script = `fetch(${JSON.stringify(url)}).then((r) => r.text()).then((t) => process.stdout.write(t))`;
      const { stdout } = await node.inNetwork([process.execPath, '-e', script]);
      return (JSON.parse(stdout) as Answer).data.result[0]?.value[1];
    };
    await poll('the target to be up', async () => (await ask('up{job="tskubelet"}')) === '1');
    await poll('the pod to be counted', async () => (await ask('kubelet_running_pods')) === '1');
    await poll('the container to be counted', async () => (await ask('kubelet_running_containers{container_state="running"}')) === '1');
    // A scrape that comes too late on a busy machine ends all series until the next.
    await poll('the calls to be counted', async () => Number(await ask('sum(kubelet_runtime_operations_total)')) > 0);
    await poll('the memory', async () => Number(await ask('process_resident_memory_bytes{job="tskubelet"}')) > 1e6);
  } finally {
    prometheus.kill('SIGKILL');
  }
});
