// The store as its callers see it: host images that run, snapshots over a real overlay, removal, and what a new daemon finds.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { syscall } from '../linux/syscall.ts';
import { findCommand } from './shared-libraries.ts';
import type { Snapshot } from './store.ts';
import { layoutFiles, makeImage, type TestImage, writeFiles } from './testing/images.ts';
import { openTestStore, type TestStore } from './testing/store.ts';

const MNT_DETACH = 2;
let home: TestStore;
before(async () => {
  home = await openTestStore();
});
after(() => home.close());

/** Mounts what a container would see as "/" and unmounts it whatever happens. */
function withRootfs<T>(snapshot: Snapshot, use: (root: string) => T): T {
  const root = fs.mkdtempSync(path.join(home.dir, 'rootfs-'));
  const options = `lowerdir=${snapshot.lowerDirs.join(':')},upperdir=${snapshot.upperDir},workdir=${snapshot.workDir}`;
  syscall('mount', 'overlay', root, 'overlay', 0, `${options}${snapshot.isVolatile ? ',volatile' : ''}`);
  try {
    return use(root);
  } finally {
    syscall('umount2', root, MNT_DETACH);
    fs.rmdirSync(root);
  }
}

const run = (root: string, ...command: string[]) =>
  execFileSync('chroot', [root, ...command], {
    encoding: 'utf8',
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
  }).trim();

async function importImage(image: TestImage, name: string): Promise<void> {
  const dir = path.join(path.dirname(home.dir), 'layout');
  writeFiles(dir, layoutFiles(image, { 'io.containerd.image.name': name }));
  await home.store.import(dir);
  fs.rmSync(dir, { recursive: true });
}

test('a container that ended in the middle of its start is mounted again, volatile as before', async () => {
  const image = makeImage([[{ name: 'file', content: 'x' }]]);
  await importImage(image, 'example.com/volatile:1');
  const snapshot = await home.store.prepareSnapshot('again', image.id);
  assert.equal(snapshot.isVolatile, true);
  withRootfs(snapshot, (root) => fs.writeFileSync(path.join(root, 'written'), 'before'));
  assert.throws(() => withRootfs(snapshot, () => {}), { code: 'EINVAL' });
  withRootfs(await home.store.prepareSnapshot('again', image.id), (root) => {
    assert.equal(fs.readFileSync(path.join(root, 'written'), 'utf8'), 'before');
  });
  await home.store.removeSnapshot('again');
});

test('what containers wrote is measured, little here and much in a thread', async () => {
  const image = makeImage([[{ name: 'file', content: 'x' }]]);
  await importImage(image, 'example.com/usage:1');
  const { upperDir } = await home.store.prepareSnapshot('usage', image.id);
  fs.writeFileSync(path.join(upperDir, 'a'), Buffer.alloc(100_000, 'x'));
  fs.linkSync(path.join(upperDir, 'a'), path.join(upperDir, 'b'));
  const little = await home.store.snapshotUsage('usage');
  assert.ok(little.usedBytes >= 100_000n && little.usedBytes < 200_000n, `${little.usedBytes} bytes`);
  assert.equal(little.inodesUsed, 2n);
  for (let i = 0; i < 400; i++) fs.writeFileSync(path.join(upperDir, `file-${i}`), 'x');
  const much = await home.store.snapshotUsage('usage');
  assert.equal(much.inodesUsed, 402n);
  assert.ok(much.usedBytes > little.usedBytes);
  await home.store.removeSnapshot('usage');
});

test('localhost/node:host runs this very Node, without a registry', async () => {
  const id = await home.store.pull('localhost/node:host');
  const image = await home.store.status('localhost/node:host');
  assert.equal(image?.id, id);
  assert.deepEqual([image?.config.entrypoint, image?.pinned], [['node'], true]);
  assert.ok((image?.sizeBytes ?? 0n) > 10_000_000n);
  const snapshot = await home.store.prepareSnapshot('node-1', id);
  withRootfs(snapshot, (root) => {
    assert.equal(run(root, 'node', '-p', 'process.version'), process.version);
    assert.equal(run(root, 'node', '-p', 'require("fs").readFileSync("/etc/passwd", "utf8").split(":")[0]'), 'root');
    assert.equal(run(root, 'node', '-p', '(fs.statSync("/tmp").mode & 0o7777).toString(8)'), '1777');
  });
  await home.store.removeSnapshot('node-1');
});

