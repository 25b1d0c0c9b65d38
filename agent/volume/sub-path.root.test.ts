import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { mountPointsBelow } from './mounts.ts';
import { ensureSubPaths, type PlannedSubPath } from './sub-path.ts';
import { removeVolumes } from './volumes.ts';

const skip = process.getuid?.() === 0 ? false : 'mounting needs root';
const base = fs.mkdtempSync(path.join(os.tmpdir(), 'tsk-subpath-'));
const paths = { podsDir: path.join(base, 'pods'), logDir: path.join(base, 'log') };
const uid = 'the-uid';
const volumePath = path.join(base, 'volume');
const outside = path.join(base, 'outside');
fs.mkdirSync(volumePath);
fs.chmodSync(volumePath, 0o2770);
fs.mkdirSync(outside);
fs.writeFileSync(path.join(outside, 'secret'), 'of the host');
after(async () => {
  if (skip === false) await removeVolumes(paths, uid);
  fs.rmSync(base, { recursive: true, force: true });
});

let count = 0;
function part(subPath: string): PlannedSubPath {
  const hostPath = path.join(paths.podsDir, uid, 'volume-subpaths/data/main', String(count++));
  return { volume: 'data', volumePath, subPath, hostPath };
}

function assertRefused(planned: PlannedSubPath, cause: RegExp): void {
  assert.throws(
    () => ensureSubPaths([planned]),
    (error: Error) => {
      assert.equal(error.message, `mount subPath "${planned.subPath}" of volume "data"`);
      assert.match((error.cause as Error).message, cause);
      return true;
    },
  );
}

test('a directory that is missing is made with the mode of the volume, and mounted', { skip }, () => {
  const deep = part('a/./b/');
  ensureSubPaths([deep]);
  fs.writeFileSync(path.join(deep.hostPath, 'file'), 'x');
  assert.equal(fs.readFileSync(path.join(volumePath, 'a/b/file'), 'utf8'), 'x');
  for (const made of ['a', 'a/b']) assert.equal(fs.statSync(path.join(volumePath, made)).mode & 0o7777, 0o2770, made);
});

test('a file is mounted as one, and links that stay inside are followed', { skip }, () => {
  fs.mkdirSync(path.join(volumePath, 'c'));
  fs.writeFileSync(path.join(volumePath, 'c/file'), 'y');
  fs.symlinkSync('../c', path.join(volumePath, 'c/round'));
  const file = part('c/round/file');
  ensureSubPaths([file]);
  assert.equal(fs.readFileSync(file.hostPath, 'utf8'), 'y');
  fs.writeFileSync(file.hostPath, 'z');
  assert.equal(fs.readFileSync(path.join(volumePath, 'c/file'), 'utf8'), 'z');
});

for (const [name, target, subPath] of [
  ['absolute', outside, 'absolute'],
  ['relative', '../outside', 'relative'],
  ['a part of it', '..', 'a part of it/outside'],
  ['to the root', '/', 'to the root/etc'],
  ['through it something would be made', outside, 'through it something would be made/new'],
] as const)
  test(`a link out of the volume is refused: ${name}`, { skip }, () => {
    fs.symlinkSync(target, path.join(volumePath, name));
    const escaping = part(subPath);
    assertRefused(escaping, /a link in it leads out of the volume/);
    assert.equal(fs.existsSync(escaping.hostPath), false);
    assert.deepEqual(fs.readdirSync(outside), ['secret']);
  });

test('a link that leads nowhere and a file in the way are told', { skip }, () => {
  fs.symlinkSync('nowhere', path.join(volumePath, 'dangling'));
  fs.writeFileSync(path.join(volumePath, 'plain'), '');
  for (const subPath of ['dangling/x', 'plain/x'])
    assertRefused(part(subPath), /a part of it is no directory, or a link that leads nowhere/);
});

test('what was found stays mounted when a link takes its place; the next container gets what is there then', { skip }, () => {
  const swapped = part('swap');
  ensureSubPaths([swapped]);
  fs.renameSync(path.join(volumePath, 'swap'), path.join(volumePath, 'old'));
  fs.symlinkSync(outside, path.join(volumePath, 'swap'));
  assert.deepEqual(fs.readdirSync(swapped.hostPath), []);
  assertRefused(swapped, /leads out of the volume/);
  fs.rmSync(path.join(volumePath, 'swap'));
  fs.writeFileSync(path.join(volumePath, 'swap'), 'a file now');
  ensureSubPaths([swapped]);
  assert.equal(fs.readFileSync(swapped.hostPath, 'utf8'), 'a file now');
});

test('mounts go before the volumes, and what they showed stays', { skip }, async () => {
  await removeVolumes(paths, uid);
  await removeVolumes(paths, uid);
  assert.deepEqual(await mountPointsBelow(base), []);
  assert.equal(fs.readFileSync(path.join(volumePath, 'c/file'), 'utf8'), 'z');
});
