import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planStreamRequest, readStatus } from './remote-command.ts';

test('a request names the words of the command and the streams', () => {
  assert.equal(
    planStreamRequest({ path: '/exec/a/b/c', command: ['sh', '-c', 'a b&c=d'], stdin: false, tty: false }),
    '/exec/a/b/c?command=sh&command=-c&command=a+b%26c%3Dd&output=1&error=1',
  );
  assert.equal(planStreamRequest({ path: '/attach/a/b/c', stdin: true, tty: true }), '/attach/a/b/c?input=1&output=1&tty=1');
});

test('a status is the exit code, or the sentence of why there is none with a shell’s code', () => {
  const causes = (message: string) => ({ causes: [{ message: 'x' }, { reason: 'ExitCode', message }] });
  assert.equal(readStatus('{"metadata":{},"status":"Success"}'), 0);
  assert.equal(readStatus(JSON.stringify({ status: 'Failure', reason: 'NonZeroExitCode', details: causes('137') })), 137);
  for (const [status, exitCode, message] of [
    ['', 125, /connection was lost/],
    ['plain words', 125, /^plain words$/],
    [JSON.stringify({ status: 'Failure', reason: 'InternalError', message: 'no', details: causes('126') }), 126, /^no$/],
    // containerd's words.
    [
      JSON.stringify({
        status: 'Failure',
        message: 'Internal error occurred: error executing command: exec: "nope": executable file not found in $PATH: unknown',
      }),
      127,
      /^error executing command/,
    ],
  ] as const)
    assert.throws(() => readStatus(status), { exitCode, message }, status);
});