test('a container that writes to its node changes nothing of the host', async () => {
  const before = fs.statSync(process.execPath);
  const snapshot = await home.store.prepareSnapshot('node-2', await home.store.pull('localhost/node:host'));
  withRootfs(snapshot, (root) => {
    const node = path.join(root, 'usr/bin/node');
    fs.chmodSync(node, 0o4777);
    fs.truncateSync(node, 1);
  });
  const { size, mode, mtimeMs, ino } = fs.statSync(process.execPath);
  assert.deepEqual([size, mode, mtimeMs, ino], [before.size, before.mode, before.mtimeMs, before.ino]);
  await home.store.removeSnapshot('node-2');
});

test('localhost/busybox:host has its applets as files of their own', async (t) => {
  if (findCommand('busybox') === undefined) return t.skip('this host has no busybox');
  const id = await home.store.pull('localhost/busybox:host');
  const snapshot = await home.store.prepareSnapshot('busybox', id);
  withRootfs(snapshot, (root) => {
    assert.equal(run(root, 'sh', '-c', 'echo $(basename /a/b) && readlink /bin'), 'b\nusr/bin');
    assert.ok(fs.lstatSync(path.join(root, 'bin/ls')).isFile());
  });
  await home.store.removeSnapshot('busybox');
});

test('status assembles a host image that nobody pulled, and a removed one only comes back by a pull', async () => {
  const fresh = await openTestStore();
  try {
    assert.deepEqual(fresh.store.list(), []);
    const found = await fresh.store.status('localhost/node:host');
    assert.ok(found !== undefined);
    await fresh.store.remove(found.id);
    assert.equal(await fresh.store.status('localhost/node:host'), undefined);
    assert.deepEqual(fresh.leftovers(), { layers: [], ingest: [], blobs: 0 });
    assert.equal(await fresh.store.pull('localhost/node:host'), found.id);
  } finally {
    await fresh.close();
  }
});

test('a host image is made anew when a program of the host has changed', async () => {
  const fresh = await openTestStore();
  try {
    const tool = path.join(path.dirname(fresh.dir), 'tool');
    fs.copyFileSync(findCommand('true') ?? '', tool);
    const first = await fresh.store.buildHost('tool', [tool]);
    assert.equal(await fresh.store.buildHost('tool', [tool]), first);
    assert.deepEqual((await fresh.store.status('localhost/tool:host'))?.config.entrypoint, ['/usr/local/bin/tool']);
    assert.equal(await fresh.store.pull('localhost/tool:host'), first);
    fs.appendFileSync(tool, 'changed');
    assert.notEqual(await fresh.store.buildHost('tool', [tool]), first);
    assert.equal(fresh.store.list().length, 1);
    assert.equal(fresh.leftovers().layers.length, 1);
  } finally {
    await fresh.close();
  }
});

const wrongHostImages: readonly (readonly [name: string, binaries: readonly string[], sentence: RegExp])[] = [
  ['tool', [], /needs at least one binary/],
  ['tool', ['/nonexistent'], /\/nonexistent is not a file on this host/],
  ['tool', ['/etc/passwd'], /neither a 64-bit ELF program nor a script/],
  ['Tool', ['/bin/true'], /invalid image reference "localhost\/Tool:host": its name must be lower case/],
  ['localhost/node:host', ['/bin/true'], /is made by tskubelet itself; choose another name/],
];
for (const [name, binaries, sentence] of wrongHostImages) {
  test(`buildHost refuses ${name} from ${binaries.join() || 'nothing'} with a sentence`, async () => {
    const before = home.leftovers();
    await assert.rejects(home.store.buildHost(name, binaries), { message: sentence });
    assert.deepEqual(home.leftovers(), before);
  });
}

