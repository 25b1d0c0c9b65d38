// Debian's docker-registry behind a proxy that cuts, slows, corrupts, refuses and redirects: a pull ends with the image or with one clear
// error, never with a bad image, and what was interrupted goes on from where it was.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { hasCriCode } from '../errors.ts';
import { trySyscall } from '../linux/syscall.ts';
import { type DockerRegistry, missing, startDockerRegistry } from './testing/docker-registry.ts';
import { type Fault, type FaultProxy, startFaultProxy } from './testing/fault-proxy.ts';
import { makeImage, pushImage, type TestImage } from './testing/images.ts';
import { openTestStore, type TestStore } from './testing/store.ts';

const options = { skip: missing, timeout: 60_000 };
const CONFIG = '/certs.d';
let dir = '';
let registry: DockerRegistry;
let proxy: FaultProxy;
let home: TestStore;

before(async () => {
  if (missing !== false) return;
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'faults-'));
  registry = await startDockerRegistry(dir);
  proxy = await startFaultProxy(registry.host);
  home = await openTestStore(os.tmpdir(), { registryConfigDir: path.join(dir, CONFIG) });
});
afterEach(() => {
  proxy?.reset();
  fs.rmSync(path.join(dir, CONFIG), { recursive: true, force: true });
});
after(async () => {
  await home?.close();
  await proxy?.close();
  await registry?.close();
  if (dir !== '') fs.rmSync(dir, { recursive: true, force: true });
});

let count = 0;
interface Pushed {
  readonly image: TestImage;
  /** By way of the proxy. */
  readonly name: string;
  readonly repository: string;
  readonly isLayer: (path: string) => boolean;
}

/** Layers of random bytes, which no compression makes small. */
async function push(layerBytes: readonly number[] = [300_000, 700_000]): Promise<Pushed> {
  const layers = layerBytes.map((bytes, i) => [{ name: `file-${i}`, content: randomBytes(bytes) }]);
  return pushMade(makeImage(layers, { compression: 'none' }));
}

async function pushMade(image: TestImage): Promise<Pushed> {
  const repository = `test/faults-${count++}`;
  await pushImage(`http://${registry.host}`, repository, '1', image);
  const isLayer = (url: string) => image.layers.some(({ digest }) => url.endsWith(`/blobs/${digest}`));
  return { image, repository, name: `${proxy.host}/${repository}:1`, isLayer };
}

function assertWhole({ image }: Pushed, store = home.store): void {
  const { lowerDirs } = store.layers(image.id);
  for (const [i, layer] of lowerDirs.toReversed().entries()) {
    const file = fs.readFileSync(path.join(layer, `file-${i}`));
    assert.ok(image.layers[i]?.archive.subarray(512).includes(file), `file-${i} of ${file.length} bytes is another`);
  }
}

const parts = () => (fs.existsSync(path.join(home.dir, 'downloads')) ? fs.readdirSync(path.join(home.dir, 'downloads')) : []);

const recoverable: readonly (readonly [what: string, fault: Fault])[] = [
  ['are cut', { kind: 'cut', afterBytes: 100_000 }],
  ['are reset', { kind: 'reset' }],
  ['have a wrong byte', { kind: 'corrupt', atByte: 70_000 }],
  ['have a wrong byte at their beginning', { kind: 'corrupt', atByte: 0 }],
  ['are answered with 500', { kind: 'status', status: 500 }],
  ['are answered with 503 and a date', { kind: 'status', status: 503, headers: { 'retry-after': new Date(Date.now()).toUTCString() } }],
  ['are answered with 429', { kind: 'status', status: 429, headers: { 'retry-after': '1' } }],
  ['come slowly', { kind: 'slow', pieceBytes: 20_000, pauseMs: 5 }],
];

for (const [what, fault] of recoverable)
  test(`a pull gets its image although its layers ${what} at first`, options, async () => {
    const pushed = await push();
    proxy.fault = (url, earlier) => (pushed.isLayer(url) && earlier === 0 ? fault : undefined);
    assert.equal(await home.store.pull(pushed.name), pushed.image.id);
    assertWhole(pushed);
    assert.deepEqual([parts(), home.leftovers().ingest], [[], []]);
  });

for (const [what, fault] of recoverable.filter(([, { kind }]) => kind !== 'slow'))
  test(`a pull gets its image although manifest and config ${what} at first`, options, async () => {
    const pushed = await push([1000]);
    const small = fault.kind === 'cut' || fault.kind === 'corrupt' ? { ...fault, afterBytes: 10, atByte: 10 } : fault;
    proxy.fault = (url, earlier) => (!pushed.isLayer(url) && earlier === 0 ? small : undefined);
    assert.equal(await home.store.pull(pushed.name), pushed.image.id);
    assertWhole(pushed);
  });

