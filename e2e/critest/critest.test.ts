// The conformance suite of CRI, critest, against `tskubelet runtime`: every registered spec but AppArmor's (no host of ours has it; the
// guest does) and the benchmarks, several at a time. Then the streaming specs again over WebSocket.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { ensurePeer } from '../peers/build.ts';
import { check, run } from '../testing/command.ts';
import { poll } from '../testing/poll.ts';
import { TestNode } from '../testing/test-node.ts';
import { localDigest } from './digest-image.ts';
import { ensurePrograms } from './programs.ts';

const REGISTRY = '127.0.0.1:5000';
const SUITE_MS = 10 * 60_000;
/** They mostly sleep: critest looks every 4 seconds whether a container runs. */
const SPECS_AT_ONCE = 6;
/** Of v1.36.0 on a host without SELinux, which adds 17. */
const REGISTERED_SPECS = 122;
const APPARMOR_SPECS = 9;
const BENCHMARK_SPECS = 5;

const [peer, ginkgo] = await Promise.all([ensurePeer('critest'), ensurePeer('ginkgo')]);
const hasRegistry = (await run('docker-registry', ['--version']).catch(() => undefined))?.code === 0;
const programs = await ensurePrograms();
const problems = [
  'missing' in peer && peer.missing,
  'missing' in ginkgo && ginkgo.missing,
  !hasRegistry && 'docker-registry is not installed',
  'missing' in programs && programs.missing,
];
const skip = problems.find((problem) => problem !== false) ?? false;
const options = { skip, timeout: SUITE_MS };

let node: TestNode;
let registry: ChildProcess | undefined;

before(async () => {
  if (skip !== false) return;
  node = await TestNode.create();
  const mirrors = path.join(node.dir, 'certs.d');
  fs.mkdirSync(path.join(mirrors, '_default'), { recursive: true });
  fs.writeFileSync(path.join(mirrors, '_default/hosts.toml'), `[host."http://${REGISTRY}"]\n  capabilities = ["pull", "resolve"]\n`);
  await node.start('runtime', { flags: ['--registry-config-dir', mirrors] });
  const config = path.join(node.dir, 'registry.yml');
  const storage = path.join(node.dir, 'registry');
  fs.writeFileSync(
    config,
    `version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: ${storage}}}\nhttp: {addr: "${REGISTRY}"}\n`,
  );
  const [command, args] = node.inside(['docker-registry', 'serve', config]);
  registry = spawn(command, args, { stdio: 'ignore' });
  await poll('the registry', async () => (await node.inNetwork(['busybox', 'wget', '-q', '-O', '-', `http://${REGISTRY}/v2/`])).code === 0);
  const [push, pushArgs] = node.inside([
    process.execPath,
    path.join(import.meta.dirname, 'push.ts'),
    REGISTRY,
    path.join(node.dir, 'images'),
  ]);
  await check(push, pushArgs, { timeoutMs: 120_000 });
});

after(async () => {
  if (registry !== undefined) {
    const ended = once(registry, 'exit');
    registry.kill();
    await ended;
  }
  await node?.destroy();
});

interface Spec {
  readonly ContainerHierarchyTexts: readonly string[] | null;
  readonly LeafNodeType: string;
  readonly LeafNodeText: string;
  readonly State: string;
  readonly Failure?: { readonly Message: string };
}

interface Summary {
  readonly passed: number;
  readonly skipped: readonly string[];
  readonly failed: readonly string[];
}

async function critest(t: TestContext, name: string, flags: readonly string[]): Promise<Summary> {
  if ('missing' in peer || 'missing' in ginkgo) throw new Error('not reached: the test is skipped');
  // ginkgo takes it relative to the suite, which critest links into TMPDIR.
  const report = `${name.replaceAll(' ', '-')}.json`;
  const endpoint = `unix://${node.socket}`;
  const [command, args] = node.inside([
    peer.path,
    ...['-runtime-endpoint', endpoint, '-image-endpoint', endpoint],
    ...['-ginkgo.no-color', '-ginkgo.seed', '1', '-ginkgo.json-report', report, '-parallel', `${SPECS_AT_ONCE}`],
    ...flags,
  ]);
  const started = performance.now();
  const env = { ...process.env, TMPDIR: node.dir, PATH: `${path.dirname(ginkgo.path)}:${process.env.PATH}` };
  const { stdout, stderr } = await run(command, args, { timeoutMs: SUITE_MS, cwd: node.dir, env });
  const file = path.join(node.dir, report);
  assert.ok(fs.existsSync(file), `critest wrote no report: ${stdout}${stderr}`);
  const [suite] = JSON.parse(fs.readFileSync(file, 'utf8')) as { SpecReports: Spec[] }[];
  const specs = (suite?.SpecReports ?? []).filter(({ LeafNodeType }) => LeafNodeType === 'It');
  const title = ({ ContainerHierarchyTexts, LeafNodeText }: Spec) => [...(ContainerHierarchyTexts ?? []), LeafNodeText].join(' ');
  const summary = {
    passed: specs.filter(({ State }) => State === 'passed').length,
    skipped: specs.filter(({ State }) => State === 'skipped').map(title),
    failed: specs
      .filter(({ State }) => State !== 'passed' && State !== 'skipped')
      .map((spec) => `${title(spec)}: ${(spec.Failure?.Message ?? spec.State).trim().split('\n')[0]}`),
  };
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  t.diagnostic(
    `critest v1.36.0 ${name}: ${summary.passed} passed, ${summary.failed.length} failed, ${summary.skipped.length} left out, of ${specs.length} in ${seconds} s, ${SPECS_AT_ONCE} at a time; the digest that it pulls by was replaced by ${localDigest().slice(0, 19)}…`,
  );
  if (summary.failed.length > 0) process.stdout.write(`${stdout}${stderr}${node.log}`);
  return summary;
}

test('critest passes', options, async (t) => {
  const { passed, skipped, failed } = await critest(t, 'over SPDY', []);
  assert.deepEqual(failed, []);
  const apparmor = skipped.filter((title) => title.includes('AppArmor'));
  const benchmarks = skipped.filter((title) => title.includes('benchmark'));
  assert.deepEqual(
    skipped.filter((title) => !apparmor.includes(title) && !benchmarks.includes(title)),
    [],
    'nothing else is left out',
  );
  assert.ok(apparmor.length <= APPARMOR_SPECS && benchmarks.length <= BENCHMARK_SPECS, skipped.join('\n'));
  assert.ok(passed + skipped.length >= REGISTERED_SPECS, `${passed} specs passed and ${skipped.length} were left out`);
});

test('critest’s streaming specs pass over WebSocket', options, async (t) => {
  const flags = ['-websocket-exec', '-websocket-attach', '-websocket-portforward', '-ginkgo.focus', 'Streaming'];
  const { passed, failed } = await critest(t, 'over WebSocket', flags);
  assert.deepEqual(failed, []);
  assert.equal(passed, 5);
});
