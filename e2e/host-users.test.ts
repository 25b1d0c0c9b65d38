// Pods with users of their own (hostUsers: false), image volumes and mount propagation, from the manifest to the kernel.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { run } from './testing/command.ts';
import { pidOf } from './testing/cri.ts';
import { FOREVER, isRunning, podManifest, sh, untilPod } from './testing/pods.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

let node: TestNode;
before(async () => {
  node = await TestNode.create();
  await node.start('node');
});
after(() => node?.destroy());

async function initOf(podName: string): Promise<number> {
  const labelSelector = { 'io.kubernetes.pod.name': podName };
  const { containers } = await node.cri.runtime.listContainers({ filter: { labelSelector } });
  return pidOf(node.cri, containers[0]?.id ?? '');
}

test('pods have ranges of their own, over a restart of the agent too, and their volumes keep the owners that they see', async () => {
  const shared = path.join(node.dir, 'shared');
  fs.mkdirSync(shared);
  const volumes = [
    { name: 'host', hostPath: { path: shared } },
    { name: 'scratch', emptyDir: {} },
    { name: 'memory', emptyDir: { medium: 'Memory' } },
  ];
  const write = (name: string) => ({
    ...sh(`touch /host/${name} /scratch/x /memory/x && chown 1000 /scratch/x && touch /host/${name}.done && ${FOREVER}`),
    volumeMounts: volumes.map((volume) => ({ name: volume.name, mountPath: `/${volume.name}` })),
  });
  for (const name of ['first', 'second']) node.addManifest(`${name}.yaml`, podManifest(name, write(name), { hostUsers: false, volumes }));
  const pods = await Promise.all(['first', 'second'].map((name) => untilPod(node, name, isRunning)));
  const owners = await Promise.all(['first', 'second'].map(async (name) => fs.statSync(`/proc/${await initOf(name)}`).uid));
  assert.deepEqual(new Set(owners), new Set([65_536, 131_072]));
  await poll('both to have written', () => ['first', 'second'].every((name) => fs.existsSync(path.join(shared, `${name}.done`))));
  for (const name of ['first', 'second']) assert.equal(fs.statSync(path.join(shared, name)).uid, 0);
  const podDir = path.join(node.rootDir, 'pods', pods[0]?.metadata?.uid ?? '');
  assert.equal(fs.statSync(path.join(podDir, 'volumes/kubernetes.io~empty-dir/scratch/x')).uid, 1000);
  const noted = JSON.parse(fs.readFileSync(path.join(podDir, 'userns'), 'utf8'));
  assert.deepEqual(noted.uidMappings, [{ hostId: owners[0], containerId: 0, length: 65_536 }]);

  await node.stop();
  await node.start('node');
  node.addManifest('third.yaml', podManifest('third', write('third'), { hostUsers: false, volumes }));
  await untilPod(node, 'third', isRunning);
  assert.equal(fs.statSync(`/proc/${await initOf('third')}`).uid, 196_608);
  assert.equal(fs.statSync(`/proc/${await initOf('first')}`).uid, owners[0], 'the pod outlived its agent');
  const inFirst = await node.tskubelet(['exec', 'first', '--', 'sh', '-c', 'id -u; cat /proc/self/uid_map']);
  assert.match(inFirst.stdout, new RegExp(`^0\\n +0 +${owners[0]} +65536`), inFirst.stderr);
});

