// Owns Debian's containerd in a test node's network namespace, as another CRI runtime beside ours: its directories are the node's, its
// mounts are its own, its pods' cgroups are below the node's.
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
  readonly socket: string;
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

/** `cri`: lines of its CRI plugin's configuration. */
export async function startContainerd(node: TestNode, cri = ''): Promise<Containerd> {
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
  restrict_oom_score_adj = true
${cri}`,
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
    'warn',
  ]);
  const daemon: ChildProcess = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  daemon.stderr?.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  const client = connectCri(socket);
  await poll('containerd to answer', () => client.runtime.version({}, { timeoutMs: 1000 }), 30_000);
  return {
    cri: client,
    socket,
    log: () => log,
    stop: async () => {
      client.close();
      daemon.kill('SIGTERM');
      await poll('containerd to end', () => daemon.exitCode !== null || daemon.signalCode !== null, 10_000);
    },
  };
}

/** With networks of these CNI directories, and an image for its pause containers. */
export async function startContainerdWithCni(
  node: TestNode,
  { confDir, binDir }: { confDir: string; binDir: string },
): Promise<Containerd> {
  const cni = `  sandbox_image = "${PAUSE}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${binDir}"
    conf_dir = "${confDir}"
`;
  const containerd = await startContainerd(node, cni);
  const archive = writePauseArchive(path.join(node.dir, 'containerd'));
  await check('ctr', ['--address', containerd.socket, '--namespace', 'k8s.io', 'images', 'import', archive]);
  return containerd;
}
