// The conformance suite of CRI, critest, against `tskubelet runtime`: every registered spec but AppArmor's (no host of ours has it; the
// guest does) and the benchmarks. Then the streaming specs again over WebSocket.
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

const peer = await ensurePeer('critest');
const hasRegistry = (await run('docker-registry', ['--version']).catch(() => undefined))?.code === 0;
const programs = await ensurePrograms();
const skip =
  'missing' in peer ? peer.missing : !hasRegistry ? 'docker-registry is not installed' : 'missing' in programs ? programs.missing : false;
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
  const report = path.join(node.dir, `${name}.json`);
  const endpoint = `unix://${node.socket}`;
  const [command, args] = node.inside([
    'missing' in peer ? '' : peer.path,
    ...['-runtime-endpoint', endpoint, '-image-endpoint', endpoint, '-ginkgo.no-color', '-ginkgo.seed', '1', '-ginkgo.json-report', report],
    ...flags,
  ]);
  const started = performance.now();
  const { stdout, stderr } = await run(command, args, { timeoutMs: SUITE_MS, cwd: node.dir });
  assert.ok(fs.existsSync(report), `critest wrote no report: ${stdout}${stderr}`);
  const [suite] = JSON.parse(fs.readFileSync(report, 'utf8')) as { SpecReports: Spec[] }[];
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
    `critest ${name}: ${summary.passed} passed, ${summary.failed.length} failed, ${summary.skipped.length} left out, of ${specs.length} in ${seconds} s; pull by digest uses ${localDigest().slice(0, 19)}`,
  );
  if (process.env.CRITEST_KEEP !== undefined) fs.writeFileSync(process.env.CRITEST_KEEP, `${stdout}\n${node.log}`);
  return summary;
}

test('critest passes', options, async (t) => {
  const { passed, skipped, failed } = await critest(t, 'over SPDY', []);
  assert.deepEqual(failed, []);
  assert.deepEqual(
    skipped.filter((title) => !/AppArmor|benchmark/.test(title)),
    [],
  );
  assert.ok(passed >= 99, `${passed} specs passed`);
});

test('critest’s streaming specs pass over WebSocket', options, async (t) => {
  const flags = ['-websocket-exec', '-websocket-attach', '-websocket-portforward', '-ginkgo.focus', 'Streaming'];
  const { passed, failed } = await critest(t, 'over WebSocket', flags);
  assert.deepEqual(failed, []);
  assert.equal(passed, 5);
});
