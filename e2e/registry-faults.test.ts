// Pulls from Debian's docker-registry that die in the middle, and pulls that need credentials: a daemon killed at any step leaves a store
// that the next one repairs, and what had come counts.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { ensurePeer } from './peers/build.ts';
import { check, run } from './testing/command.ts';
import { Crictl } from './testing/crictl.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

const REGISTRY = '127.0.0.1:5000';
const IMAGE = `${REGISTRY}/team/large:1`;
const LAYERS = 2;
const LAYER_BYTES = 6_000_000;
const USER = { username: 'anna', password: 'secret' };
/** bcrypt of the password, as htpasswd(1) writes it. */
const HTPASSWD = 'anna:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n';

/** Every point that the sources name: a new step is tested without anybody remembering to. */
function faultPoints(): string[] {
  const sources = path.resolve(import.meta.dirname, '../runtime/image');
  const names = fs
    .readdirSync(sources)
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
    .flatMap((name) =>
      [...fs.readFileSync(path.join(sources, name), 'utf8').matchAll(/faultPoint\('([^']+)'\)/g)].map(([, point]) => point ?? ''),
    );
  return [...new Set(names)];
}

const peer = await ensurePeer('crictl');
const programs = await Promise.all(
  ['docker-registry', 'skopeo', 'umoci'].map(async (name) => ((await run(name, ['--version']).catch(() => undefined)) ? '' : name)),
);
const absent = programs.filter((name) => name !== '');
const skip = 'missing' in peer ? peer.missing : absent.length > 0 && `${absent.join(' and ')} not installed`;
const options = { timeout: 120_000, skip };

let node: TestNode;
let crictl: Crictl;
let registry: ChildProcess | undefined;
let digests: readonly string[] = [];
let loggedIn: NodeJS.ProcessEnv = {};

before(async () => {
  if (skip !== false || 'missing' in peer) return;
  node = await TestNode.create();
  crictl = new Crictl(peer.path, node);
  const config = path.join(node.dir, 'registry.yml');
  fs.writeFileSync(path.join(node.dir, 'htpasswd'), HTPASSWD);
  fs.writeFileSync(
    config,
    JSON.stringify({
      version: '0.1',
      log: { level: 'error' },
      storage: { filesystem: { rootdirectory: path.join(node.dir, 'registry') } },
      http: { addr: REGISTRY },
      auth: { htpasswd: { realm: 'test', path: path.join(node.dir, 'htpasswd') } },
    }),
  );
  const [command, args] = node.inside(['docker-registry', 'serve', config]);
  registry = spawn(command, args, { stdio: 'ignore' });
  digests = await pushLayers();
  const dockerConfig = path.join(node.dir, 'docker');
  fs.mkdirSync(dockerConfig);
  const auth = Buffer.from(`${USER.username}:${USER.password}`).toString('base64');
  fs.writeFileSync(path.join(dockerConfig, 'config.json'), JSON.stringify({ auths: { [REGISTRY]: { auth } } }));
  loggedIn = { DOCKER_CONFIG: dockerConfig };
});

after(async () => {
  if (registry !== undefined) {
    const ended = once(registry, 'exit');
    registry.kill();
    await ended;
  }
  await node?.destroy();
});

/** An image of files that no compression makes small; gives their digests. */
async function pushLayers(): Promise<readonly string[]> {
  const layout = path.join(node.dir, 'layout');
  await check('umoci', ['init', '--layout', layout]);
  await check('umoci', ['new', '--image', `${layout}:1`]);
  const found: string[] = [];
  for (let i = 0; i < LAYERS; i++) {
    const bytes = randomBytes(LAYER_BYTES);
    const file = path.join(node.dir, `file-${i}`);
    fs.writeFileSync(file, bytes);
    await check('umoci', ['insert', '--image', `${layout}:1`, file, `/file-${i}`]);
    fs.rmSync(file);
    found.push(createHash('sha256').update(bytes).digest('hex'));
  }
  const copy = ['skopeo', '--insecure-policy', 'copy', '--dest-tls-verify=false', '--dest-creds', `${USER.username}:${USER.password}`];
  await poll('the registry to take the image', async () => {
    const { code, stderr } = await node.inNetwork([...copy, `oci:${layout}:1`, `docker://${IMAGE}`]);
    if (code !== 0) throw new Error(stderr);
    return true;
  });
  return found;
}

const images = (...name: readonly string[]) => path.join(node.rootDir, 'images', ...name);
const names = (directory: string) => (fs.existsSync(directory) ? fs.readdirSync(directory).sort() : []);

/** The image is whole: each of its files is in a layer of its own. */
function assertWhole(): void {
  const found = names(images('layers')).flatMap((layer) => {
    const root = images('layers', layer, 'fs');
    return names(root).map((name) =>
      createHash('sha256')
        .update(fs.readFileSync(path.join(root, name)))
        .digest('hex'),
    );
  });
  assert.deepEqual(found.sort(), [...digests].sort());
}

for (const point of faultPoints())
  test(`kill -9 at "${point}" of a pull: the next daemon has the image whole or not at all, and gets it`, options, async () => {
    await node.start('runtime', { env: { ...loggedIn, TSKUBELET_FAULT_POINT: point } });
    assert.equal((await crictl.try(['pull', IMAGE])).code, 1);
    await node.ended();
    await node.start('runtime', { env: loggedIn });
    const here = await crictl.call('images', '-q', IMAGE);
    assert.deepEqual(names(images('ingest')), []);
    if (here !== '') assertWhole();
    await crictl.call('pull', IMAGE);
    assertWhole();
    assert.deepEqual([names(images('ingest')), names(images('downloads'))], [[], []]);
    await crictl.call('rmi', IMAGE);
    assert.deepEqual([names(images('layers')), names(images('content/sha256'))], [[], []]);
    await node.stop('SIGKILL');
  });

test('kill -9 at any moment of a pull leaves nothing that a next pull minds', options, async () => {
  for (const afterMs of [40, 150]) {
    await node.start('runtime', { env: loggedIn });
    const pull = crictl.try(['pull', IMAGE]);
    // How far the pull is by then is what differs; no state tells it apart from outside.
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    await node.stop('SIGKILL');
    await pull;
  }
  await node.start('runtime', { env: loggedIn });
  await crictl.call('pull', IMAGE);
  assertWhole();
  await crictl.call('rmi', IMAGE);
  await node.stop();
});

test('crictl pulls with --creds and --auth, and is refused without', options, async () => {
  await node.start('runtime', { env: { HOME: node.dir, DOCKER_CONFIG: '' } });
  assert.match(await crictl.refusal('pull', IMAGE), /code = PermissionDenied desc = .*user name and a password; give credentials/);
  assert.match(await crictl.refusal('pull', '--creds', 'anna:guess', IMAGE), /code = PermissionDenied desc = .*401/);
  await crictl.call('pull', '--creds', `${USER.username}:${USER.password}`, IMAGE);
  await crictl.call('rmi', IMAGE);
  await crictl.call('pull', '--auth', Buffer.from(`${USER.username}:${USER.password}`).toString('base64'), IMAGE);
  await crictl.call('rmi', IMAGE);
  await node.stop();
});

test('the agent pulls with what a credential provider plugin answers', options, async () => {
  const bin = path.join(node.dir, 'plugins');
  fs.mkdirSync(bin);
  const apiVersion = 'credentialprovider.kubelet.k8s.io/v1';
  const answer = { kind: 'CredentialProviderResponse', apiVersion, cacheKeyType: 'Registry', auth: { [REGISTRY]: USER } };
  const script = `#!/bin/sh\ncat >>${node.dir}/asked; echo >>${node.dir}/asked; echo "$PLUGIN_MODE $*" >>${node.dir}/asked\necho '${JSON.stringify(answer)}'\n`;
  fs.writeFileSync(path.join(bin, 'test-plugin'), script, { mode: 0o755 });
  const config = path.join(node.dir, 'providers.yaml');
  fs.writeFileSync(
    config,
    `apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: test-plugin
  matchImages: ["127.0.0.1:5000/team"]
  defaultCacheDuration: 1h
  apiVersion: ${apiVersion}
  args: [get-credentials]
  env: [{name: PLUGIN_MODE, value: test}]
`,
  );
  const flags = ['--image-credential-provider-config', config, '--image-credential-provider-bin-dir', bin];
  await node.start('node', { flags, env: { HOME: node.dir, DOCKER_CONFIG: '' } });
  node.addManifest(
    'large.yaml',
    `apiVersion: v1\nkind: Pod\nmetadata: {name: large}\nspec:\n  containers:\n  - {name: main, image: "${IMAGE}", command: [/file-0]}\n`,
  );
  // The plugin, the whole pull and its unpacking.
  await poll('the image to be there', async () => (await crictl.call('images', '-q', IMAGE)) !== '', 60_000);
  const [request = '', how] = fs.readFileSync(path.join(node.dir, 'asked'), 'utf8').split('\n');
  assert.deepEqual(JSON.parse(request), { kind: 'CredentialProviderRequest', apiVersion, image: '127.0.0.1:5000/team/large' });
  assert.equal(how, 'test get-credentials');
  node.removeManifest('large.yaml');
  await poll('the pod to go', async () => (await crictl.call('pods', '-q')) === '');
  await node.stop();
});