test('a connection that is cut again and again costs no byte twice', options, async () => {
  const pushed = await push([2_000_000]);
  proxy.fault = (url) => (pushed.isLayer(url) ? { kind: 'cut', afterBytes: 300_000 } : undefined);
  await home.store.pull(pushed.name);
  assertWhole(pushed);
  const [layer] = pushed.image.layers;
  const passed = [...proxy.passedBytes].find(([url]) => pushed.isLayer(url))?.[1] ?? 0;
  assert.equal(passed, layer?.bytes.length);
  assert.equal(proxy.requests.filter((line) => line.includes(`${layer?.digest} bytes=`)).length, 6);
});

test('a registry that does not know ranges is read past what is here already', options, async () => {
  const pushed = await push([1_000_000]);
  proxy.fault = (url, earlier) => {
    if (!pushed.isLayer(url)) return undefined;
    return earlier === 0 ? { kind: 'cut', afterBytes: 400_000 } : { kind: 'whole' };
  };
  await home.store.pull(pushed.name);
  assertWhole(pushed);
});

const hopeless: readonly (readonly [what: string, fault: Fault, sentence: RegExp])[] = [
  ['a layer that is always wrong', { kind: 'corrupt', atByte: 5000 }, /gives content with the digest sha256:\w+ for the layer sha256:/],
  ['a layer that is gone', { kind: 'status', status: 404 }, /is not in the registry \(404\)/],
  ['a long time-out', { kind: 'status', status: 429, headers: { 'retry-after': '3600' } }, /answers 429, asks for 3600 s of patience/],
  ['a refusal', { kind: 'status', status: 403 }, /answers 403; give credentials/],
];

for (const [what, fault, sentence] of hopeless)
  test(`a pull with ${what} ends with one error, and leaves nothing`, options, async () => {
    const pushed = await push();
    const [layer] = pushed.image.layers;
    proxy.fault = (url) => (url.endsWith(layer?.digest ?? '') ? fault : undefined);
    const before = home.leftovers();
    await assert.rejects(home.store.pull(pushed.name), sentence);
    assert.equal(await home.store.status(pushed.name), undefined);
    const left = parts().filter((name) => name.endsWith(layer?.digest.slice(7) ?? ''));
    assert.deepEqual([left.length > 0 && fault.kind === 'corrupt', home.leftovers().ingest], [false, []]);
    assert.equal(home.leftovers().blobs, before.blobs);
    proxy.reset();
    await home.store.pull(pushed.name);
    assertWhole(pushed);
  });

test('a mirror whose content is wrong is left for the next one', options, async () => {
  const pushed = await push();
  const own = path.join(dir, CONFIG, 'registry.invalid');
  fs.mkdirSync(own, { recursive: true });
  fs.writeFileSync(path.join(own, 'hosts.toml'), `server = "http://${registry.host}"\n[host."http://${proxy.host}"]\n`);
  proxy.fault = (url) => (url.includes('/blobs/') ? { kind: 'corrupt', atByte: 100 } : undefined);
  await home.store.pull(`registry.invalid/${pushed.repository}:1`);
  assertWhole(pushed);
  assert.ok(proxy.requests.some((line) => line.includes('/blobs/') && line.includes('ns=registry.invalid')));
});

test('layers that a registry keeps elsewhere are followed there', options, async () => {
  const pushed = await push();
  proxy.fault = (url) =>
    pushed.isLayer(url) ? { kind: 'status', status: 307, headers: { location: `http://${registry.host}${url}` } } : undefined;
  await home.store.pull(pushed.name);
  assertWhole(pushed);
});

test('an interrupted pull goes on after a restart from what is on disk', options, async () => {
  const pushed = await push([3_000_000]);
  const abort = new AbortController();
  const stop = home.store.pulls.watch(({ layers }) => {
    if ((layers[0]?.receivedBytes ?? 0) > 500_000) abort.abort(new Error('the daemon stops'));
  });
  proxy.fault = (url) => (pushed.isLayer(url) ? { kind: 'slow', pieceBytes: 50_000, pauseMs: 5 } : undefined);
  await assert.rejects(home.store.pull(pushed.name, { signal: abort.signal }), /the daemon stops/);
  stop();
  const store = await home.reopen();
  await store.reconcile(new Set());
  assert.equal(parts().length, 1);
  const [part = ''] = parts();
  const { size } = fs.statSync(path.join(home.dir, 'downloads', part));
  assert.ok(size > 500_000 && size < 3_000_000, `${size} bytes are left`);
  proxy.reset();
  await store.pull(pushed.name);
  assertWhole(pushed, store);
  assert.ok(
    proxy.requests.some((line) => line.endsWith(`bytes=${size}-`)),
    proxy.requests.join('\n'),
  );
  assert.deepEqual(parts(), []);
});

test('what an interrupted pull has left goes by pruning', options, async () => {
  const pushed = await push([1_000_000]);
  proxy.fault = (url) => (pushed.isLayer(url) ? { kind: 'cut', afterBytes: 10_000 } : undefined);
  await assert.rejects(home.store.pull(pushed.name), /breaks off its answer/);
  assert.equal(parts().length, 1);
  await home.store.prune(false);
  assert.deepEqual(parts(), []);
});

