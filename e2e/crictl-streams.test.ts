// What streams through the real crictl: logs of containers, output of commands, events.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { type Crictl, crictlTests, shell } from './testing/crictl.ts';
import { poll } from './testing/poll.ts';
import type { TestNode } from './testing/test-node.ts';

let node: TestNode;
let crictl: Crictl;
const { options } = await crictlTests((startedCrictl, startedNode) => {
  crictl = startedCrictl;
  node = startedNode;
});

test('logs prints streams, tails, time stamps, and follows to the end of the container', options, async () => {
  const script = 'echo one; echo two >&2; until [ -e /go ]; do sleep 0.1; done; echo three';
  const pod = await crictl.startPod('logs', shell(script));
  const log = path.join(node.logDir, 'logs/main/2.log');
  // The streams are two pipes: which line comes first is the reader's luck.
  const written = await poll('both lines', () => {
    const lines = fs.readFileSync(log, 'utf8').split('\n').filter(Boolean);
    return lines.length === 2 && lines;
  });
  const both = await crictl.try(['logs', pod.container]);
  assert.deepEqual([both.stdout, both.stderr], ['one\n', 'two\n']);
  const tail = await crictl.try(['logs', '--tail', '1', pod.container]);
  assert.equal(tail.stdout + tail.stderr, `${written[1]?.split(' ')[3]}\n`);
  const stamped = await crictl.call('logs', '--stream', 'stdout', '--timestamps', pod.container);
  assert.match(stamped, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z one$/);
  assert.ok(written.includes(stamped.replace(' ', ' stdout F ')), 'the stamp is that of the file');

  const [command, ...args] = crictl.commandLine(['logs', '-f', pod.container]);
  const follower = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  let followed = '';
  follower.stdout.on('data', (chunk: Buffer) => {
    followed += chunk;
  });
  const ended = new Promise<number | null>((resolve) => follower.once('exit', resolve));
  try {
    await poll('the follower to catch up', () => followed === 'one\n');
    await crictl.call('exec', '-s', pod.container, 'touch', '/go');
    await poll('the new line', () => followed === 'one\nthree\n');
    assert.equal(await ended, 0, 'the follower ends with the container');
  } finally {
    follower.kill();
  }
});

test('logs --reopen lets go of a rotated file', options, async () => {
  const pod = await crictl.startPod('rotate', shell('echo before; until [ -e /go ]; do sleep 0.1; done; echo after; exec sleep 1000'));
  const log = path.join(node.logDir, 'rotate/main/2.log');
  await poll('the first line', () => fs.readFileSync(log, 'utf8').endsWith(' before\n'));
  fs.renameSync(log, `${log}.1`);
  await crictl.try(['logs', '--reopen', pod.container]);
  await crictl.call('exec', '-s', pod.container, 'touch', '/go');
  await poll('the line in the new file', () => /^\S+ stdout F after\n$/.test(fs.readFileSync(log, 'utf8')));
  assert.match(fs.readFileSync(`${log}.1`, 'utf8'), /^\S+ stdout F before\n$/);
});

test('exec -s prints the output, and says exit codes, timeouts and missing commands', options, async () => {
  const pod = await crictl.startPod('exec', shell('exec sleep 1000'));
  const exec = (...args: string[]) => ['exec', '-s', ...args];
  const { code, stdout, stderr } = await crictl.try(
    exec(pod.container, 'sh', '-c', 'echo out; echo err >&2; tr "\\0" " " </proc/1/cmdline'),
  );
  assert.deepEqual([code, stdout, stderr], [0, 'out\nsleep 1000 \nerr\n\n', '']);
  assert.match(await crictl.refusal(...exec(pod.container, 'sh', '-c', 'echo no >&2; exit 7')), /exited with 7: no/);
  assert.match(await crictl.refusal(...exec('--timeout', '1', pod.container, 'sleep', '333')), /timed out after 1s$/);
  assert.doesNotMatch(await crictl.call(...exec(pod.container, 'ps')), /sleep 333/);
  assert.match(await crictl.refusal(...exec(pod.container, 'nosuch')), /exec "nosuch": executable file not found in \$PATH$/);
  await crictl.call('stop', '--timeout', '0', pod.container);
  assert.match(await crictl.refusal(...exec(pod.container, 'ls')), /is not running but exited$/);
});

test('events streams creations, starts, ends and removals as they happen', options, async () => {
  const [command, ...args] = crictl.commandLine(['events', '-o', 'go-template', '--template', '{{.containerEventType}} {{.containerId}}']);
  const watcher = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  let seen = '';
  watcher.stdout.on('data', (chunk: Buffer) => {
    seen += chunk;
  });
  const ended = new Promise((resolve) => watcher.once('exit', resolve));
  try {
    // A subscription has no sign of its own: the first event seen is the sign.
    let probes = 0;
    await poll('the watcher to be subscribed', async () => {
      await crictl.call('runp', crictl.configs(`probe${probes++}`, {})[0]);
      return seen !== '';
    });
    const pod = await crictl.startPod('events', shell('exit 0'));
    const typesOf = (id: string) =>
      seen
        .split('\n')
        .filter((line) => line.endsWith(` ${id}`))
        .map((line) => line.split(' ')[0]);
    const life = ['CONTAINER_CREATED_EVENT', 'CONTAINER_STARTED_EVENT', 'CONTAINER_STOPPED_EVENT'];
    await poll('the end of the container', () => typesOf(pod.container).length === 3);
    assert.deepEqual(typesOf(pod.container), life);
    await crictl.call('stopp', pod.sandbox);
    await crictl.call('rmp', pod.sandbox);
    const whole = [...life, 'CONTAINER_DELETED_EVENT'];
    await poll('the removals', () => typesOf(pod.container).length === 4 && typesOf(pod.sandbox).length === 4);
    assert.deepEqual(typesOf(pod.container), whole);
    assert.deepEqual(typesOf(pod.sandbox), whole);
  } finally {
    watcher.kill();
    await ended;
  }
});
