// The agent on the real runtime: a folder of manifests against what runs on the machine.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { ContainerState } from '../cri-proto/gen/api.ts';
import { BUSYBOX, pidOf } from './testing/cri.ts';
import {
  FOREVER,
  getJson,
  isRunning,
  listPods,
  namesIn,
  podManifest,
  sh,
  untilContainers,
  untilNothingLeft,
  untilPod,
} from './testing/pods.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

let node: TestNode;
/** Where pods of these tests and the tests themselves leave words for each other. */
let shared: string;

before(async () => {
  node = await TestNode.create();
  shared = path.join(node.dir, 'shared');
  fs.mkdirSync(shared);
  await node.start('node');
  await node.cri.image.pullImage({ image: { image: BUSYBOX } });
});
after(() => node?.destroy());

const SHARED_MOUNT = { volumeMounts: [{ name: 'shared', mountPath: '/shared' }] };
const sharedVolume = () => ({ volumes: [{ name: 'shared', hostPath: { path: shared } }] });
const sharedFile = (name: string) => path.join(shared, name);

/** Says in /shared/words what happens to it, and takes its time to end. */
const talker = (version: string) =>
  podManifest(
    'talker',
    {
      ...sh(
        `say() { echo "$1 ${version}" >>/shared/words; }; trap "say term; usleep 300000; say end; exit 0" TERM; say start; while :; do usleep 20000; done`,
      ),
      volumeMounts: [...SHARED_MOUNT.volumeMounts, { name: 'memory', mountPath: '/memory' }],
    },
    { volumes: [...sharedVolume().volumes, { name: 'memory', emptyDir: { medium: 'Memory' } }] },
  );

const words = () => fs.readFileSync(sharedFile('words'), 'utf8').trim().split('\n');

test('a dropped file starts its pod long before the next look at the folder', async (t) => {
  node.addManifest('talker.yaml', talker('v1'));
  const droppedMs = Date.now();
  const { startedAt = 0n } = (await untilContainers(node, 'talker', { state: ContainerState.CONTAINER_RUNNING })).get('main') ?? {};
  const tookMs = Number(startedAt / 1_000_000n) - droppedMs;
  t.diagnostic(`from rename to running: ${tookMs} ms`);
  // Less than a second, mostly; the folder is read anew every 20 s.
  assert.ok(tookMs < 15_000, `${tookMs} ms`);
  await poll('its first word', () => fs.existsSync(sharedFile('words')));
});

test('a changed file replaces the pod: the old one is told, and gone before the new one starts', async () => {
  node.addManifest('talker.yaml', talker('v2'));
  await poll('the new pod', () => words().includes('start v2'));
  assert.deepEqual(words(), ['start v1', 'term v1', 'end v1', 'start v2']);
});

test('a removed file ends the pod gracefully and leaves nothing', async () => {
  node.removeManifest('talker.yaml');
  await untilNothingLeft(node);
  assert.deepEqual(words().slice(4), ['term v2', 'end v2']);
  // Told by the agent once it has seen that nothing is left.
  await poll('an empty list of pods', async () => (await listPods(node)).length === 0);
});

test('a pod that keeps crashing waits in CrashLoopBackOff, with its count and its last end', async () => {
  node.addManifest('crasher.yaml', podManifest('crasher', sh('exit 7')));
  const pod = await untilPod(node, 'crasher', ({ status }) => {
    const [container] = status?.containerStatuses ?? [];
    return container?.state?.waiting?.reason === 'CrashLoopBackOff' && container.restartCount >= 1;
  });
  const [container] = pod.status?.containerStatuses ?? [];
  assert.equal(container?.lastState?.terminated?.exitCode, 7);
  assert.equal(container.lastState.terminated.reason, 'Error');
  assert.match(container.state?.waiting?.message ?? '', /^back-off \d+s restarting failed container=main pod=crasher/);
  // It runs for a moment now and then.
  await poll('the table to say so', async () => {
    const { stdout } = await node.tskubelet(['get', 'pods']);
    if (!/crasher +0\/1 +CrashLoopBackOff +[1-9]\d* \(\S+ ago\)/.test(stdout)) throw new Error(stdout);
    return true;
  });
  node.removeManifest('crasher.yaml');
  await untilNothingLeft(node);
});