/** What `docker save` would write of an image: a busybox, a copy that anyone may open raw sockets with, and a file of somebody's. */
function writeCapableImage(directory: string, name: string): string {
  const rootfs = path.join(directory, 'rootfs');
  fs.mkdirSync(path.join(rootfs, 'bin'), { recursive: true });
  for (const program of ['busybox', 'grep']) fs.copyFileSync('/bin/busybox', path.join(rootfs, 'bin', program));
  for (const applet of ['sh', 'stat', 'sleep']) fs.symlinkSync('busybox', path.join(rootfs, 'bin', applet));
  execFileSync('setcap', ['cap_net_raw=ep', path.join(rootfs, 'bin/grep')]);
  const own = path.join(rootfs, 'own');
  fs.writeFileSync(own, '');
  fs.chownSync(own, 1000, 1001);
  fs.chmodSync(own, 0o6754);
  const xattrs = ['--xattrs', '--xattrs-include=*'];
  execFileSync('tar', [...xattrs, '-C', rootfs, '-cf', path.join(directory, 'layer.tar'), '.']);
  const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
  const diffIds = [`sha256:${sha256(fs.readFileSync(path.join(directory, 'layer.tar')))}`];
  const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
  const config = Buffer.from(JSON.stringify({ architecture, os: 'linux', rootfs: { type: 'layers', diff_ids: diffIds } }));
  const manifest = [{ Config: 'config.json', RepoTags: [name], Layers: ['layer.tar'] }];
  fs.writeFileSync(path.join(directory, 'config.json'), config);
  fs.writeFileSync(path.join(directory, 'manifest.json'), JSON.stringify(manifest));
  const archive = path.join(directory, 'image.tar');
  execFileSync('tar', ['-C', directory, '-cf', archive, 'manifest.json', 'config.json', 'layer.tar']);
  return archive;
}

const withoutSetcap = spawnSync('setcap', ['-h']).error === undefined ? false : 'setcap is not installed';

test('files of an image keep owner, mode and capabilities, in users of the pod too', { skip: withoutSetcap }, async () => {
  const directory = path.join(node.dir, 'capable');
  fs.mkdirSync(directory);
  const imported = await node.tskubelet(['image', 'import', writeCapableImage(directory, 'localhost/capable:1')]);
  assert.equal(imported.code, 0, imported.stderr);
  const script = `/bin/grep CapEff /proc/self/status; /bin/stat -c '%u %g %a' /own; ${FOREVER}`;
  const container = { ...sh(script), image: 'localhost/capable:1', securityContext: { runAsUser: 1000 } };
  for (const [name, hostUsers] of [
    ['capable-host', true],
    ['capable-own', false],
  ] as const) {
    node.addManifest(`${name}.yaml`, podManifest(name, container, { hostUsers }));
    await untilPod(node, name, isRunning);
    // capability.h: CAP_NET_RAW is bit 13.
    const expected = 'CapEff:\t0000000000002000\n1000 1001 6754\n';
    await poll(`what ${name} sees`, async () => {
      const { stdout, stderr } = await node.tskubelet(['logs', name]);
      assert.equal(stdout, expected, stderr);
      return true;
    });
  }
});

test('a pod sees another image as a volume, whole or a part of it', async () => {
  const built = await node.tskubelet(['image', 'build-host', 'other', '--bin', '/bin/true']);
  assert.equal(built.code, 0, built.stderr);
  const program = fs.realpathSync('/bin/true');
  const volumes = [{ name: 'other', image: { reference: 'localhost/other:host', pullPolicy: 'Never' } }];
  const container = {
    ...sh(`test -x /whole${program} && test -f /part/${path.basename(program)} && ! touch /whole/x && ${FOREVER}`),
    volumeMounts: [
      { name: 'other', mountPath: '/whole' },
      { name: 'other', mountPath: '/part', subPath: path.dirname(program).slice(1) },
    ],
  };
  node.addManifest('image.yaml', podManifest('image', container, { volumes, restartPolicy: 'Never' }));
  await untilPod(node, 'image', isRunning);
  const mountinfo = fs.readFileSync(`/proc/${await initOf('image')}/mountinfo`, 'utf8');
  for (const target of ['/whole', '/part']) assert.match(mountinfo, new RegExp(` ${target} ro,nosuid,nodev,noexec`));
  const absent = [{ name: 'other', image: { reference: 'localhost/absent:v1', pullPolicy: 'Never' } }];
  node.addManifest('absent.yaml', podManifest('absent', container, { volumes: absent }));
  await untilPod(node, 'absent', ({ status }) => status?.containerStatuses?.[0]?.state?.waiting?.reason === 'ErrImageNeverPull');
});

