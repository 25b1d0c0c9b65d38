import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { runCommand } from './command.ts';

const run = async (script: string, options: Parameters<typeof runCommand>[1] = {}) => {
  const { stdout, stderr, ...rest } = await runCommand(['sh', '-c', script], options);
  return { ...rest, stdout: stdout.toString(), stderr: stderr.toString() };
};

test('runCommand gives output, exit code and signal', async () => {
  assert.deepEqual(await run('echo out; echo err >&2; exit 3'), { exitCode: 3, signal: 0, stdout: 'out\n', stderr: 'err\n' });
  assert.deepEqual(await run('kill -TERM $$'), { exitCode: 143, signal: 15, stdout: '', stderr: '' });
});

test('it passes stdin, environment and working directory, and nothing else', async () => {
  assert.equal((await run('cat', { stdin: 'x'.repeat(300_000) })).stdout.length, 300_000);
  assert.equal(
    (await run('echo $A; pwd; env | grep -c .', { env: { A: 'b', PATH: '/usr/bin:/bin' }, cwd: '/usr' })).stdout,
    'b\n/usr\n3\n',
  );
  assert.equal((await run('ls /proc/self/fd')).stdout, '0\n1\n2\n3\n');
  assert.match((await run('grep -E "^Sig(Ign|Blk)" /proc/self/status')).stdout, /^SigBlk:\t0+\nSigIgn:\t0+\n$/);
});

test('what cannot be executed is an error with its path', async () => {
  await assert.rejects(runCommand(['no-such-program']), /"no-such-program" is not in PATH/);
  await assert.rejects(runCommand(['/no/such']), /execve\("\/no\/such"\): ENOENT/);
  await assert.rejects(runCommand(['sh'], { cwd: '/no/dir' }), /chdir\("\/no\/dir"\): ENOENT/);
});

/** Sleeps of this process and no other's: the number of seconds tells them. */
const SLEEP = `sleep ${100_000 + process.pid}`;

function sleeps(): string[] {
  return fs.readdirSync('/proc').filter((entry) => {
    try {
      return fs.readFileSync(`/proc/${entry}/cmdline`, 'latin1') === `${SLEEP.replace(' ', '\0')}\0`;
    } catch {
      return false;
    }
  });
}

/** What is killed is gone a moment later. */
async function expectNoSleeps(): Promise<void> {
  for (const deadline = Date.now() + 10_000; sleeps().length > 0 && Date.now() < deadline; ) await delay(5);
  assert.deepEqual(sleeps(), []);
}

test('a timeout, an abort and too much output end the program and its children', { timeout: 60_000 }, async () => {
  await assert.rejects(run(`${SLEEP} & ${SLEEP}`, { timeoutMs: 100 }), { code: 'ETIMEDOUT' });
  await assert.rejects(run(SLEEP, { signal: AbortSignal.timeout(100) }), { name: 'TimeoutError' });
  await assert.rejects(run(SLEEP, { signal: AbortSignal.abort() }), { name: 'AbortError' });
  await assert.rejects(run('yes', { maxOutputBytes: 10_000 }), { code: 'EFBIG' });
  await expectNoSleeps();
});

// There was no session to kill yet, and the program ran to its end.
test('an abort in any moment of the start ends the program', { timeout: 60_000 }, async () => {
  for (let i = 0; i < 50; i++) {
    const abort = new AbortController();
    const running = run(SLEEP, { signal: abort.signal });
    // At once, and after ever more of the start.
    for (const until = performance.now() + i / 10; performance.now() < until; );
    abort.abort();
    await assert.rejects(running, { name: 'AbortError' });
  }
  await expectNoSleeps();
});

test('100 commands leave no descriptor', async () => {
  await run('true');
  const before = fs.readdirSync('/proc/self/fd').length;
  for (let i = 0; i < 25; i++) await Promise.all([run('true'), run('true'), run('true'), run('true')]);
  assert.ok(fs.readdirSync('/proc/self/fd').length <= before);
});
