// Measures pull and unpack of an image of 300 MB from a registry on the loopback of a network namespace, cold, in turns with containerd,
// podman and skopeo with umoci. All roots are on a tmpfs, so that a disk's journal does not drown the difference.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { performance } from 'node:perf_hooks';
import { check } from '../e2e/testing/command.ts';
import { poll } from '../e2e/testing/poll.ts';
import { TestNode } from '../e2e/testing/test-node.ts';
import { writeBenchImage } from './image.ts';
import type { LoopDelay } from './loop-delay.ts';
import { findPullers, type Puller } from './pull-peers.ts';
import { median, renderRange } from './samples.ts';

const REGISTRY = '127.0.0.1:5000';
const IMAGE = `${REGISTRY}/bench/image:1`;
const rounds = Number(process.argv[2] ?? 5);
if (!Number.isInteger(rounds) || rounds < 1) throw new Error(`"${process.argv[2]}" is not a number of rounds`);

const node = await TestNode.create();
let registry: ChildProcess | undefined;
const pullers: Puller[] = [];

function startRegistry(): ChildProcess {
  const config = path.join(node.dir, 'registry.yml');
  const storage = `storage: {filesystem: {rootdirectory: ${path.join(node.dir, 'registry')}}}`;
  fs.writeFileSync(config, `version: 0.1\nlog: {level: error}\n${storage}\nhttp: {addr: "${REGISTRY}"}\n`);
  return spawn(...node.inside(['docker-registry', 'serve', config]), { stdio: 'ignore' });
}

const loopFile = path.join(node.dir, 'loop.json');
const delays: LoopDelay[] = [];

/** How late the daemon's event loop was since the last call. */
async function readLoopDelay(): Promise<LoopDelay> {
  fs.rmSync(loopFile, { force: true });
  process.kill(daemonPid(), 'SIGUSR2');
  await poll('the histogram', () => fs.existsSync(loopFile));
  return JSON.parse(fs.readFileSync(loopFile, 'utf8')) as LoopDelay;
}

/** nsenter and the launcher have become the daemon. */
const daemonPid = (): number => node.daemon?.pid ?? 0;

async function startOurs(): Promise<Puller> {
  const loader = path.join(import.meta.dirname, 'loop-delay.ts');
  await node.start('runtime', { env: { NODE_OPTIONS: `--import=${loader}`, TSK_BENCH_LOOP: loopFile } });
  return {
    name: 'tskubelet',
    version: 'of this tree',
    pull: () => node.cri.image.pullImage({ image: { image: IMAGE } }, { timeoutMs: 300_000 }),
    clean: () => node.cri.image.removeImage({ image: { image: IMAGE } }),
    close: async () => {},
  };
}

try {
  console.log(`Linux ${os.release()}, ${os.cpus().length} CPUs, Node ${process.version}, ${rounds} rounds`);
  const layout = path.join(node.dir, 'layout');
  const { packedBytes, unpackedBytes, files } = await writeBenchImage(layout);
  const mb = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
  console.log(`image: 4 layers, ${files} files, ${mb(packedBytes)} packed, ${mb(unpackedBytes)} unpacked; everything on a tmpfs`);
  registry = startRegistry();
  const push = ['skopeo', 'copy', '--quiet', '--dest-tls-verify=false', `oci:${layout}:bench`, `docker://${IMAGE}`];
  await poll('the registry to take the image', () => check(...node.inside(push)), 60_000);
  await fs.promises.rm(layout, { recursive: true });
  pullers.push(await startOurs(), ...(await findPullers(node, IMAGE)));
  console.log(`${pullers.map(({ name, version }) => `${name} ${version}`).join(', ')}\n`);

  const seconds = new Map<string, number[]>(pullers.map(({ name }) => [name, []]));
  // The first round warms programs and page cache up.
  for (let round = -1; round < rounds; round++)
    for (const puller of pullers) {
      const isOurs = puller === pullers[0];
      if (isOurs) await readLoopDelay();
      const start = performance.now();
      await puller.pull();
      const wall = (performance.now() - start) / 1000;
      if (isOurs && round >= 0) delays.push(await readLoopDelay());
      if (round >= 0) seconds.get(puller.name)?.push(wall);
      await puller.clean();
    }

  const ours = median(seconds.get('tskubelet') ?? []);
  const rows = [
    ['pull and unpack, cold', 's, median (min–max)', 'ratio'],
    ...[...seconds].map(([name, values]) => [name, renderRange(values), `${(median(values) / ours).toFixed(1)}×`]),
  ];
  for (const [name = '', range = '', ratio = ''] of rows) console.log(`${name.padEnd(24)}${range.padEnd(24)}${ratio}`);

  console.log("\nour daemon's event loop meanwhile: how late it was, in ms, each pull by itself");
  for (const { samples, p50, p90, p99, max, maxCpu } of delays)
    console.log(
      `  p50 ${p50.toFixed(1)}  p90 ${p90.toFixed(1)}  p99 ${p99.toFixed(1)}  max ${max.toFixed(1)}  (${samples} samples; longest turn by CPU time ${maxCpu.toFixed(1)})`,
    );
} finally {
  for (const puller of pullers) await puller.close().catch(() => {});
  if (registry !== undefined) {
    const ended = once(registry, 'exit');
    registry.kill();
    await ended;
  }
  await node.destroy();
}
