// containerd, podman, and skopeo with umoci as the contenders of a pull: each with its own directories on the same tmpfs.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { type CriClient, connectCri } from '../cri-proto/client.ts';
import { check } from '../e2e/testing/command.ts';
import { poll } from '../e2e/testing/poll.ts';
import type { TestNode } from '../e2e/testing/test-node.ts';

export interface Puller {
  readonly name: string;
  readonly version: string;
  /** Pulls and unpacks the image, which is not there. */
  pull(): Promise<unknown>;
  /** Removes what the pull brought. */
  clean(): Promise<unknown>;
  close(): Promise<unknown>;
}

function versionOf(program: string): string | undefined {
  try {
    const text = execFileSync(program, ['--version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    return /\d+\.\d+[\w.+~-]*/.exec(text)?.[0] ?? 'of unknown version';
  } catch {
    return undefined;
  }
}

const remove = (...directories: string[]) => Promise.all(directories.map((dir) => fs.promises.rm(dir, { recursive: true, force: true })));

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill();
  await ended;
}

async function startContainerd(node: TestNode, image: string): Promise<Puller | undefined> {
  const version = versionOf('containerd');
  if (version === undefined) return undefined;
  const dir = path.join(node.dir, 'containerd');
  fs.mkdirSync(dir, { recursive: true });
  const socket = path.join(dir, 'containerd.sock');
  const config = path.join(dir, 'config.toml');
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
`,
  );
  const [command, args] = node.inside(['containerd', '--config', config, '--log-level', 'error']);
  const daemon = spawn(command, args, { stdio: 'ignore' });
  const client: CriClient = connectCri(socket);
  await poll('containerd to answer', () => client.image.listImages({}, { timeoutMs: 1000 }), 30_000);
  return {
    name: 'containerd',
    version,
    pull: () => client.image.pullImage({ image: { image } }, { timeoutMs: 300_000 }),
    clean: () => client.image.removeImage({ image: { image } }),
    close: async () => {
      client.close();
      await stop(daemon);
    },
  };
}

function podman(node: TestNode, image: string): Puller | undefined {
  const version = versionOf('podman');
  if (version === undefined) return undefined;
  const dir = path.join(node.dir, 'podman');
  const flags = ['--root', `${dir}/root`, '--runroot', `${dir}/run`, '--storage-driver', 'overlay'];
  return {
    name: 'podman',
    version,
    pull: () => check(...node.inside(['podman', ...flags, 'pull', '--quiet', '--tls-verify=false', image])),
    clean: () => check(...node.inside(['podman', ...flags, 'rmi', '--force', image])),
    close: () => remove(dir),
  };
}

function umoci(node: TestNode, image: string): Puller | undefined {
  const [skopeoVersion, version] = [versionOf('skopeo'), versionOf('umoci')];
  if (skopeoVersion === undefined || version === undefined) return undefined;
  const dir = path.join(node.dir, 'umoci');
  return {
    name: 'skopeo + umoci',
    version: `${skopeoVersion} + ${version}`,
    pull: async () => {
      fs.mkdirSync(dir, { recursive: true });
      await check(...node.inside(['skopeo', 'copy', '--quiet', '--src-tls-verify=false', `docker://${image}`, `oci:${dir}/image:bench`]));
      await check('umoci', ['unpack', '--image', `${dir}/image:bench`, `${dir}/bundle`]);
    },
    clean: () => remove(dir),
    close: () => remove(dir),
  };
}

/** The peers that this machine has. */
export async function findPullers(node: TestNode, image: string): Promise<Puller[]> {
  const found = [await startContainerd(node, image), podman(node, image), umoci(node, image)];
  return found.filter((puller) => puller !== undefined);
}
