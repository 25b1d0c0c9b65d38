import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { readRootfsFile } from './rootfs-file.ts';

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'rootfs-'));
after(() => fs.rmSync(base, { recursive: true, force: true }));
const dirs = ['upper', 'middle', 'bottom'].map((name) => path.join(base, name));

function put(layer: number, name: string, content: string | { link: string }): void {
  const file = path.join(dirs[layer] ?? '', name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  if (typeof content === 'string') fs.writeFileSync(file, content);
  else fs.symlinkSync(content.link, file);
}

put(2, 'etc/passwd', 'bottom');
put(2, 'etc/group', 'bottom group');
put(1, 'etc/passwd', 'middle');
put(0, 'etc/other', 'upper');
put(1, 'run/real', 'through a link');
put(2, 'var/run', { link: '/run' });
put(1, 'escape', { link: '../../../../../../etc/passwd' });
put(1, 'host', { link: '/etc/hostname' });
put(1, 'loop', { link: 'loop' });
put(2, 'covered/file', 'below a file');
put(0, 'covered', 'a file');

const read = async (name: string, limitBytes = 100) => (await readRootfsFile(dirs, name, { limitBytes }))?.toString();

test('readRootfsFile sees the topmost file and merges directories', async () => {
  assert.equal(await read('/etc/passwd'), 'middle');
  assert.equal(await read('/etc/group'), 'bottom group');
  assert.equal(await read('/etc/other'), 'upper');
});

test('readRootfsFile follows links inside the image and never reads the host', async () => {
  assert.equal(await read('/var/run/real'), 'through a link');
  assert.equal(await read('/escape'), 'middle');
  assert.equal(await read('/host'), undefined);
  assert.equal(await read('/../../etc/passwd'), 'middle');
  await assert.rejects(read('/loop'), /more than 40 symbolic links/);
});

test('readRootfsFile gives nothing for directories, absent files and what a file hides', async () => {
  assert.equal(await read('/etc'), undefined);
  assert.equal(await read('/nothing/here'), undefined);
  assert.equal(await read('/covered/file'), undefined);
  assert.equal(await read('/covered'), 'a file');
});

test('readRootfsFile refuses files beyond its limit', async () => {
  await assert.rejects(read('/etc/passwd', 3), /\/etc\/passwd of the image has 6 bytes; the limit is 3/);
});
