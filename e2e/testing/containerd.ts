// Owns Debian's containerd in a test node's network namespace, as a CRI runtime that calls CNI plugins: its directories are the node's,
// its mounts are its own, its pods' cgroups are below the node's.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { type CriClient, connectCri } from '../../cri-proto/client.ts';
import { check } from './command.ts';
import { poll } from './poll.ts';
import type { TestNode } from './test-node.ts';

const PAUSE = 'localhost/pause:test';

export interface Containerd {
  readonly cri: CriClient;
  log(): string;
  stop(): Promise<void>;
}

const digestOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** What `docker save` would write of an image whose program only waits. */
function writePauseArchive(directory: string): string {
  const stage = path.join(directory, 'pause');
  const rootfs = path.join(stage, 'rootfs');
  fs.mkdirSync(rootfs, { recursive: true });
  fs.copyFileSync('/bin/busybox', path.join(rootfs, 'busybox'));
  execFileSync('tar', ['-C', rootfs, '-cf', path.join(stage, 'layer.tar'), '.']);
  const layer = fs.readFileSync(path.join(stage, 'layer.tar'));
  const config = Buffer.from(
    JSON.stringify({
      architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
      os: 'linux',
      config: { Entrypoint: ['/busybox', 'sleep', '100000'] },
      rootfs: { type: 'layers', diff_ids: [`sha256:${digestOf(layer)}`] },
    }),
  );
  const name = `${digestOf(config)}.json`;
  fs.writeFileSync(path.join(stage, name), config);
  fs.writeFileSync(path.join(stage, 'manifest.json'), JSON.stringify([{ Config: name, RepoTags: [PAUSE], Layers: ['layer.tar'] }]));
  const archive = path.join(directory, 'pause.tar');
  execFileSync('tar', ['-C', stage, '-cf', archive, 'manifest.json', name, 'layer.tar']);
  return archive;
}

export async function startContainerd(node: TestNode, { confDir, binDir }: { confDir: string; binDir: string }): Promise<Containerd> {
  const dir = path.join(node.dir, 'containerd');
  fs.mkdirSync(dir, { recursive: true });
  const socket = path.join(dir, 'containerd.sock');
  const config = path.join(dir, 'config.toml');
  // No daemon may lower its oom_score_adj everywhere that tests run.
  fs.writeFileSync(
    config,
    `version = 2
root = "${dir}/root"
state = "${dir}/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "${socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${binDir}"
    conf_dir = "${confDir}"
`,
  );
  const [command, args] = node.inside([
    'unshare',
    '--mount',
    '--propagation',
    'private',
    'containerd',
    '--config',
    config,
    '--log-level',
    'info',
  ]);
  const daemon: ChildProcess = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  daemon.stderr?.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  const cri = connectCri(socket);
  await poll('containerd to answer', () => cri.runtime.version({}, { timeoutMs: 1000 }), 30_000);
  await check('ctr', ['--address', socket, '--namespace', 'k8s.io', 'images', 'import', writePauseArchive(dir)]);
  return {
    cri,
    log: () => log,
    stop: async () => {
      cri.close();
      daemon.kill('SIGTERM');
      await poll('containerd to end', () => daemon.exitCode !== null || daemon.signalCode !== null, 10_000);
    },
  };
}
