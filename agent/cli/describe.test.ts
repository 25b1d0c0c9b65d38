import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { V1Pod } from '@kubernetes/client-node';
import { renderPod } from './describe-text.ts';

const NOW = Date.parse('2026-11-27T10:00:00Z');
const at = (secondsAgo: number) => new Date(NOW - secondsAgo * 1000);

const pod: V1Pod = {
  metadata: { name: 'web', namespace: 'default', uid: 'u1', labels: { tier: 'front', app: 'web' } },
  spec: {
    nodeName: 'n1',
    restartPolicy: 'Always',
    containers: [
      {
        name: 'main',
        image: 'x',
        command: ['sh', '-c'],
        ports: [
          { containerPort: 80, hostPort: 8080 },
          { containerPort: 53, protocol: 'UDP' },
        ],
        env: [
          { name: 'PLAIN', value: 'a' },
          { name: 'SECRET', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } },
          { name: 'POD', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
        ],
        resources: { limits: { memory: '1Gi', cpu: '1' } },
        volumeMounts: [{ name: 'data', mountPath: '/data', readOnly: true, subPath: 'in' }],
      },
    ],
    volumes: [{ name: 'data', hostPath: { path: '/srv', type: 'Directory' } }],
  },
  status: {
    phase: 'Running',
    hostIP: '10.0.0.1',
    startTime: at(600),
    qosClass: 'Burstable',
    conditions: [{ type: 'Ready', status: 'False', reason: 'ContainersNotReady' }],
    containerStatuses: [
      {
        ...{ name: 'main', image: 'x', imageID: 'sha256:1', ready: false, restartCount: 2 },
        state: { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 20s' } },
        lastState: { terminated: { exitCode: 1, reason: 'Error', startedAt: at(30), finishedAt: at(20) } },
      },
    ],
  },
};

const backOff = (secondsAgo: number) => ({
  ...{ type: 'Warning', reason: 'BackOff', message: 'back-off', namespace: 'default', pod: 'web', container: 'main' },
  time: at(secondsAgo).toISOString(),
});

test('describe tells the pod, its containers and its events in kubectl layout', () => {
  const events = [
    backOff(90),
    backOff(30),
    { ...backOff(5), pod: 'other' },
    { type: 'Warning', reason: 'ImageGCFailed', message: 'x', time: at(1).toISOString() },
  ];
  const text = renderPod(pod, { events, pulls: [], nowMs: NOW });
  for (const line of [
    'Name:           web',
    'Node:           n1/10.0.0.1',
    'Start Time:     Fri, 27 Nov 2026 09:50:00 +0000',
    'Labels:         app=web',
    '                tier=front',
    'Annotations:    <none>',
    'Status:         Running (CrashLoopBackOff)',
    'IPs:            <none>',
    '    Ports:         80/TCP, 53/UDP',
    '    Host Ports:    8080/TCP, 0/UDP',
    '      sh',
    '    State:         Waiting',
    '      Reason:      CrashLoopBackOff',
    '      Message:     back-off 20s',
    '    Last State:    Terminated',
    '      Exit Code:   1',
    '      cpu:    1',
    "      SECRET: <set to the key 'k' in secret 's'> Optional: false",
    '      POD:    (v1:metadata.name)',
    '      /data from data (ro,path="in")',
    '  Type    Status   Reason               Message',
    '    Type: HostPath',
    '    Path: /srv',
    '  Warning   BackOff   30s (x2 over 90s)   main        back-off',
  ])
    assert.ok(text.split('\n').includes(line), `"${line}" in\n${text}`);
  assert.doesNotMatch(text, /ImageGCFailed|5s/);
});

test('describe shows how far a pull is, once', () => {
  const containerStatuses = [
    {
      name: 'main',
      image: '',
      imageID: '',
      ready: false,
      restartCount: 0,
      state: { waiting: { reason: 'ContainerCreating', message: 'pulling image "x"' } },
    },
  ];
  const transfer = { doneBytes: 120e6, totalBytes: 280e6, bytesPerSecond: 40e6, leftSeconds: 4, unpacking: false };
  const layers = [{ digest: 'sha256:1', totalBytes: 280e6, doneBytes: 120e6, state: 'downloading' }];
  const pulls = [{ namespace: 'default', pod: 'web', container: 'main', image: 'x', layers, transfer }];
  const text = renderPod({ ...pod, status: { phase: 'Pending', containerStatuses } }, { events: [], pulls, nowMs: NOW });
  assert.match(text, /Status: +Pending \(Pulling 42%\)/);
  assert.match(text, /Progress: +pulling image "x": 42 %, 120\/280MB, 40MB\/s, ~4s left\n/);
  assert.equal(text.match(/pulling image/g)?.length, 1);
  assert.match(text, /Events: <none>\n$/);
});