test('a part that is not what it should be is found out and fetched anew', options, async () => {
  const pushed = await push([400_000]);
  const [layer] = pushed.image.layers;
  fs.mkdirSync(path.join(home.dir, 'downloads'), { recursive: true });
  const file = path.join(home.dir, 'downloads', (layer?.digest ?? '').replace(':', '-'));
  for (const bytes of [100_000, layer?.bytes.length ?? 0, 900_000]) {
    fs.writeFileSync(file, Buffer.alloc(bytes));
    await home.store.pull(pushed.name);
    assertWhole(pushed);
    await home.store.remove(pushed.name);
  }
});

test('one download serves all pulls that want a layer, and outlives the pull that began it', options, async () => {
  const shared = randomBytes(1_500_000);
  const names: string[] = [];
  const images: TestImage[] = [];
  for (const label of ['a', 'b', 'c']) {
    const image = makeImage([[{ name: 'shared', content: shared }], [{ name: 'own', content: label }]], { compression: 'none' });
    await pushImage(`http://${registry.host}`, `test/shared-${label}`, '1', image);
    names.push(`${proxy.host}/test/shared-${label}:1`);
    images.push(image);
  }
  const digest = images[0]?.layers[0]?.digest ?? '';
  proxy.fault = (url) => (url.endsWith(digest) ? { kind: 'slow', pieceBytes: 50_000, pauseMs: 5 } : undefined);
  const abort = new AbortController();
  const [first = '', ...others] = names;
  const leaving = home.store.pull(first, { signal: abort.signal });
  const staying = others.map((name) => home.store.pull(name));
  const stop = home.store.pulls.watch(({ layers }) => {
    if ((layers[0]?.receivedBytes ?? 0) > 300_000) abort.abort(new Error('has left'));
  });
  await assert.rejects(leaving, /has left/);
  stop();
  assert.deepEqual(await Promise.all(staying), [images[1]?.id, images[2]?.id]);
  const passed = [...proxy.passedBytes].filter(([url]) => url.endsWith(digest)).reduce((total, [, bytes]) => total + bytes, 0);
  assert.ok(passed < 2 * shared.length, `${passed} bytes for a layer of ${shared.length}`);
  // Of its other layer, the pull that left may have left a part: a later one would go on there.
  assert.ok(!parts().includes(digest.replace(':', '-')), parts().join(', '));
});

test('a disk that is full is one clear error, and what the pull took is free again', options, async (t) => {
  const small = path.join(dir, 'small');
  fs.mkdirSync(small);
  const [MS_NOSUID, MNT_DETACH] = [2, 2];
  assert.ok(trySyscall('mount', 'tmpfs', small, 'tmpfs', MS_NOSUID, 'size=6m') >= 0);
  t.after(() => void trySyscall('umount2', small, MNT_DETACH));
  const full = await openTestStore(small);
  t.after(() => full.close());
  const freeBytes = () => fs.statfsSync(small).bavail * 4096;
  const big = [{ name: 'big', content: Buffer.alloc(8_000_000) }];
  const coming = [{ name: 'coming', content: randomBytes(2_900_000) }];
  const bursts = await pushMade(makeImage([coming, big], { compression: 'gzip' }));
  // The disk is full while half of the other layer is still to come.
  const [comingDigest = '', bigDigest = ''] = bursts.image.layers.map(({ digest }) => digest);
  proxy.fault = (url) => {
    if (url.endsWith(comingDigest)) return { kind: 'slow', pieceBytes: 50_000, pauseMs: 20 };
    return url.endsWith(bigDigest) ? { kind: 'slow', pieceBytes: 4000, pauseMs: 500 } : undefined;
  };
  const tooLarge = await push([1_000_000, 8_000_000]);
  for (const pushed of [tooLarge, await push([1_000_000, 2_900_000]), bursts]) {
    const before = freeBytes();
    await assert.rejects(full.store.pull(pushed.name), (error: Error) => {
      assert.ok(hasCriCode(error, 'RESOURCE_EXHAUSTED'), error.message);
      assert.match(
        `${error.message}: ${(error.cause as Error).message}`,
        /cannot be pulled: no space is left in .*; remove images or make room/,
      );
      return true;
    });
    assert.ok(before - freeBytes() < 200_000, `${before - freeBytes()} bytes are still taken`);
    assert.deepEqual([full.leftovers().layers, full.leftovers().ingest], [[], []]);
  }
  // What cannot fit has not even begun to come.
  const { digest: largeDigest = '' } = tooLarge.image.layers[1] ?? {};
  assert.deepEqual(
    [...proxy.passedBytes.keys()].filter((url) => url.endsWith(largeDigest)),
    [],
  );
  const fits = await push([1_000_000]);
  await full.store.pull(fits.name);
});
