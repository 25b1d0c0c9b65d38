// Measures attaching a sandbox to a network, beyond making its namespace: our built-in network and our plugins in this process, side by
// side with Debian's bridge, host-local and portmap, run as a CNI client runs them. scripts/bench.sh gives it a network namespace.
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { performance } from 'node:perf_hooks';
import { promisify } from 'node:util';
import { type Network, openNetwork, type PortMapping } from '../cni/client.ts';
import { openNamespace } from '../cni/testing/host.ts';
import { renderSeries, type Sample } from './samples.ts';

const DEBIAN = '/usr/lib/cni';
const WARM_UP = 5;
/** Peers are forked from this process, which then pays for every page that it writes: so turns of several rounds, not of one. */
const TURN_ROUNDS = 10;

const rounds = Number(process.argv[2] ?? 50);
if (!Number.isInteger(rounds) || rounds < 1) throw new Error(`"${process.argv[2]}" is not a number of rounds`);

const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'bench-attach-'));
// As <run-dir> is.
const runDir = fs.mkdtempSync('/dev/shm/bench-attach-');
const execute = promisify(execFile);

interface Contender {
  readonly name: string;
  add(id: string, netns: { readonly fd: number; readonly path: string }, port: PortMapping): Promise<void>;
  del(id: string, netns: string, port: PortMapping): Promise<void>;
  close(): Promise<void>;
}

const list = (dataDir: string, bridge: string, subnet: string) => ({
  cniVersion: '1.0.0',
  name: bridge,
  plugins: [
    {
      type: 'bridge',
      bridge,
      isDefaultGateway: true,
      ipMasq: true,
      hairpinMode: true,
      ipam: { type: 'host-local', dataDir, ranges: [[{ subnet }]] },
    },
    { type: 'portmap', capabilities: { portMappings: true } },
  ],
});

function ofNetwork(name: string, network: Network): Contender {
  return {
    name,
    add: async (id, { fd, path: netnsPath }, port) => {
      await network.attach({ sandboxId: id, netnsFd: fd, netnsPath, portMappings: [port], namespace: 'bench', name: id });
    },
    del: (id) => network.detach(id),
    close: () => network.close({ remove: true }),
  };
}

const onNotice = (sentence: string) => console.log(`  ${sentence}`);

async function builtIn(): Promise<Contender> {
  return ofNetwork(
    'tskubelet',
    await openNetwork({
      runDir: path.join(runDir, 'own'),
      stateDir: path.join(dir, 'own'),
      suffix: '-b',
      podCidrs: ['10.70.0.0/16'],
      onNotice,
    }),
  );
}

async function configured(): Promise<Contender> {
  const confDir = path.join(dir, 'net.d');
  fs.mkdirSync(confDir);
  fs.writeFileSync(path.join(confDir, '10.conflist'), JSON.stringify(list(path.join(dir, 'leases'), 'benchlist', '10.71.0.0/16')));
  const network = await openNetwork({
    runDir: path.join(runDir, 'list'),
    stateDir: path.join(dir, 'list'),
    suffix: '-l',
    podCidrs: ['10.73.0.0/16'],
    confDir,
    onNotice,
  });
  return ofNetwork('tskubelet, the same list', network);
}

/** What libcni does: each plugin in its turn, with the result of the one before it. */
function debian(): Contender {
  const { plugins, ...network } = list(path.join(dir, 'peer-leases'), 'benchpeer', '10.72.0.0/16');
  const results = new Map<string, unknown>();
  const call = async (command: string, id: string, netns: string, plugin: (typeof plugins)[number], more: object) => {
    const env = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: id,
      CNI_NETNS: netns,
      CNI_IFNAME: 'eth0',
      CNI_PATH: DEBIAN,
      PATH: process.env.PATH ?? '',
    };
    const child = execute(path.join(DEBIAN, plugin.type), { env });
    child.child.stdin?.end(JSON.stringify({ ...network, ...plugin, ...more }));
    const { stdout } = await child;
    return stdout === '' ? undefined : (JSON.parse(stdout) as unknown);
  };
  const runtimeConfig = ({ hostPort, containerPort, protocol }: PortMapping) => ({ portMappings: [{ hostPort, containerPort, protocol }] });
  return {
    name: "Debian's plugins",
    add: async (id, netns, port) => {
      let prevResult: unknown;
      for (const plugin of plugins)
        prevResult = await call('ADD', id, netns.path, plugin, {
          ...(prevResult === undefined ? {} : { prevResult }),
          runtimeConfig: runtimeConfig(port),
        });
      results.set(id, prevResult);
    },
    del: async (id, netns, port) => {
      for (const plugin of plugins.toReversed())
        await call('DEL', id, netns, plugin, { prevResult: results.get(id), runtimeConfig: runtimeConfig(port) });
    },
    close: async () => undefined,
  };
}

const contenders = [await builtIn(), await configured(), ...(fs.existsSync(`${DEBIAN}/bridge`) ? [debian()] : [])];
const samples = new Map<string, Sample[]>(contenders.map(({ name }) => [name, []]));
console.log(`Linux ${os.release()}, ${os.cpus().length} CPUs, Node ${process.version}, ${rounds} rounds`);
if (contenders.length < 3) console.log('containernetworking-plugins is not installed: ours alone');
try {
  for (let first = -WARM_UP; first < rounds; first += TURN_ROUNDS)
    for (const [i, contender] of contenders.entries())
      for (let round = first; round < Math.min(first + TURN_ROUNDS, rounds); round++) {
        const id = `bench${i}x${round + WARM_UP}`;
        const { netnsFd } = openNamespace(id);
        const netns = { fd: netnsFd, path: `/proc/${process.pid}/fd/${netnsFd}` };
        const port: PortMapping = { protocol: 'tcp', hostPort: 20_000 + 1000 * i + round + WARM_UP, containerPort: 80 };
        const before = process.threadCpuUsage();
        const start = performance.now();
        await contender.add(id, netns, port);
        const wallMs = performance.now() - start;
        const { user, system } = process.threadCpuUsage(before);
        await contender.del(id, netns.path, port);
        fs.closeSync(netnsFd);
        if (round >= 0) samples.get(contender.name)?.push({ wallMs, mainThreadMs: (user + system) / 1000 });
      }
  console.log(
    renderSeries(
      'attach a sandbox: veth, bridge, address, route, masquerading, one hostPort',
      contenders.map(({ name }) => ({ name, samples: samples.get(name) ?? [] })),
    ),
  );
} finally {
  for (const contender of contenders) await contender.close();
  for (const one of [dir, runDir]) fs.rmSync(one, { recursive: true, force: true });
}
