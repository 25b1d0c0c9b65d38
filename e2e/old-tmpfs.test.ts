// Pods with users of their own on a kernel that cannot map the owners in a tmpfs (before Linux 6.3): here, or this file again in User-Mode
// Linux. Images need a file system that can be mapped there: ext4 on a loop device.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import type { V1Pod } from '@kubernetes/client-node';
import { guestProblem, runInGuest } from './guest/guest.ts';
import { check, run } from './testing/command.ts';
import { outputOf } from './testing/cri.ts';
import { FOREVER, isRunning, podManifest, sh, untilPod } from './testing/pods.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

const [major = 0, minor = 0] = os.release().split('.').map(Number);
if (major < 6 || (major === 6 && minor < 3)) testHere();
else
  test('mapped owners of a tmpfs, in a guest with Linux 6.1', { skip: guestProblem('uml') ?? false, timeout: 480_000 }, async (t) => {
    t.diagnostic('kernel: uml');
    const { exitCode, output } = await runInGuest({
      kind: 'uml',
      command: 'busybox modprobe loop; node --test --test-reporter=spec e2e/old-tmpfs.test.ts',
      timeoutMs: 300_000,
    });
    assert.equal(exitCode, 0, output);
    assert.match(output, /✔ a volume in memory belongs to the root of its pod/);
  });

const FIRST_UID = 65_536;
/** A guest on one of two busy processors takes its time. */
const POD_MS = 90_000;

function testHere(): void {
  let node: TestNode;
  let device = '';
  before(async () => {
    node = await TestNode.create();
    const image = path.join(node.dir, 'disk');
    fs.mkdirSync(node.rootDir);
    fs.closeSync(fs.openSync(image, 'w'));
    fs.truncateSync(image, 256 << 20);
    device = (await check('losetup', ['-f'])).trim();
    await check('losetup', [device, image]);
    await check('mkfs.ext4', ['-q', '-O', '^has_journal', device]);
    await check('mount', ['-t', 'ext4', device, node.rootDir]);
    await node.start('node');
  });
  after(async () => {
    await node?.stop('SIGKILL');
    await run('umount', ['-l', node.rootDir]);
    await run('losetup', ['-d', device]);
    await node?.destroy();
  });

  test('a volume in memory belongs to the root of its pod, whole and in parts; a tmpfs of the host is refused', async () => {
    const volumes = [
      { name: 'memory', emptyDir: { medium: 'Memory' } },
      { name: 'disk', emptyDir: {} },
      { name: 'host', hostPath: { path: node.dir } },
    ];
    const container = {
      ...sh(`touch /memory/x /disk/x /part/y && chown 1000 /part/y && stat -c '%u %n' /memory /memory/x /disk/x /part /part/y; ${FOREVER}`),
      volumeMounts: [
        { name: 'memory', mountPath: '/memory' },
        { name: 'memory', mountPath: '/part', subPath: 'a/b' },
        { name: 'disk', mountPath: '/disk' },
      ],
    };
    node.addManifest('owners.yaml', podManifest('owners', container, { hostUsers: false, volumes }));
    const pod = await untilPod(node, 'owners', isRunning, POD_MS);
    const said = '0 /memory\n0 /memory/x\n0 /disk/x\n0 /part\n1000 /part/y\n';
    const log = path.join(node.logDir, `default_owners_${pod.metadata?.uid}`, 'main/0.log');
    await poll('its output', () => outputOf(log) === said, POD_MS);
    const below = path.join(node.rootDir, 'pods', pod.metadata?.uid ?? '', 'volumes/kubernetes.io~empty-dir');
    const uid = (file: string) => fs.statSync(path.join(below, file)).uid;
    assert.deepEqual(['memory/x', 'memory/a/b', 'memory/a/b/y', 'disk/x'].map(uid), [FIRST_UID, FIRST_UID, FIRST_UID + 1000, 0]);

    const mounting = { ...sh(FOREVER), volumeMounts: [{ name: 'host', mountPath: '/host' }] };
    node.addManifest('refused.yaml', podManifest('refused', mounting, { hostUsers: false, volumes }));
    const isWaiting = ({ status }: V1Pod) => status?.containerStatuses?.[0]?.state?.waiting?.message !== undefined;
    const refused = await untilPod(node, 'refused', isWaiting, POD_MS);
    const { message = '' } = refused.status?.containerStatuses?.[0]?.state?.waiting ?? {};
    assert.match(message, /mount of \/host: this kernel cannot map the owners of the file system of/);
  });
}
