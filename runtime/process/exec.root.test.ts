import assert from 'node:assert/strict';
import fs from 'node:fs';
import type net from 'node:net';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { PR_SET_CHILD_SUBREAPER } from '../linux/constants.ts';
import { syscall } from '../linux/syscall.ts';
import { DEFAULT_CAPABILITIES } from '../program/capabilities.ts';
import { defaultSeccompFilter } from '../program/seccomp-default.ts';
import type { Process } from '../program/spec.ts';
import { type ExecProcess, type StartExecOptions, startExec } from './exec.ts';
import { ProgramError } from './program-error.ts';
import { childrenOf } from './start.ts';
import { ALL_KINDS, execSpec, finish, Rig, type Started, skipReason } from './testing/rig.ts';

const skip = skipReason();
let rig: Rig;
let running: Started;

before(async () => {
  if (skip) return;
  rig = new Rig();
  running = await rig.start(rig.spec(['sleep', '1000']), await rig.pause());
});
after(async () => {
  if (skip) return;
  running.container.kill(9);
  await finish(running);
  await rig.close();
});

async function text(stream: net.Socket | undefined): Promise<string> {
  let all = '';
  for await (const chunk of stream ?? []) all += String(chunk);
  return all;
}

const start = (script: string, changes: Partial<Process> = {}, options: Partial<StartExecOptions> = {}) =>
  startExec(execSpec(['sh', '-c', script], changes), { initPid: running.container.initPid, ...options });

async function run(script: string, changes: Partial<Process> = {}) {
  const exec = await start(script, changes);
  const [stdout, stderr, exit] = await Promise.all([text(exec.stdout), text(exec.stderr), exec.exited]);
  return { stdout, stderr, code: exit?.code, signal: exit?.signal };
}

test('an exec session has its own streams and exit code', { skip }, async () => {
  assert.deepEqual(await run('echo out; echo err >&2; exit 9'), { stdout: 'out\n', stderr: 'err\n', code: 9, signal: 0 });
});

test('a short command loses nothing', { skip }, async () => {
  for (let i = 0; i < 30; i++) assert.deepEqual(await run(`echo ${i}`), { stdout: `${i}\n`, stderr: '', code: 0, signal: 0 });
});

test('it is in every namespace of the container', { skip }, async () => {
  const { stdout } = await run(`for n in ${ALL_KINDS.join(' ')}; do readlink /proc/self/ns/$n; done`);
  assert.deepEqual(
    stdout.trim().split('\n'),
    ALL_KINDS.map((kind) => fs.readlinkSync(`/proc/${running.container.initPid}/ns/${kind}`)),
  );
});

test('it gets user, capabilities, no_new_privs and seccomp of its spec', { skip }, async () => {
  const { stdout } = await run('id -u; id -G; grep -E "^(CapEff|CapBnd|NoNewPrivs|Seccomp):" /proc/self/status', {
    user: { uid: 1000, gid: 1000, additionalGids: [1000, 3000] },
    seccomp: defaultSeccompFilter(DEFAULT_CAPABILITIES),
  });
  assert.equal(stdout, '1000\n1000 3000\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2\n');
});

test('stdin ends when the client ends it', { skip }, async () => {
  const exec = await start('cat; echo end', {}, { stdin: true });
  exec.stdin?.write('hello\n');
  exec.stdin?.end();
  assert.equal(await text(exec.stdout), 'hello\nend\n');
  assert.equal((await exec.exited)?.code, 0);
});

for (const [args, code, exitCode, message] of [
  [['nosuch'], 'ENOENT', 127, 'exec "nosuch": executable file not found in $PATH'],
  [['/etc/passwd'], 'EACCES', 126, 'exec "/etc/passwd": permission denied (not an executable file, or closed to the user)'],
] as const)
  test(`exec of ${args.join(' ')} fails with its sentence`, { skip }, async () => {
    await assert.rejects(startExec(execSpec([...args]), { initPid: running.container.initPid }), (error) => {
      assert.ok(error instanceof ProgramError, String(error));
      assert.deepEqual([error.message, error.code, error.exitCode], [message, code, exitCode]);
      return true;
    });
  });