test('a snapshot is what the image says at its root, is measured, and goes without a trace', async () => {
  const image = makeImage([
    [
      { name: './', type: 'directory', mode: 0o751, uid: 5, gid: 6 },
      { name: 'a', content: 'x' },
    ],
  ]);
  await importImage(image, 'example.com/root:1');
  const snapshot = await home.store.prepareSnapshot('c1', image.id);
  const stat = fs.statSync(snapshot.upperDir);
  assert.deepEqual([stat.mode & 0o7777, stat.uid, stat.gid], [0o751, 5, 6]);
  withRootfs(snapshot, (root) => {
    assert.equal(fs.statSync(root).mode & 0o7777, 0o751);
    fs.writeFileSync(path.join(root, 'written'), Buffer.alloc(1_000_000));
    fs.linkSync(path.join(root, 'written'), path.join(root, 'again'));
  });
  assert.deepEqual(await home.store.prepareSnapshot('c1', image.id), snapshot);
  const usage = await home.store.snapshotUsage('c1');
  assert.ok(usage.usedBytes >= 1_000_000n && usage.usedBytes < 1_100_000n, String(usage.usedBytes));
  assert.equal(usage.inodesUsed, 2n);
  assert.ok(fs.existsSync(usage.mountpoint));
  const owned = await home.store.prepareSnapshot('c2', image.id, { ownerUid: 100_000, ownerGid: 100_001 });
  assert.deepEqual([fs.statSync(owned.upperDir).uid, fs.statSync(owned.upperDir).gid], [100_000, 100_001]);
  for (const id of ['c1', 'c2', 'c2', 'never']) await home.store.removeSnapshot(id);
  assert.deepEqual(fs.readdirSync(path.join(home.dir, 'snapshots')), []);
  assert.equal((await home.store.snapshotUsage('c1')).usedBytes, 0n);
  await assert.rejects(home.store.prepareSnapshot('c3', 'sha256:absent'), { code: 'NOT_FOUND', message: /is not in the store/ });
});

test('an image without layers has a snapshot all the same', async () => {
  const image = makeImage([]);
  await importImage(image, 'example.com/scratch:1');
  const snapshot = await home.store.prepareSnapshot('scratch', image.id);
  withRootfs(snapshot, (root) => assert.deepEqual(fs.readdirSync(root), []));
  await home.store.removeSnapshot('scratch');
});

test('directories that a layer only implies keep the attributes that they have below', async () => {
  const image = makeImage([
    [{ name: 'data/', type: 'directory', mode: 0o1770, uid: 7, gid: 8 }],
    [{ name: 'data/sub/file', content: 'x' }],
  ]);
  await importImage(image, 'example.com/implied:1');
  const stat = fs.statSync(path.join(home.store.layers(image.id).lowerDirs[0] ?? '', 'data'));
  assert.deepEqual([stat.mode & 0o7777, stat.uid, stat.gid], [0o1770, 7, 8]);
});

test('remove takes every name of an image; its layers stay while a container uses them', async () => {
  const fresh = await openTestStore();
  try {
    const image = makeImage([[{ name: 'a', content: 'x' }]]);
    const dir = path.join(path.dirname(fresh.dir), 'layout');
    for (const name of ['example.com/a:1', 'example.org/b:2']) {
      writeFiles(dir, layoutFiles(image, { 'io.containerd.image.name': name }));
      await fresh.store.import(dir);
    }
    assert.deepEqual(
      fresh.store.list().map(({ repoTags }) => repoTags),
      [['example.com/a:1', 'example.org/b:2']],
    );
    const snapshot = await fresh.store.prepareSnapshot('user', image.id);
    await fresh.store.remove('example.com/a:1');
    await fresh.store.remove('example.com/a:1');
    assert.equal(await fresh.store.status('example.org/b:2'), undefined);
    assert.equal(await fresh.store.status(image.id), undefined);
    assert.equal(fs.readFileSync(path.join(snapshot.lowerDirs[0] ?? '', 'a'), 'utf8'), 'x');
    // A new daemon still knows what the container stands on.
    await fresh.reopen();
    await fresh.store.reconcile(new Set(['user']));
    assert.deepEqual((await fresh.store.prepareSnapshot('user', image.id)).lowerDirs, snapshot.lowerDirs);
    await fresh.store.removeSnapshot('user');
    assert.deepEqual(fresh.leftovers(), { layers: [], ingest: [], blobs: 0 });
  } finally {
    await fresh.close();
  }
});

test('layers of an image volume stay as long as its container, over a restart and the removal of the image', async () => {
  const fresh = await openTestStore();
  try {
    const id = await fresh.store.pull('localhost/node:host');
    const volume = await fresh.store.buildHost('volume', ['/bin/true']);
    const reference = 'localhost/volume:host';
    const { volumeDirs } = await fresh.store.prepareSnapshot('c', id, { volumes: [reference] });
    const [layer = ''] = volumeDirs.get(reference) ?? [];
    assert.ok(fs.existsSync(layer));
    await fresh.store.remove(volume);
    await fresh.reopen();
    await fresh.store.reconcile(new Set(['c']));
    assert.ok(fs.existsSync(layer));
    assert.deepEqual((await fresh.store.prepareSnapshot('c', id)).volumeDirs, volumeDirs);
    await fresh.store.removeSnapshot('c');
    assert.ok(!fs.existsSync(layer));
    await assert.rejects(fresh.store.prepareSnapshot('d', id, { volumes: [reference] }), { code: 'NOT_FOUND', message: /image volume/ });
  } finally {
    await fresh.close();
  }
});

