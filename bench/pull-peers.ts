// containerd, podman, and skopeo with umoci as the contenders of a pull: each with its own directories on the same tmpfs.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { check } from '../e2e/testing/command.ts';
import { startContainerd } from '../e2e/testing/containerd.ts';
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

async function containerd(node: TestNode, image: string): Promise<Puller | undefined> {
  const version = versionOf('containerd');
  if (version === undefined) return undefined;
  const { cri, stop } = await startContainerd(node);
  return {
    name: 'containerd',
    version,
    pull: () => cri.image.pullImage({ image: { image } }, { timeoutMs: 300_000 }),
    clean: () => cri.image.removeImage({ image: { image } }),
    close: stop,
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
  const found = [await containerd(node, image), podman(node, image), umoci(node, image)];
  return found.filter((puller) => puller !== undefined);
}
