import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { V1ContainerStatus, V1Pod } from '@kubernetes/client-node';
import { codeOfFailure } from './exit-code.ts';
import { type ExplainedPod, renderExplainedPod } from './explain-text.ts';
import { podMessage, podStatus } from './get.ts';
import { renderImages } from './image.ts';
import { chooseRun } from './log-files.ts';
import { parseSince, planLogRequest } from './logs.ts';
import { renderNextSteps } from './next-steps.ts';
import { prefixLines } from './run-output.ts';
import { complaintsOf } from './run-status.ts';
import { outcomeOf, renderOutcomes } from './settled.ts';
import { renderAge, renderSize, renderTable } from './table.ts';

type State = V1ContainerStatus['state'];

function pod(states: readonly State[], status: V1Pod['status'] = {}, name = 'web'): V1Pod {
  const containerStatuses = states.map((state, at) => ({
    name: `c${at}`,
    ready: true,
    restartCount: 0,
    image: '',
    imageID: '',
    ...(state ? { state } : {}),
  }));
  const containers = states.map((_, at) => ({ name: `c${at}` }));
  return { metadata: { name, namespace: 'default' }, spec: { containers }, status: { phase: 'Running', ...status, containerStatuses } };
}

const running: State = { running: {} };
const ended = (exitCode: number, reason = exitCode === 0 ? 'Completed' : 'Error'): State => ({ terminated: { exitCode, reason } });
const waiting = (reason: string, message = ''): State => ({ waiting: { reason, message } });

for (const [title, one, expected] of [
  ['running', pod([running]), 'Running'],
  ['one of two has completed', pod([running, ended(0)]), 'Running'],
  ['all have completed', pod([ended(0), ended(0)], { phase: 'Succeeded' }), 'Completed'],
  ['the failed one is told before the completed one', pod([ended(0), ended(1)], { phase: 'Failed' }), 'Error'],
  ['waiting', pod([waiting('ImagePullBackOff')], { phase: 'Pending' }), 'ImagePullBackOff'],
  ['no containers yet', pod([], { phase: 'Pending' }), 'Pending'],
  ['killed without a reason', pod([{ terminated: { exitCode: 137, signal: 9 } }]), 'Signal:9'],
  ['being removed', { ...pod([running]), metadata: { deletionTimestamp: new Date() } }, 'Terminating'],
] as const)
  test(`podStatus: ${title}`, () => {
    assert.equal(podStatus(one), expected);
  });

test('a pod whose image is being pulled tells how far that is', () => {
  const one = pod([running, waiting('ContainerCreating')]);
  const pull = (doneBytes: number, name = 'web') => ({
    ...{ namespace: 'default', pod: name, container: 'c1', image: 'x', layers: [] },
    transfer: { doneBytes, totalBytes: 1000, unpacking: false },
  });
  assert.equal(podStatus(one, [pull(430)]), 'Pulling 43%');
  assert.equal(podStatus(one, [pull(430), pull(0)]), 'Pulling 21%');
  assert.equal(podStatus(one, [{ ...pull(0), transfer: { doneBytes: 0, totalBytes: 0, unpacking: false } }]), 'Pulling');
  assert.equal(podStatus(one, [pull(430, 'other')]), 'ContainerCreating');
  assert.equal(podStatus(pod([waiting('ErrImagePull')]), [pull(430)]), 'ErrImagePull');
});

test('podMessage is what is wrong, and nothing when nothing is', () => {
  assert.equal(podMessage(pod([running])), '');
  assert.equal(podMessage(pod([running, waiting('ErrImagePull', 'no registry answers')])), 'no registry answers');
});

for (const [title, one, expected] of [
  ['running', pod([running]), 'runs'],
  ['nothing is known yet', { ...pod([running]), status: {} }, 'starting'],
  ['one is still being made', pod([running, waiting('ContainerCreating')]), 'starting'],
  ['one cannot be pulled', pod([running, waiting('ErrImagePull')]), 'fails'],
  ['one waits after a crash', pod([waiting('CrashLoopBackOff')]), 'fails'],
  ['done', pod([ended(0)], { phase: 'Succeeded' }), 'finished'],
  ['failed', pod([ended(1)], { phase: 'Failed' }), 'fails'],
] as const)
  test(`outcomeOf: ${title}`, () => {
    assert.equal(outcomeOf(one), expected);
  });