// In a container whose PID 1 is npm or a shell nobody reaped them, and the pod's container could not end.
test('commands that cannot run leave no orphans for PID 1 to reap', { skip }, async () => {
  const names = () => childrenOf(process.pid).map((pid) => fs.readFileSync(`/proc/${pid}/comm`, 'latin1').trim());
  syscall('prctl', PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  try {
    for (let i = 0; i < 50; i++) await assert.rejects(startExec(execSpec(['nosuch']), { initPid: running.container.initPid }));
    assert.deepEqual(
      names().filter((name) => name === 'tskubelet-exec'),
      [],
    );
  } finally {
    syscall('prctl', PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
  }
});

test('an exec into a container that has ended says so', { skip }, async () => {
  const ended = await rig.start(rig.spec(['true']), await rig.pause());
  const { initPid } = ended.container;
  await finish(ended);
  await assert.rejects(startExec(execSpec(['true']), { initPid }), (error) => (error as NodeJS.ErrnoException).code === 'ESRCH');
});

/** Sleeps of this test and no other's: the number of seconds tells them. */
const SLEEP = `sleep ${100_000 + process.pid}`;

function countSleeps(): number {
  return fs
    .readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .filter((entry) => {
      try {
        return fs.readFileSync(`/proc/${entry}/cmdline`, 'latin1') === `${SLEEP.replace(' ', '\0')}\0`;
      } catch {
        return false;
      }
    }).length;
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    assert.ok(Date.now() < deadline, what);
    await delay(5);
  }
}

test('a timeout kills the session with everything that it started, orphans too', { skip }, async () => {
  let most = 0;
  // On a busy machine the three take longer to start than a short timeout leaves them.
  for (let timeoutMs = 300; most < 3 && timeoutMs < 60_000; timeoutMs *= 4) {
    const exec = await start(`(${SLEEP} & (${SLEEP} &) ) ; ${SLEEP}`, {}, { timeoutMs });
    while (!exec.timedOut()) {
      most = Math.max(most, countSleeps());
      await delay(5);
    }
    assert.equal((await exec.exited)?.signal, 9);
    await until(() => countSleeps() === 0, 'no sleep is left');
  }
  assert.equal(most, 3, 'all three ran');
  assert.equal(running.container.kill(0), true);
});

test('signals reach the first process until it has ended', { skip }, async () => {
  const exec = await start('sleep 1000');
  assert.equal(exec.kill(15), true);
  assert.equal((await exec.exited)?.signal, 15);
  assert.equal(exec.kill(15), false);
});

test('a session whose shim is killed ends with an unknown status', { skip }, async () => {
  const exec: ExecProcess = await start('sleep 1000');
  const shim = Number(/^PPid:\s*(\d+)/m.exec(fs.readFileSync(`/proc/${exec.pid}/status`, 'latin1'))?.[1]);
  process.kill(shim, 'SIGKILL');
  assert.equal(await exec.exited, undefined);
  await until(() => !fs.existsSync(`/proc/${shim}`), 'the shim is reaped');
  process.kill(exec.pid, 'SIGKILL');
});

test('a terminal session has a controlling terminal of its own', { skip }, async () => {
  const exec = await start('tty; stty size; echo done > /dev/tty', { terminal: true });
  assert.equal(exec.stdout, undefined);
  const master = exec.terminal ?? -1;
  assert.equal((await exec.exited)?.code, 0);
  const chunk = Buffer.alloc(4096);
  let all = '';
  for (;;) {
    try {
      all += chunk.toString('latin1', 0, fs.readSync(master, chunk));
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'EIO');
      break;
    }
  }
  fs.closeSync(master);
  assert.match(all, /^\/dev\/pts\/\d+\r\n24 80\r\ndone\r\n$/);
});

test('200 sessions leave neither descriptors nor processes', { skip }, async () => {
  const count = () => fs.readdirSync('/proc/self/fd').length;
  await Promise.all(Array.from({ length: 8 }, () => run('true')));
  const before = count();
  for (let i = 0; i < 25; i++) await Promise.all(Array.from({ length: 8 }, () => run('true')));
  await until(() => count() <= before, `${count()} descriptors, ${before} before`);
  // Their shims are reaped in the background: what stays is pause processes and the container's shim.
  const children = () => fs.readFileSync(`/proc/self/task/${process.pid}/children`, 'latin1').trim().split(' ');
  await until(() => children().length <= 3, `children: ${children()}`);
});
