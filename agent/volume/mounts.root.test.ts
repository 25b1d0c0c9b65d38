import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { mountPointsBelow } from './mounts.ts';
import { ensureVolumes, removeDirectory } from './volumes.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root: mounts a tmpfs';
const base = fs.mkdtempSync(path.join(os.tmpdir(), 'tsk-mounts-'));
after(async () => {
  if (skip === false) await removeDirectory(base);
  else fs.rmSync(base, { recursive: true });
});

test('an emptyDir in memory is one private tmpfs of its size, and is unmounted with its pod', { skip }, async () => {
  const podDir = path.join(base, 'uid');
  const hostPath = path.join(podDir, 'volumes/kubernetes.io~empty-dir/with space');
  const volumes = [{ kind: 'tmpfs', name: 'memory', hostPath, sizeBytes: 1n << 20n }] as const;
  await ensureVolumes(volumes);
  fs.writeFileSync(path.join(hostPath, 'file'), 'kept');
  await ensureVolumes(volumes);
  assert.deepEqual(await mountPointsBelow(podDir), [fs.realpathSync(hostPath)]);
  assert.equal(fs.readFileSync(path.join(hostPath, 'file'), 'utf8'), 'kept');
  assert.equal(fs.statSync(hostPath).mode & 0o7777, 0o777);
  const { blocks, bsize } = fs.statfsSync(hostPath);
  assert.equal(blocks * bsize, 1 << 20);
  const line = fs
    .readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .find((entry) => entry.includes('with\\040space'));
  assert.match(line ?? '', /nosuid,nodev/);
  assert.doesNotMatch(line ?? '', /shared:/);
  assert.throws(() => fs.writeFileSync(path.join(hostPath, 'large'), Buffer.alloc(2 << 20)), { code: 'ENOSPC' });
  await removeDirectory(podDir);
  assert.deepEqual(await mountPointsBelow(podDir), []);
  assert.equal(fs.existsSync(podDir), false);
});
