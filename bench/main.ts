// Measures container start, exec and sandbox start of our process layer and of crun and runc, interleaved in one run, so that the load
// of the machine is the same for all. scripts/bench.sh prepares the mount namespace.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { performance } from 'node:perf_hooks';
import { createCgroup, procsFiles, removeCgroup } from '../runtime/cgroup/apply.ts';
import { detectCgroupHost } from '../runtime/cgroup/host.ts';
import { findHierarchies, parseMountInfo } from '../runtime/cgroup/mounts.ts';
import { planCgroup } from '../runtime/cgroup/plan.ts';
import { startExec } from '../runtime/process/exec.ts';
import { killPauseProcess, type PauseProcess, startPause } from '../runtime/process/pause.ts';
import { execSpec, finish, measureBlocked, pauseSpec, Rig, skipReason } from '../runtime/process/testing/rig.ts';
import { findPeers, type Peer, runPeer, runPeerDetached, writeBundle } from './peers.ts';
import { renderSeries, type Sample } from './samples.ts';

const rounds = Number(process.argv[2] ?? 50);
if (!Number.isInteger(rounds) || rounds < 1) throw new Error(`"${process.argv[2]}" is not a number of rounds`);
const reason = skipReason();
if (reason !== false) throw new Error(`bench: ${reason}`);

const WARM_UP = 3;
const memoryBytes = 64 * 1024 * 1024;
const quotaUs = 50_000;

interface Contender {
  readonly name: string;
  /** A number is how long its start call blocked the event loop. */
  run(round: number): Promise<unknown>;
  /** Undoes what is not measured. */
  after?(round: number): Promise<void>;
}

/**
 * The contenders take turns of so many rounds. Not one each: the peers are forked from this process, and after a fork every page that it
 * writes to is copied first, which our own starts, made inside it, would pay for. No daemon of ours forks.
 */
const TURN_ROUNDS = 10;

async function measure(title: string, contenders: readonly Contender[]): Promise<void> {
  const samples = new Map<string, Sample[]>(contenders.map(({ name }) => [name, []]));
  for (let first = -WARM_UP; first < rounds; first += TURN_ROUNDS)
    for (const contender of contenders)
      for (let round = first; round < Math.min(first + TURN_ROUNDS, rounds); round++) {
        const before = process.threadCpuUsage();
        const start = performance.now();
        const blockedMs = await contender.run(round);
        const wallMs = performance.now() - start;
        const { user, system } = process.threadCpuUsage(before);
        await contender.after?.(round);
        if (round >= 0)
          samples
            .get(contender.name)
            ?.push({ wallMs, mainThreadMs: (user + system) / 1000, ...(typeof blockedMs === 'number' ? { blockedMs } : {}) });
      }
  console.log(
    renderSeries(
      title,
      contenders.map(({ name }) => ({ name, samples: samples.get(name) ?? [] })),
    ),
  );
}

