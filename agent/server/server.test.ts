import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import type { V1ContainerStatus } from '@kubernetes/client-node';
import { operationType } from '../metrics/instrument.ts';
import { createMetrics } from '../metrics/metrics.ts';
import { makePod } from '../pod/testing/model.ts';
import { decodeInfo } from './explain.ts';
import { runtimeId } from './find.ts';
import { HttpError, listen, matchPath, type Route, sendText } from './http.ts';
import { renderJson } from './json.ts';
import { chooseRestart, parseLogQuery } from './logs.ts';
import { exitCodeOf } from './run.ts';

const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const base = fs.mkdtempSync(path.join(os.tmpdir(), 'tsk-server-'));
after(() => fs.rmSync(base, { recursive: true, force: true }));

const routes: readonly Route[] = [
  { method: 'GET', path: '/healthz', serve: ({ response }) => sendText(response, 'ok') },
  {
    method: 'GET',
    path: '/pods/{namespace}/{pod}',
    serve: ({ response, params }) => sendText(response, `${params.namespace} ${params.pod}`),
  },
  {
    method: 'GET',
    path: '/refused',
    serve: () => {
      throw new HttpError(404, 'pod "x" is not on this node', new Error('the cause'));
    },
  },
];

function ask(socketPath: string, target: string, method = 'GET'): Promise<{ status: number; text: string; allow: string | undefined }> {
  return new Promise((resolve, reject) => {
    const request = http.request({ socketPath, path: target, method, agent: false }, async (response) => {
      let text = '';
      for await (const chunk of response) text += chunk;
      resolve({ status: response.statusCode ?? 0, text, allow: response.headers.allow });
    });
    request.on('error', reject);
    request.end();
  });
}

test('a socket of the agent is for its owner, answers its routes, and refuses the rest with one sentence', async () => {
  const socketPath = path.join(base, 'agent.sock');
  fs.writeFileSync(socketPath, 'left by a dead agent');
  const listener = await listen({ socketPath }, routes, silent);
  assert.equal(fs.statSync(socketPath).mode & 0o777, 0o600);
  assert.deepEqual(await ask(socketPath, '/healthz'), { status: 200, text: 'ok', allow: undefined });
  assert.equal((await ask(socketPath, '/pods/a%2Fb/c')).text, 'a/b c');
  assert.deepEqual(await ask(socketPath, '/nowhere'), { status: 404, text: 'no such path: /nowhere\n', allow: undefined });
  assert.deepEqual(await ask(socketPath, '/refused'), { status: 404, text: 'pod "x" is not on this node: the cause\n', allow: undefined });
  for (const method of ['POST', 'DELETE', 'PUT']) {
    const answer = await ask(socketPath, '/healthz', method);
    assert.deepEqual([answer.status, answer.allow], [405, 'GET'], method);
  }
  await listener.close();
  await assert.rejects(ask(socketPath, '/healthz'), { code: 'ENOENT' });
});

test('a port in use is one sentence that names the flag', async () => {
  const other = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => other.once('listening', resolve));
  const { port } = other.address() as net.AddressInfo;
  await assert.rejects(listen({ address: '127.0.0.1', port, flag: 'read-only-port' }, routes, silent), {
    message: `127.0.0.1 port ${port} is in use: choose another with --read-only-port, or 0 to do without`,
  });
  other.close();
});

test('a path matches segment by segment', () => {
  assert.deepEqual(matchPath('/exec/{namespace}/{pod}', '/exec/default/web'), { namespace: 'default', pod: 'web' });
  for (const other of ['/exec/default', '/exec/default/web/x', '/exec//web', '/attach/default/web', '/exec/%E0%A4%A/web'])
    assert.equal(matchPath('/exec/{namespace}/{pod}', other), undefined, other);
});

test('times are written in whole seconds, as the API does', () => {
  const at = new Date(Date.UTC(2026, 0, 2, 3, 4, 5, 678));
  assert.equal(
    renderJson({ at, list: [at], big: 5n, none: undefined, text: null }),
    '{"at":"2026-01-02T03:04:05Z","list":["2026-01-02T03:04:05Z"],"big":5,"text":null}',
  );
});