test('over kill -9 of the daemon the same processes run on, restarts stay counted, and a job that ended meanwhile has its exit code', async () => {
  const waiting = { ...SHARED_MOUNT, ...sh('while [ ! -e /shared/go ]; do usleep 10000; done; echo done; exit 42') };
  node.addManifest('job.yaml', podManifest('job', waiting, { ...sharedVolume(), restartPolicy: 'Never' }));
  const onceThen = { ...SHARED_MOUNT, ...sh(`[ -e /shared/once ] || { touch /shared/once; exit 7; }; ${FOREVER}`) };
  node.addManifest('again.yaml', podManifest('again', onceThen, sharedVolume()));
  node.addManifest('steady.yaml', podManifest('steady', sh(FOREVER)));
  await untilPod(node, 'again', (pod) => isRunning(pod) && pod.status?.containerStatuses?.[0]?.restartCount === 1);
  await untilPod(node, 'steady', isRunning);
  await untilPod(node, 'job', isRunning);
  const runs = async (name: string) => {
    const status = (await listPods(node)).find(({ metadata }) => metadata?.name === name)?.status?.containerStatuses?.[0];
    const id = status?.containerID?.replace(/^.*:\/\//, '') ?? '';
    return { id, pid: await pidOf(node.cri, id), restarts: status?.restartCount, startedAt: status?.state?.running?.startedAt };
  };
  const before = { again: await runs('again'), steady: await runs('steady') };
  const job = await runs('job');

  await node.stop('SIGKILL');
  fs.writeFileSync(sharedFile('go'), '');
  await poll('the job to end', () => !fs.existsSync(`/proc/${job.pid}`));
  await node.start('node');

  const ended = await untilPod(node, 'job', ({ status }) => status?.phase === 'Failed');
  const { exitCode, reason } = ended.status?.containerStatuses?.[0]?.state?.terminated ?? {};
  assert.deepEqual([exitCode, reason], [42, 'Error']);
  assert.equal((await node.tskubelet(['logs', 'job'])).stdout, 'done\n');
  await untilPod(node, 'again', isRunning);
  await untilPod(node, 'steady', isRunning);
  assert.deepEqual({ again: await runs('again'), steady: await runs('steady') }, before);
});

test('one bad file harms no other pod and is told', async () => {
  const idOf = (pod: { status?: { containerStatuses?: { containerID?: string }[] } }) => pod.status?.containerStatuses?.[0]?.containerID;
  const before = idOf(await untilPod(node, 'steady', isRunning));
  node.addManifest('bad.yaml', 'apiVersion: v1\nkind: Pod\nmetadata:\n  name: [oops\n');
  node.addManifest('later.yaml', podManifest('later', sh(FOREVER)));
  await untilPod(node, 'later', isRunning);
  const problem = await poll('the problem', async () =>
    (await getJson<{ text: string; file: string }[]>(node, '/problems')).find(({ file }) => file.endsWith('bad.yaml')),
  );
  assert.match(problem.text, /bad\.yaml.*line \d/);
  await poll('the problem in the log', () => node.log.includes(problem.text));
  assert.equal(idOf(await untilPod(node, 'steady', isRunning)), before);
  node.removeManifest('bad.yaml');
  node.removeManifest('later.yaml');
});

test('get pods, logs, exec and explain work from the command line', async () => {
  node.addManifest('cli.yaml', podManifest('cli', sh(`echo hello; ${FOREVER}`)));
  await untilPod(node, 'cli', isRunning);
  assert.match((await node.tskubelet(['get', 'pods'])).stdout, /^NAME +READY +STATUS +RESTARTS +AGE *\n(.*\n)*cli +1\/1 +Running +0 /);
  assert.match((await node.tskubelet(['get', 'pods', 'cli', '-o', 'wide'])).stdout, /cli +1\/1 +Running .* 10\.\d+\.\d+\.\d+ +node/);
  assert.equal((await node.tskubelet(['logs', 'cli'])).stdout, 'hello\n');
  const exec = await node.tskubelet(['exec', 'cli', '--', 'sh', '-c', 'hostname; echo err >&2; exit 3']);
  assert.deepEqual([exec.code, exec.stdout, exec.stderr.startsWith('err\n')], [3, 'cli\n', true]);
  assert.equal((await node.tskubelet(['exec', 'cli', '--', 'no-such-program'])).code, 127);
  const explained = await node.tskubelet(['explain', 'cli', 'start']);
  assert.equal(explained.code, 0, explained.stderr);
  for (const step of [/pivot_root/, /execve/, /setns/]) assert.match(explained.stdout, step);
  node.removeManifest('cli.yaml');
});

test('50 pods at once from 50 files all run, and removed at once leave nothing', async (t) => {
  for (const name of ['job', 'again', 'steady']) node.removeManifest(`${name}.yaml`);
  await untilNothingLeft(node);
  const names = Array.from({ length: 50 }, (_, i) => `many-${i}`);
  const started = Date.now();
  for (const name of names) node.addManifest(`${name}.yaml`, podManifest(name, sh(FOREVER)));
  await poll('50 running pods', async () => (await listPods(node)).filter(isRunning).length === 50, 120_000);
  const ips = new Set((await listPods(node)).map(({ status }) => status?.podIP));
  assert.equal(ips.size, 50, 'each has an address of its own');
  const running = Date.now();
  for (const name of names) node.removeManifest(`${name}.yaml`);
  await untilNothingLeft(node, 120_000);
  t.diagnostic(`running after ${running - started} ms, gone after ${Date.now() - running} ms`);
  // Told by the agent once it has seen that nothing is left.
  await poll('an empty list of pods', async () => (await listPods(node)).length === 0);
});

test('SIGTERM leaves the pods running; with --stop-pods-on-exit it leaves the machine clean', async () => {
  node.addManifest('stays.yaml', podManifest('stays', sh(FOREVER)));
  const { id = '' } = (await untilContainers(node, 'stays', { state: ContainerState.CONTAINER_RUNNING })).get('main') ?? {};
  const pid = await pidOf(node.cri, id);
  assert.equal(await node.stop('SIGTERM'), 0);
  assert.ok(fs.existsSync(`/proc/${pid}`), 'the container runs on');
  assert.match(node.log, /1 pod runs on, and the next start finds it/);

  await node.start('node', { flags: ['--stop-pods-on-exit'] });
  await untilPod(node, 'stays', isRunning);
  assert.equal(await pidOf(node.cri, id), pid);
  assert.equal(await node.stop('SIGTERM'), 0);
  assert.ok(!fs.existsSync(`/proc/${pid}`));
  assert.match(node.log, /no pod is left and .* is clean/);
  const links = (await node.inNetwork(['ip', '-br', 'link'])).stdout.trim().split('\n');
  assert.deepEqual(
    {
      processes: node.processes(),
      mounts: node.mounts(),
      // The cgroup that --cgroup-root names is its user's.
      cgroups: node.cgroups().filter((directory) => !directory.endsWith(node.cgroupRoot)),
      links: links.map((line) => line.split(/[ @]/)[0]),
      run: namesIn(node.runDir),
    },
    { processes: [], mounts: [], cgroups: [], links: ['lo'], run: [] },
  );
});