test('renderOutcomes counts in words', () => {
  assert.equal(renderOutcomes(['runs', 'runs', 'finished', 'fails']), '2 pods run, 1 has finished, 1 fails');
  assert.equal(renderOutcomes(['starting']), '1 pod is still starting');
  assert.equal(renderOutcomes([]), 'no pods yet');
});

test('renderNextSteps names the node where it is not the default one, and what fails', () => {
  const facts = { program: 'tskubelet', criSocket: '/x/cri.sock', readOnly: '127.0.0.1:10255', stopPodsOnExit: true, manifests: ['/pods'] };
  const text = renderNextSteps({ ...facts, where: ' --run-dir /x', pods: [pod([running]), pod([waiting('ErrImagePull')], {}, 'bad')] });
  assert.equal(
    text,
    [
      '',
      '1 pod runs, 1 fails. Try next, in another terminal:',
      '  tskubelet --run-dir /x get pods -A -o wide        # all pods, and what is wrong',
      '  tskubelet --run-dir /x logs -f web                # what it writes',
      '  tskubelet --run-dir /x explain web start          # the system calls that made it',
      '  crictl --runtime-endpoint unix:///x/cri.sock ps   # the same over CRI',
      '  curl http://127.0.0.1:10255/metrics               # what Prometheus scrapes',
      'Add, change or remove a file in /pods: its pods follow.',
      'Ctrl-C ends tskubelet and its pods.',
      '',
      '',
    ].join('\n'),
  );
  assert.match(
    renderNextSteps({ ...facts, where: '', pods: [], readOnly: undefined, stopPodsOnExit: false }),
    /^\nno pods yet[\s\S]*its pods run on\.\n\n$/,
  );
});

for (const [sentence, code] of [
  ['exec "nope": executable file not found in $PATH', 127],
  ['exec "/nope": no such file or directory in the container', 127],
  ['start container x: exec "/x": the file is there, its interpreter is not (#! line or ELF loader)', 127],
  ['exec "/etc/hosts": permission denied (not an executable file, or closed to the user)', 126],
  ['exec "/x": exec format error (no #! line, or built for another architecture)', 126],
  ['OCI runtime exec failed: exec: "nope": executable file not found in $PATH', 127],
  ['mount /x: no such file or directory', 125],
  ['container "web" does not run', 125],
] as const)
  test(`codeOfFailure: ${sentence} is ${code}`, () => {
    assert.equal(codeOfFailure(sentence), code);
  });

test('complaintsOf gives up what cannot start, and tells an OOM kill', () => {
  assert.deepEqual(complaintsOf(pod([waiting('ContainerCreating'), running, ended(3)])), []);
  assert.deepEqual(complaintsOf(pod([waiting('CrashLoopBackOff', 'back-off 10s')])), [
    { sentence: 'web/c0: CrashLoopBackOff: back-off 10s' },
  ]);
  assert.deepEqual(complaintsOf(pod([waiting('RunContainerError', 'exec "x": executable file not found in $PATH')])), [
    { sentence: 'web/c0: RunContainerError: exec "x": executable file not found in $PATH', exitCode: 127 },
  ]);
  assert.deepEqual(complaintsOf(pod([waiting('ErrImagePull', 'no')])), [{ sentence: 'web/c0: ErrImagePull: no', exitCode: 125 }]);
  assert.deepEqual(complaintsOf(pod([ended(137, 'OOMKilled')])), [{ sentence: 'web/c0: OOMKilled' }]);
});

async function prefixed(...chunks: string[]): Promise<string> {
  const source = (async function* () {
    for (const chunk of chunks) yield Buffer.from(chunk);
  })();
  let text = '';
  for await (const piece of prefixLines(source, '[a] ')) text += piece.toString();
  return text;
}

test('prefixLines prefixes lines, however they are cut into chunks, and ends the last one', async () => {
  assert.equal(await prefixed('one\ntw', 'o\n', '\nthr', 'ee'), '[a] one\n[a] two\n[a] \n[a] three\n');
  assert.equal(await prefixed(), '');
});

test('parseSince reads durations', () => {
  assert.deepEqual(['5s', '2m', '1h30m', '0.5s'].map(parseSince), [5, 120, 5400, 1]);
  for (const text of ['', '5', '5d', '5s!', 'm']) assert.throws(() => parseSince(text), { exitCode: 2 });
});

