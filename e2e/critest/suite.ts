// Owns running critest against a `tskubelet runtime` of its own: a registry with its images, a mirror for every registry name, the
// report of what each spec came to.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { ensurePeer } from '../peers/build.ts';
import { check, run } from '../testing/command.ts';
import { poll } from '../testing/poll.ts';
import { TestNode } from '../testing/test-node.ts';
import { localDigest } from './digest-image.ts';
import { ensurePrograms } from './programs.ts';

const REGISTRY = '127.0.0.1:5000';
export const SUITE_MS = 10 * 60_000;
const PUSH_MS = 5 * 60_000;
/** They mostly sleep: critest looks every 4 seconds whether a container runs. An emulated machine has no time for more than one. */
const SPECS_AT_ONCE = process.env.TSK_GUEST === 'tcg' ? 1 : 6;

const [peer, ginkgo] = await Promise.all([ensurePeer('critest'), ensurePeer('ginkgo')]);
const hasRegistry = (await run('docker-registry', ['--version']).catch(() => undefined))?.code === 0;
const programs = await ensurePrograms();
const problems = [
  'missing' in peer && peer.missing,
  'missing' in ginkgo && ginkgo.missing,
  !hasRegistry && 'docker-registry is not installed',
  'missing' in programs && programs.missing,
];

/** Why critest cannot run here: the reason of a skipped test. */
export const suiteProblem: string | false = problems.find((problem) => problem !== false) ?? false;

/** What a guest needs of this machine, by absolute path. */
export function suitePrograms(): string[] {
  const ours = 'missing' in programs ? [] : [programs.busybox, programs.nginx, programs.effectiveUid, programs.pause];
  return [peer, ginkgo].flatMap((built) => ('missing' in built ? [] : [built.path])).concat(ours);
}

export interface Summary {
  /** For people: counts, seconds, what was replaced. */
  readonly text: string;
  readonly passed: number;
  /** Titles. */
  readonly skipped: readonly string[];
  /** Titles, each with the first line of what went wrong. */
  readonly failed: readonly string[];
  /** Everything that critest and the runtime said. */
  readonly output: string;
}

export interface Suite {
  run(name: string, flags: readonly string[]): Promise<Summary>;
  destroy(): Promise<void>;
}

/** `images`: a word in the names of those that are needed. */
export async function startSuite(images = ''): Promise<Suite> {
  const node = await TestNode.create();
  let registry: ChildProcess | undefined;
  const destroy = async () => {
    if (registry !== undefined && registry.exitCode === null) {
      const ended = once(registry, 'exit');
      registry.kill();
      await ended;
    }
    await node.destroy();
  };
  try {
    const mirrors = path.join(node.dir, 'certs.d');
    fs.mkdirSync(path.join(mirrors, '_default'), { recursive: true });
    fs.writeFileSync(path.join(mirrors, '_default/hosts.toml'), `[host."http://${REGISTRY}"]\n  capabilities = ["pull", "resolve"]\n`);
    await node.start('runtime', { flags: ['--registry-config-dir', mirrors] });
    registry = startRegistry(node);
    const probe = ['busybox', 'wget', '-q', '-O', '-', `http://${REGISTRY}/v2/`];
    await poll('the registry', async () => (await node.inNetwork(probe)).code === 0, 60_000);
    const [push, args] = node.inside([
      process.execPath,
      path.join(import.meta.dirname, 'push.ts'),
      REGISTRY,
      path.join(node.dir, 'images'),
      images,
    ]);
    await check(push, args, { timeoutMs: PUSH_MS });
  } catch (error) {
    await destroy();
    throw error;
  }
  return { run: (name, flags) => runSpecs(node, name, flags), destroy };
}

function startRegistry(node: TestNode): ChildProcess {
  const config = path.join(node.dir, 'registry.yml');
  const storage = path.join(node.dir, 'registry');
  fs.writeFileSync(
    config,
    `version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: ${storage}}}\nhttp: {addr: "${REGISTRY}"}\n`,
  );
  const [command, args] = node.inside(['docker-registry', 'serve', config]);
  return spawn(command, args, { stdio: 'ignore' });
}

interface Spec {
  readonly ContainerHierarchyTexts: readonly string[] | null;
  readonly LeafNodeType: string;
  readonly LeafNodeText: string;
  readonly State: string;
  readonly Failure?: { readonly Message: string };
}

async function runSpecs(node: TestNode, name: string, flags: readonly string[]): Promise<Summary> {
  if ('missing' in peer || 'missing' in ginkgo) throw new Error(`critest cannot run here: ${suiteProblem}`);
  // ginkgo takes it relative to the suite, which critest links into TMPDIR.
  const report = `${name.replaceAll(' ', '-')}.json`;
  const endpoint = `unix://${node.socket}`;
  const [command, args] = node.inside([
    peer.path,
    ...['-runtime-endpoint', endpoint, '-image-endpoint', endpoint],
    ...['-ginkgo.no-color', '-ginkgo.seed', '1', '-ginkgo.json-report', report],
    ...(SPECS_AT_ONCE > 1 ? ['-parallel', `${SPECS_AT_ONCE}`] : []),
    ...flags,
  ]);
  const started = performance.now();
  const env = { ...process.env, TMPDIR: node.dir, PATH: `${path.dirname(ginkgo.path)}:${process.env.PATH}` };
  const { stdout, stderr } = await run(command, args, { timeoutMs: SUITE_MS, cwd: node.dir, env });
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  const file = path.join(node.dir, report);
  if (!fs.existsSync(file)) throw new Error(`critest wrote no report: ${stdout}${stderr}`);
  const [suite] = JSON.parse(fs.readFileSync(file, 'utf8')) as { SpecReports: Spec[] }[];
  const specs = (suite?.SpecReports ?? []).filter(({ LeafNodeType }) => LeafNodeType === 'It');
  const title = ({ ContainerHierarchyTexts, LeafNodeText }: Spec) => [...(ContainerHierarchyTexts ?? []), LeafNodeText].join(' ');
  const passed = specs.filter(({ State }) => State === 'passed').length;
  const skipped = specs.filter(({ State }) => State === 'skipped').map(title);
  const failed = specs
    .filter(({ State }) => State !== 'passed' && State !== 'skipped')
    .map((spec) => `${title(spec)}: ${(spec.Failure?.Message ?? spec.State).trim().split('\n')[0]}`);
  const counts = `${passed} passed, ${failed.length} failed, ${skipped.length} left out, of ${specs.length} in ${seconds} s`;
  const replaced = `the digest that it pulls by was replaced by ${localDigest().slice(0, 19)}…`;
  const text = `critest v1.36.0 ${name}: ${counts}, ${SPECS_AT_ONCE} at a time; ${replaced}`;
  return { text, passed, skipped, failed, output: `${stdout}${stderr}${node.log}` };
}