/** Proportional set size of a process in kB (proc_pid_smaps_rollup(5)). */
function pssOf(pid: number): number {
  return Number(/^Pss:\s+(\d+) kB$/m.exec(fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? Number.NaN);
}

const host = detectCgroupHost();
const base = `/tsk-bench-${process.pid}`;
const peers = findPeers();
const rig = new Rig();
const rootfs = path.join(rig.dir, 'peer-rootfs');
const states = path.join(rig.dir, 'peer-state');
for (const name of ['upper', 'work']) fs.mkdirSync(path.join(rig.dir, 'peer', name), { recursive: true });
for (const directory of [rootfs, states]) fs.mkdirSync(directory);
const layers = `lowerdir=${rig.image},upperdir=${rig.dir}/peer/upper,workdir=${rig.dir}/peer/work`;
execFileSync('mount', ['-t', 'overlay', '-o', layers, 'overlay', rootfs]);

function bundle(name: string, options: Omit<Parameters<typeof writeBundle>[1], 'rootfs' | 'cgroup'>): string {
  const directory = path.join(rig.dir, 'bundles', name);
  fs.mkdirSync(directory, { recursive: true });
  writeBundle(directory, { ...options, rootfs, cgroup: `${base}/${name}` });
  return directory;
}

const flags = (peer: Peer) => ['--root', path.join(states, peer.name)];

try {
  console.log(`Linux ${os.release()}, ${os.cpus().length} CPUs, Node ${process.version}, cgroups ${host.mode}, ${rounds} rounds`);
  console.log(peers.map(({ name, version }) => `${name} ${version}`).join(', ') || 'neither crun nor runc is installed: ours alone');
  console.log('Ours mounts an overlay per container; the peers get theirs mounted beforehand. No seccomp filter anywhere.\n');
  const pause = await rig.pause();

  const ours = async (spec: ReturnType<Rig['spec']>) => {
    const started = await rig.start(spec, pause);
    const ran = await finish(started);
    if (ran.exit?.code !== 0) throw new Error(`container ended with ${JSON.stringify(ran.exit?.code)}: ${ran.stderr}`);
    return started.blockedMs;
  };
  await measure('container: start, true, end', [
    { name: 'tskubelet', run: () => ours(rig.spec(['true'])) },
    ...peers.map((peer) => {
      const directory = bundle(`start-${peer.name}`, { args: ['true'], pausePid: pause.pid });
      // Only crun can do without a cgroup, as ours does here.
      const manager = peer.name === 'crun' ? ['--cgroup-manager=disabled'] : [];
      return {
        name: peer.name,
        run: (round: number) =>
          runPeer(peer, [...flags(peer), ...manager, 'run', '--bundle', directory, `start-${peer.name}-${round + WARM_UP}`]),
      };
    }),
  ]);

  if (host.writable) {
    const limits = { memoryBytes, quotaUs };
    const plan = planCgroup({ memoryLimitBytes: BigInt(memoryBytes), cpuQuotaUs: BigInt(quotaUs) }, host);
    await measure('container with cgroup limits: start, true, end, cgroup removed', [
      {
        name: 'tskubelet',
        run: async (round) => {
          const cgroup = await createCgroup(host, `${base}/ours-${round + WARM_UP}`, plan);
          const blockedMs = await ours(rig.spec(['true'], { cgroup: procsFiles(cgroup) }));
          await removeCgroup(cgroup);
          return blockedMs;
        },
      },
      ...peers.map((peer) => {
        const directory = bundle(`limits-${peer.name}`, { args: ['true'], pausePid: pause.pid, limits });
        const manager = peer.name === 'crun' ? ['--cgroup-manager=cgroupfs'] : [];
        return {
          name: peer.name,
          run: (round: number) =>
            runPeer(peer, [...flags(peer), ...manager, 'run', '--bundle', directory, `limits-${peer.name}-${round + WARM_UP}`]),
        };
      }),
    ]);
  }

  const sleeper = await rig.start(rig.spec(['sleep', '100000']), pause);
  for (const peer of peers) {
    const directory = bundle(`exec-${peer.name}`, { args: ['sleep', '100000'], pausePid: pause.pid });
    await runPeerDetached(peer, [...flags(peer), 'run', '--detach', '--bundle', directory, `exec-${peer.name}`]);
  }
  await measure('exec: start, true, end', [
    {
      name: 'tskubelet',
      run: async () => {
        const { initPid, initPidfd } = sleeper.container;
        const { result: session, blockedMs } = await measureBlocked(() => startExec(execSpec(['true']), { initPid, initPidfd }));
        for (const stream of [session.stdout, session.stderr]) stream?.resume();
        const exit = await session.exited;
        if (exit?.code !== 0) throw new Error(`exec ended with ${exit?.code}`);
        return blockedMs;
      },
    },
    ...peers.map((peer) => ({
      name: peer.name,
      run: () => runPeer(peer, [...flags(peer), 'exec', `exec-${peer.name}`, 'true']),
    })),
  ]);

  let started: PauseProcess;
  await measure('sandbox: new net, ipc, uts namespaces and a process in them', [
    {
      name: 'tskubelet',
      run: async () => {
        const options = { events: rig.events, recordId: rig.nextId(), name: 'bench' };
        const { result, blockedMs } = await measureBlocked(() => startPause(pauseSpec(), options));
        started = result;
        return blockedMs;
      },
      after: async () => {
        await killPauseProcess(started.pid);
        await started.ended;
      },
    },
    ...peers.map((peer) => {
      const directory = bundle(`sandbox-${peer.name}`, { args: ['sleep', '100000'] });
      const manager = peer.name === 'crun' ? ['--cgroup-manager=disabled'] : [];
      const id = (round: number) => `sandbox-${peer.name}-${round + WARM_UP}`;
      return {
        name: peer.name,
        run: (round: number) => runPeerDetached(peer, [...flags(peer), ...manager, 'run', '--detach', '--bundle', directory, id(round)]),
        after: (round: number) => runPeer(peer, [...flags(peer), 'delete', '--force', id(round)]),
      };
    }),
  ]);

  console.log(`memory, PSS: pause ${pssOf(pause.pid)} kB, shim ${pssOf(sleeper.container.shimPid)} kB`);
} finally {
  for (const peer of peers) await runPeer(peer, [...flags(peer), 'delete', '--force', `exec-${peer.name}`]).catch(() => {});
  await rig.close().catch(() => {});
  execFileSync('umount', ['-l', rootfs]);
  // The peers make cgroups in every hierarchy, named ones included.
  for (const { mountpoint } of findHierarchies(parseMountInfo(fs.readFileSync('/proc/self/mountinfo', 'utf8')))) {
    const directory = path.join(mountpoint, base);
    if (fs.existsSync(directory)) execFileSync('find', [directory, '-depth', '-type', 'd', '-exec', 'rmdir', '{}', ';']);
  }
  fs.rmSync(rig.dir, { recursive: true, force: true });
}
