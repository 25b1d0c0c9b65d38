// Many exec sessions, opened and killed at random: what is left of them afterwards is nothing.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { BUSYBOX } from './testing/cri.ts';
import { isRunning, podManifest, sh, untilPod } from './testing/pods.ts';
import { poll } from './testing/poll.ts';
import { TestNode } from './testing/test-node.ts';

const options = { timeout: 240_000, skip: process.getuid?.() === 0 ? false : 'needs root' };
const SESSIONS = 200;
const SECONDS = 60;
const MAX_OPEN = 20;

let node: TestNode;
before(async () => {
  if (options.skip !== false) return;
  node = await TestNode.create();
  await node.start('node');
  await node.cri.image.pullImage({ image: { image: BUSYBOX } });
});
after(() => node?.destroy());

/** What commands do: end by themselves, write without end, wait for input, leave the session and the process group, resist. */
const COMMANDS = [
  'exit 3',
  'while :; do echo word word word word; done',
  'cat',
  'setsid sleep 1000 & sleep 1000',
  '(setsid sh -c "trap : TERM HUP INT; while :; do sleep 1; done" &) ; exec sleep 1000',
  'trap : TERM HUP INT; while :; do sleep 0.1; done',
  'head -c 3000000 /dev/zero; sleep 1000',
];

function open(query: URLSearchParams): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://node/exec/default/many/main?${query}`, ['v5.channel.k8s.io'], {
      createConnection: (() => net.connect(path.join(node.runDir, 'agent.sock'))) as never,
    });
    socket.on('open', () => resolve(socket));
    socket.on('error', reject);
  });
}

function pick<T>(values: readonly T[]): T {
  return values[Math.floor(Math.random() * values.length)]!;
}

async function oneSession(): Promise<void> {
  const query = new URLSearchParams(['sh', '-c', pick(COMMANDS)].map((word): [string, string] => ['command', word]));
  for (const name of ['output', 'input', ...(Math.random() < 0.5 ? ['tty'] : ['error'])]) query.append(name, '1');
  const socket = await open(query);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  if (Math.random() < 0.3) socket.pause();
  if (Math.random() < 0.5) socket.send(Buffer.concat([Buffer.from([0]), Buffer.alloc(Math.floor(Math.random() * 500_000), 97)]));
  // Some go while their command is being started.
  await Promise.race([closed, delay(Math.random() * (Math.random() < 0.3 ? 10 : 4000))]);
  socket.resume();
  if (Math.random() < 0.5) socket.terminate();
  else socket.close();
  await closed;
}

function daemonState(): { fds: number; threads: number } {
  const { pid } = node.daemon!;
  return { fds: fs.readdirSync(`/proc/${pid}/fd`).length, threads: fs.readdirSync(`/proc/${pid}/task`).length };
}

test(
  `${SESSIONS} exec sessions opened and killed at random over ${SECONDS} s leave no process, fd, cgroup or thread`,
  options,
  async (t) => {
    node.addManifest('many.yaml', podManifest('many', sh('trap "exit 0" TERM; sleep 100000 & wait')));
    await untilPod(node, 'many', isRunning);
    const processesBefore = await poll('the container to sleep', () => {
      const processes = [...new Set(node.processes())];
      return processes.some((pid) => commandLine(pid).startsWith('sleep\0')) && processes;
    });
    // Whatever is made once is made now.
    await Promise.all(Array.from({ length: MAX_OPEN }, oneSession));
    await poll('the first ones to be gone', () => settled(processesBefore));
    const before = daemonState();
    const endMs = Date.now() + SECONDS * 1000;
    let left = SESSIONS;
    const worker = async () => {
      while (left > 0) {
        left--;
        await delay(Math.random() * Math.max(0, ((endMs - Date.now()) / Math.max(1, left / MAX_OPEN)) * 0.6));
        await oneSession();
      }
    };
    await Promise.all(Array.from({ length: MAX_OPEN }, worker));
    await poll('every process of the sessions to be gone', () => settled(processesBefore));
    // Longer than a thread of the image store waits for more work.
    const look = () => {
      const state = daemonState();
      if (state.fds <= before.fds && state.threads <= before.threads) return state;
      throw new Error(JSON.stringify({ before, state }));
    };
    const after = await poll('the descriptors to be closed', look, 90_000);
    t.diagnostic(`descriptors ${before.fds} before, ${after.fds} after; threads ${before.threads}, ${after.threads}`);
    assert.deepEqual(
      node.cgroups().filter((directory) => path.basename(directory).startsWith('exec-')),
      [],
    );
    const runDir = path.join(node.runDir, 'containers');
    const files = fs.readdirSync(runDir, { recursive: true, encoding: 'utf8' }).filter((name) => path.basename(name).startsWith('exec-'));
    assert.deepEqual(files, []);
  },
);

/** "" when it has ended meanwhile. */
function commandLine(pid: number): string {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

/** True once the node's processes are those before. */
function settled(before: readonly number[]): true {
  const strays = [...new Set(node.processes())].filter((pid) => !before.includes(pid));
  if (strays.length > 0) throw new Error(`left: ${strays.map(commandLine).join(' | ').replaceAll('\0', ' ')}`);
  return true;
}

test('a session that a killed daemon had open is ended by the next one, which opens new ones', options, async () => {
  node.addManifest('cut.yaml', podManifest('cut', sh('trap "exit 0" TERM; sleep 100000 & wait')));
  await untilPod(node, 'cut', isRunning);
  const client = node.tskubelet(['exec', 'cut', '--', 'sh', '-c', 'setsid sleep 765 & sleep 765']);
  const sleeps = () => [...new Set(node.processes())].filter((pid) => commandLine(pid) === 'sleep\x00765\x00').length;
  await poll('both', () => sleeps() === 2);
  await node.stop('SIGKILL');
  assert.equal((await client).code, 125);
  await node.start('node');
  await poll('none', () => sleeps() === 0);
  assert.equal((await node.tskubelet(['exec', 'cut', '--', 'echo', 'again'])).stdout, 'again\n');
});
