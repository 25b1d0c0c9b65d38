// A root-dir that lies on an overlay, as inside a container: writable layers go to memory, image layers are kept whole.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { syscall, trySyscall } from '../linux/syscall.ts';
import { layoutFiles, makeImage, writeFiles } from './testing/images.ts';
import { openTestStore, type TestStore } from './testing/store.ts';

const MNT_DETACH = 2;
let base = '';
let home: TestStore;
before(async () => {
  base = fs.mkdtempSync(path.join(os.tmpdir(), 'on-overlay-'));
  for (const name of ['lower', 'upper', 'work', 'merged']) fs.mkdirSync(path.join(base, name));
  const at = (name: string) => path.join(base, name);
  syscall('mount', 'overlay', at('merged'), 'overlay', 0, `lowerdir=${at('lower')},upperdir=${at('upper')},workdir=${at('work')}`);
  home = await openTestStore(at('merged'));
});
after(async () => {
  trySyscall('umount2', path.join(home.runDir, 'snapshots'), MNT_DETACH);
  await home.close();
  trySyscall('umount2', path.join(base, 'merged'), MNT_DETACH);
  fs.rmSync(base, { recursive: true, force: true });
});

test('containers start on a root-dir that overlayfs cannot write to', async () => {
  const image = makeImage([
    [
      { name: 'etc/old', content: 'x' },
      { name: 'etc/kept', content: 'x' },
    ],
    [{ name: 'etc/.wh.old' }, { name: 'etc/new', content: 'x' }],
  ]);
  const dir = path.join(base, 'layout');
  writeFiles(dir, layoutFiles(image, { 'io.containerd.image.name': 'example.com/a:1' }));
  await home.store.import(dir);
  const snapshot = await home.store.prepareSnapshot('c', image.id);
  assert.ok(snapshot.upperDir.startsWith(path.join(home.runDir, 'snapshots')));
  assert.equal(home.lines.filter((line) => line.includes('cannot hold the writable layers of containers')).length, 1);
  const root = path.join(base, 'root');
  fs.mkdirSync(root);
  const { lowerDirs, upperDir, workDir } = snapshot;
  syscall('mount', 'overlay', root, 'overlay', 0, `lowerdir=${lowerDirs.join(':')},upperdir=${upperDir},workdir=${workDir}`);
  try {
    assert.deepEqual(fs.readdirSync(path.join(root, 'etc')).sort(), ['kept', 'new']);
    fs.writeFileSync(path.join(root, 'etc/kept'), 'changed');
    fs.unlinkSync(path.join(root, 'etc/new'));
  } finally {
    syscall('umount2', root, MNT_DETACH);
  }
  // The next daemon finds the same place again and says so once more, in its own log.
  await home.reopen();
  assert.deepEqual(await home.store.prepareSnapshot('c', image.id), snapshot);
  assert.equal(fs.readFileSync(path.join(upperDir, 'etc/kept'), 'utf8'), 'changed');
  await home.store.reconcile(new Set());
  assert.equal(fs.existsSync(upperDir), false);
  assert.ok(!fs.readFileSync('/proc/self/mountinfo', 'utf8').includes(`${home.runDir}/snapshots`));
  assert.deepEqual(fs.readdirSync(home.runDir), []);
  assert.ok(!fs.existsSync(path.join(home.dir, 'snapshots-in-memory.json')));
});