test('planLogRequest encodes what kubectl calls the same', () => {
  const target = { namespace: 'default', name: 'web', container: 'app' };
  assert.equal(planLogRequest(target, { follow: false, previous: false, timestamps: false }), '/containerLogs/default/web/app');
  assert.equal(
    planLogRequest(target, { follow: true, previous: false, timestamps: true, tailLines: 0, sinceSeconds: 5 }),
    '/containerLogs/default/web/app?follow=true&timestamps=true&tailLines=0&sinceSeconds=5',
  );
});

test('chooseRun takes the newest run, or the one before', () => {
  const files = ['0.log', '10.log', '9.log', '9.log.20250101-000000', 'x'];
  assert.deepEqual(
    [chooseRun(files, false), chooseRun(files, true), chooseRun(['0.log'], true), chooseRun([], false)],
    [10, 9, undefined, undefined],
  );
});

test('tables, ages and sizes look as in kubectl and crictl', () => {
  assert.equal(
    renderTable(
      ['A', 'LONG'],
      [
        ['x', 'y'],
        ['wide one', ''],
      ],
    ),
    'A          LONG\nx          y\nwide one\n',
  );
  assert.deepEqual([0, 119e3, 120e3, 330e3, 3600e3 * 2, 3600e3 * 47, 3600e3 * 49].map(renderAge), [
    '0s',
    '119s',
    '2m',
    '5m30s',
    '120m',
    '47h',
    '2d',
  ]);
  assert.deepEqual([0n, 999n, 1000n, 742_000n, 11_900_000n, 999_600n, 1_050_000_000n].map(renderSize), [
    '0B',
    '999B',
    '1kB',
    '742kB',
    '11.9MB',
    '1MB',
    '1.05GB',
  ]);
});

test('image ls splits names at the tag, not at the port', () => {
  const row = { id: `sha256:${'ab'.repeat(32)}`, repoDigests: [], size: 1000n, pinned: false };
  const rows = [
    { ...row, repoTags: ['localhost:5000/x:1', 'docker.io/library/a:latest'] },
    { ...row, repoTags: [], repoDigests: ['docker.io/library/b@sha256:00'] },
  ];
  assert.equal(
    renderImages(rows, {}),
    [
      'IMAGE                 TAG      IMAGE ID       SIZE',
      'docker.io/library/a   latest   abababababab   1kB',
      'docker.io/library/b   <none>   abababababab   1kB',
      'localhost:5000/x      1        abababababab   1kB',
      '',
    ].join('\n'),
  );
});

test('an explained start tells phases, cgroup files, fields, and many like steps as one', () => {
  const drops = ['A', 'B', 'C', 'D'].map((name, at) => ({
    number: at + 1,
    phase: 'identity',
    call: `prctl(PR_CAPBSET_DROP, CAP_${name})`,
    field: 'linux.security_context.capabilities',
  }));
  const explained: ExplainedPod = {
    namespace: 'default',
    pod: 'web',
    containers: [
      {
        name: 'app',
        state: 'running',
        phases: { cgroup: 0.25, process: 2 },
        cgroup: {
          path: '/kubepods/x',
          writes: [{ controller: 'memory', file: 'memory.max', value: '5' }],
          unexpressed: [{ intent: 'memory.oom.group', reason: 'cgroup v1 memory controller' }],
        },
        steps: [
          { number: 0, phase: 'volumes', call: 'move_mount()', field: 'mounts /data' },
          ...drops,
          { number: 9, phase: 'execute', call: 'execve()', note: 'the program', field: 'command' },
        ],
      },
    ],
  };
  const pad = (call: string) => call.padEnd(72);
  assert.equal(
    renderExplainedPod(explained),
    [
      'container app, running, made in 2.3 ms (cgroup 0.3, process 2.0)',
      '  cgroup /kubepods/x',
      `    ${'memory.max = 5'.padEnd(78)}  # [resources.limits.memory]`,
      '    not on this machine: memory.oom.group (cgroup v1 memory controller)',
      '  volumes',
      `       0  ${pad('move_mount()')}  # [volumeMounts, at /data]`,
      '  identity',
      `      1…  ${pad('prctl(PR_CAPBSET_DROP, CAP_A … CAP_D)   4 times')}  # [securityContext.capabilities]`,
      '  execute',
      `       9  ${pad('execve()')}  # [command, args] the program`,
      '',
    ].join('\n'),
  );
});