test('parts of volumes: of every kind, by name and by variable, with owners mapped; what leads out is refused', async () => {
  const host = path.join(node.dir, 'parts');
  fs.mkdirSync(path.join(host, 'site'), { recursive: true });
  fs.writeFileSync(path.join(host, 'site/index'), 'of the host\n');
  fs.symlinkSync('/etc', path.join(host, 'trap'));
  const volumes = [
    { name: 'host', hostPath: { path: host } },
    { name: 'scratch', emptyDir: {} },
    { name: 'memory', emptyDir: { medium: 'Memory' } },
  ];
  const container = {
    ...sh(`touch /logs/x /memory/y && cat /index && ! ls /trap && ${FOREVER}`),
    env: [{ name: 'POD', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
    volumeMounts: [
      { name: 'host', mountPath: '/index', subPath: 'site/index', readOnly: true },
      { name: 'scratch', mountPath: '/logs', subPathExpr: 'logs/$(POD)' },
      { name: 'memory', mountPath: '/memory', subPath: 'a' },
    ],
  };
  node.addManifest('parts.yaml', podManifest('parts', container, { hostUsers: false, volumes }));
  const pod = await untilPod(node, 'parts', isRunning);
  const podDir = path.join(node.rootDir, 'pods', pod.metadata?.uid ?? '');
  const below = path.join(podDir, 'volumes/kubernetes.io~empty-dir');
  await poll('both files', () => fs.existsSync(path.join(below, 'memory/a/y')) && fs.existsSync(path.join(below, 'scratch/logs/parts/x')));
  assert.equal(fs.statSync(path.join(below, 'scratch/logs/parts/x')).uid, 0);
  const { stdout } = await node.tskubelet(['logs', 'parts']);
  assert.deepEqual(stdout.split('\n').sort(), ['', 'ls: /trap: No such file or directory', 'of the host']);

  const trap = { ...sh(FOREVER), volumeMounts: [{ name: 'host', mountPath: '/trap', subPath: 'trap' }] };
  node.addManifest('trap.yaml', podManifest('trap', trap, { volumes }));
  const refused = await untilPod(node, 'trap', ({ status }) => status?.containerStatuses?.[0]?.state?.waiting?.message !== undefined);
  const { waiting } = refused.status?.containerStatuses?.[0]?.state ?? {};
  assert.equal(waiting?.reason, 'CreateContainerConfigError');
  assert.match(waiting?.message ?? '', /subPath "trap" of volume "host": "trap": a link in it leads out of the volume/);

  for (const name of ['parts', 'trap']) node.removeManifest(`${name}.yaml`);
  await poll('both to go', () => !fs.existsSync(podDir) && node.mounts().every((target) => !target.includes('volume-subpaths')), 20_000);
  assert.equal(fs.readFileSync(path.join(host, 'site/index'), 'utf8'), 'of the host\n');
});

test('mounts of the host reach a container that asked for them', async () => {
  const source = path.join(node.dir, 'propagating');
  fs.mkdirSync(path.join(source, 'later'), { recursive: true });
  const mount = async (...args: string[]) => assert.equal((await run('mount', args)).code, 0, args.join(' '));
  await mount('--bind', source, source);
  await mount('--make-shared', source);
  try {
    const volumeMounts = [
      { name: 'v', mountPath: '/slave', mountPropagation: 'HostToContainer' },
      { name: 'v', mountPath: '/rro', readOnly: true, recursiveReadOnly: 'Enabled' },
    ];
    const volumes = [{ name: 'v', hostPath: { path: source } }];
    node.addManifest('propagation.yaml', podManifest('propagation', { ...sh(FOREVER), volumeMounts }, { volumes }));
    await untilPod(node, 'propagation', isRunning);
    await mount('-t', 'tmpfs', 'later', path.join(source, 'later'));
    const mountinfo = fs.readFileSync(`/proc/${await initOf('propagation')}/mountinfo`, 'utf8');
    assert.match(mountinfo, / \/slave\/later /);
    assert.doesNotMatch(mountinfo, / \/rro\/later /);
    assert.match(mountinfo, / \/rro ro/);
  } finally {
    for (const target of [path.join(source, 'later'), source]) await run('umount', ['-l', target]);
  }
});