test('log queries are those of kubectl', () => {
  const parse = (text: string) => parseLogQuery(new URLSearchParams(text));
  assert.deepEqual(parse(''), { follow: false, previous: false, timestamps: false });
  assert.deepEqual(parse('follow=true&tailLines=0&sinceSeconds=5&limitBytes=9&timestamps=1'), {
    ...{ follow: true, previous: false, timestamps: true },
    ...{ tailLines: 0, sinceSeconds: 5, limitBytes: 9 },
  });
  for (const wrong of ['follow=maybe', 'tailLines=-1', 'tailLines=x', 'limitBytes=0', 'sinceSeconds=0'])
    assert.throws(() => parse(wrong), { status: 400 }, wrong);
});

test('the log is that of the run that is asked for', () => {
  const status = (fields: Partial<V1ContainerStatus>): V1ContainerStatus => ({
    ...{ name: 'c', ready: false, restartCount: 0, image: '', imageID: '', containerID: 'x://1' },
    ...fields,
  });
  const ended = { terminated: { exitCode: 1 } };
  const waiting = { waiting: { reason: 'CrashLoopBackOff' } };
  for (const [fields, previous, restart] of [
    [{ state: { running: {} } }, false, 0],
    [{ state: { running: {} }, lastState: ended, restartCount: 3 }, true, 2],
    [{ state: waiting, lastState: ended, restartCount: 3 }, false, 3],
    [{ state: waiting, lastState: ended, restartCount: 3 }, true, 3],
    [{ state: ended }, false, 0],
  ] as const)
    assert.equal(chooseRestart(status(fields), previous), restart);
  assert.throws(() => chooseRestart(status({ state: { running: {} } }), true), { status: 400, message: /no earlier run/ });
  assert.throws(() => chooseRestart(status({ state: { waiting: { reason: 'ErrImagePull', message: 'no route' } } }), false), {
    message: 'container "c" waits to start: ErrImagePull: no route',
  });
});

test('info of the runtime is JSON where it is JSON', () => {
  assert.deepEqual(decodeInfo({ info: '{"pid":1}', program: '["a"]', note: 'plain words' }), {
    info: { pid: 1 },
    program: ['a'],
    note: 'plain words',
  });
  assert.equal(runtimeId('tskubelet://0a1b'), '0a1b');
  assert.equal(runtimeId(undefined), undefined);
});

test('the exit code of a pod is the first that is not 0, in the order of the spec', () => {
  const status = (name: string, exitCode: number): V1ContainerStatus => ({
    ...{ name, ready: false, restartCount: 0, image: '', imageID: '' },
    state: { terminated: { exitCode } },
  });
  assert.equal(exitCodeOf({ ...makePod('Never'), status: { containerStatuses: [status('a', 0), status('b', 3), status('c', 4)] } }), 3);
  assert.equal(exitCodeOf({ ...makePod('Never'), status: { containerStatuses: [status('a', 0)] } }), 0);
});

test('metrics have the names of the kubelet', async () => {
  const metrics = createMetrics('n1', () => ({ runningPods: 2, desiredPods: 3, containers: { running: 4, exited: 1 } }));
  try {
    metrics.runtimeOperation(operationType('runPodSandbox'), 0.01, false);
    metrics.runtimeOperation(operationType('pullImage'), 2, true);
    metrics.podStarted();
    metrics.containerStarted();
    const text = await metrics.registry.metrics();
    for (const line of [
      'kubelet_node_name{node="n1"} 1',
      'kubelet_running_pods 2',
      'kubelet_desired_pods 3',
      'kubelet_running_containers{container_state="running"} 4',
      'kubelet_runtime_operations_total{operation_type="run_podsandbox"} 1',
      'kubelet_runtime_operations_errors_total{operation_type="pull_image"} 1',
      'kubelet_runtime_operations_duration_seconds_count{operation_type="pull_image"} 1',
      'kubelet_started_pods_total 1',
      'kubelet_started_containers_total{container_type="container"} 1',
    ])
      assert.ok(text.split('\n').includes(line), line);
    for (const name of ['tskubelet_event_loop_lag_seconds{quantile="0.99"}', 'process_resident_memory_bytes', 'process_cpu_seconds_total'])
      assert.ok(text.includes(`\n${name}`), name);
  } finally {
    metrics.close();
  }
});