test('a new daemon finds the images, drops what was interrupted and what nobody owns', async () => {
  const fresh = await openTestStore();
  try {
    const id = await fresh.store.pull('localhost/node:host');
    await fresh.store.prepareSnapshot('kept', id);
    await fresh.store.prepareSnapshot('orphan', id);
    fs.mkdirSync(path.join(fresh.dir, 'ingest/interrupted/fs'), { recursive: true });
    fs.mkdirSync(path.join(fresh.dir, 'layers/nobody'), { recursive: true });
    fs.mkdirSync(path.join(fresh.dir, 'snapshots/without-record/fs'), { recursive: true });
    await fresh.reopen();
    assert.deepEqual(
      fresh.store.list().map((image) => image.id),
      [id],
    );
    await fresh.store.reconcile(new Set(['kept']));
    assert.deepEqual(fs.readdirSync(path.join(fresh.dir, 'snapshots')), ['kept']);
    assert.equal(fresh.leftovers().layers.length, 1);
    assert.deepEqual(fresh.leftovers().ingest, []);
    assert.equal(await fresh.store.pull('localhost/node:host'), id);
  } finally {
    await fresh.close();
  }
});

test('an image whose layer was lost is reported and not listed', async () => {
  const fresh = await openTestStore();
  try {
    await fresh.store.pull('localhost/node:host');
    fs.rmSync(path.join(fresh.dir, 'layers'), { recursive: true });
    await fresh.reopen();
    assert.deepEqual(fresh.store.list(), []);
    assert.ok(fresh.lines.some((line) => line.includes('has lost layers')));
    assert.ok((await fresh.store.status('localhost/node:host')) !== undefined);
  } finally {
    await fresh.close();
  }
});

test('a layer that a power loss may have cut short is made anew', async () => {
  const fresh = await openTestStore();
  try {
    const id = await fresh.store.pull('localhost/node:host');
    const layer = path.join(fresh.dir, 'layers', fresh.leftovers().layers[0] ?? '');
    const reopenInBoot = async (boot: string | undefined) => {
      await fresh.store.close();
      const record = JSON.parse(fs.readFileSync(path.join(layer, 'layer.json'), 'utf8')) as object;
      // Closing has waited for the disk.
      assert.ok(!('boot' in record));
      fs.writeFileSync(path.join(layer, 'layer.json'), JSON.stringify({ ...record, ...(boot !== undefined && { boot }) }));
      fs.writeFileSync(path.join(layer, 'fs/etc/passwd'), '');
      await fresh.reopen();
    };
    await reopenInBoot(undefined);
    assert.equal(fresh.store.list()[0]?.id, id);
    await reopenInBoot('another boot');
    assert.deepEqual(fresh.store.list(), []);
    assert.equal(await fresh.store.pull('localhost/node:host'), id);
    assert.match(fs.readFileSync(path.join(layer, 'fs/etc/passwd'), 'utf8'), /^root:/);
  } finally {
    await fresh.close();
  }
});

test('fsUsage is what du(1) counts, each layer once', async () => {
  const du = (what: string) => Number(execFileSync('du', [what, '--summarize', home.dir], { encoding: 'utf8' }).split('\t')[0]);
  for (const look of ['measured', 'noted']) {
    const usage = await home.store.fsUsage();
    // The directories around and the index are few and small beside what is counted.
    const bytes = du('--block-size=1') - Number(usage.usedBytes);
    const inodes = du('--inodes') - Number(usage.inodesUsed);
    assert.ok(bytes >= 0 && bytes < 300_000, `${look}: ${bytes} bytes more on disk than told`);
    assert.ok(inodes >= 0 && inodes < 60, `${look}: ${inodes} inodes more on disk than told`);
    assert.equal(usage.mountpoint, home.dir);
  }
  assert.equal(home.store.snapshotMountpoint(), home.dir);
});
