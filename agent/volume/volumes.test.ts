import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { makePod } from '../pod/testing/model.ts';
import { ensureHostPath } from './host-path.ts';
import { parseMountPoints } from './mounts.ts';
import { planVolumes } from './plan.ts';
import { ensureVolumes, removeDirectory } from './volumes.ts';

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'tsk-volumes-'));
after(() => fs.rmSync(base, { recursive: true, force: true }));

const paths = { podsDir: path.join(base, 'pods'), logDir: path.join(base, 'log') };

test('planVolumes places an emptyDir below the pod and bounds one in memory by the least limit', () => {
  const pod = makePod('Always', ['c'], {
    volumes: [
      { name: 'disk', emptyDir: {} },
      { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '1Gi' } },
      { name: 'free', emptyDir: { medium: 'Memory' } },
      { name: 'host', hostPath: { path: '/srv', type: 'Directory' } },
    ],
  });
  const below = path.join(paths.podsDir, pod.metadata?.uid ?? '', 'volumes/kubernetes.io~empty-dir');
  assert.deepEqual(planVolumes(pod, paths), [
    { kind: 'directory', name: 'disk', hostPath: `${below}/disk` },
    { kind: 'tmpfs', name: 'memory', hostPath: `${below}/memory`, sizeBytes: 1n << 30n },
    { kind: 'tmpfs', name: 'free', hostPath: `${below}/free`, sizeBytes: undefined },
    { kind: 'hostPath', name: 'host', hostPath: '/srv', type: 'Directory' },
  ]);
  for (const container of pod.spec?.containers ?? []) container.resources = { limits: { memory: '64Mi' } };
  assert.deepEqual(
    planVolumes(pod, paths).flatMap((volume) => (volume.kind === 'tmpfs' ? [volume.sizeBytes] : [])),
    [64n << 20n, 64n << 20n],
  );
});

test('an emptyDir is open to every user, keeps its files, and goes with its directory', async () => {
  const hostPath = path.join(base, 'pods/uid/volumes/kubernetes.io~empty-dir/cache');
  const volumes = [{ kind: 'directory', name: 'cache', hostPath }] as const;
  await ensureVolumes(volumes);
  fs.writeFileSync(path.join(hostPath, 'file'), 'kept');
  await ensureVolumes(volumes);
  assert.equal(fs.statSync(hostPath).mode & 0o7777, 0o777);
  assert.equal(fs.readFileSync(path.join(hostPath, 'file'), 'utf8'), 'kept');
  await removeDirectory(path.join(base, 'pods/uid'));
  await removeDirectory(path.join(base, 'pods/uid'));
  assert.equal(fs.existsSync(path.join(base, 'pods/uid')), false);
});

test('hostPath types check what is there, and make what may be made', async () => {
  const at = (name: string) => path.join(base, 'host', name);
  fs.mkdirSync(at('directory'), { recursive: true });
  fs.writeFileSync(at('file'), '');
  const server = net.createServer().listen(at('socket'));
  await new Promise((resolve) => server.once('listening', resolve));
  for (const [type, good, bad] of [
    ['Directory', at('directory'), at('file')],
    ['DirectoryOrCreate', at('directory'), at('file')],
    ['File', at('file'), at('directory')],
    ['FileOrCreate', at('file'), at('directory')],
    ['Socket', at('socket'), at('file')],
    ['CharDevice', '/dev/null', at('file')],
    ['BlockDevice', undefined, '/dev/null'],
  ] as const) {
    if (good !== undefined) await ensureHostPath(good, type);
    await assert.rejects(ensureHostPath(bad, type), { message: new RegExp(`^hostPath type check failed: ${bad} is not a `) }, type);
    if (!type.endsWith('OrCreate')) await assert.rejects(ensureHostPath(at('none'), type), { message: /none does not exist$/ }, type);
  }
  server.close();
  await ensureHostPath(at('new/deep'), 'DirectoryOrCreate');
  assert.equal(fs.statSync(at('new/deep')).isDirectory(), true);
  await ensureHostPath(at('made'), 'FileOrCreate');
  assert.equal(fs.statSync(at('made')).mode & 0o777, 0o644);
  await assert.rejects(ensureHostPath(at('no/file'), 'FileOrCreate'), { message: /its directory .*\/no does not exist$/ });
  await ensureHostPath(at('none'), '');
});

test('a volume that cannot be set up is named', async () => {
  const volumes = [{ kind: 'hostPath', name: 'data', hostPath: '/nonexistent', type: 'Directory' }] as const;
  await assert.rejects(ensureVolumes(volumes), (error: Error) => {
    assert.equal(error.message, 'set up volume "data"');
    assert.match((error.cause as Error).message, /\/nonexistent does not exist/);
    return true;
  });
});

test('parseMountPoints takes what is at or below a directory, deepest first, with spaces', () => {
  const line = (point: string) => `36 35 0:31 / ${point} rw,nosuid shared:1 - tmpfs tmpfs rw`;
  const text = ['/', '/pods', '/pods/a', '/pods/a/b\\040c', '/podsother'].map(line).join('\n');
  assert.deepEqual(parseMountPoints(text, '/pods'), ['/pods/a/b c', '/pods/a', '/pods']);
});
