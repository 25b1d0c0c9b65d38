import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Signal } from '../../cri-proto/gen/api.ts';
import { effectiveStopSignal, planStopSignal, takesSignal } from './stop-signal.ts';

const SIGTERM = 15;

for (const [title, fields, expected] of [
  ['process 1 without a handler drops it', { NSpid: '812\t1' }, false],
  ['process 1 with a handler takes it', { NSpid: '812\t1', SigCgt: '0000000000004002' }, true],
  ['process 1 that waits for it with sigwait(3) takes it', { NSpid: '812\t1', SigBlk: '0000000000004000' }, true],
  ['process 1 with a handler for another signal drops it', { NSpid: '812\t1', SigCgt: '0000000000002000' }, false],
  ['in a shared PID namespace the default action ends it', { NSpid: '812\t7' }, true],
  ['in the namespace of the host too', { NSpid: '812' }, true],
] as const)
  test(`a stop signal: ${title}`, () => {
    const none = '0000000000000000';
    const all: Record<string, string> = { SigBlk: none, SigIgn: none, SigCgt: none, ...fields };
    const status = Object.entries(all).map(([name, value]) => `${name}:\t${value}\n`);
    assert.equal(takesSignal(status.join(''), SIGTERM), expected);
  });

test('a process that is gone takes every signal', () => assert.equal(takesSignal('', SIGTERM), true));

test('the request names the stop signal, else the image, else it is SIGTERM', () => {
  assert.equal(planStopSignal(Signal.SIGNAL_SIGUSR1, 'SIGQUIT'), 10);
  assert.equal(planStopSignal(Signal.SIGNAL_RUNTIME_DEFAULT, 'SIGQUIT'), 3);
  assert.equal(planStopSignal(Signal.SIGNAL_RUNTIME_DEFAULT, ''), SIGTERM);
  assert.equal(planStopSignal(Signal.SIGNAL_RUNTIME_DEFAULT, 'SIGNOPE'), SIGTERM, 'what the image says must not make it unstoppable');
});

test('a status shows the signal that a stop sends', () => {
  assert.equal(effectiveStopSignal(Signal.SIGNAL_SIGUSR1, 'SIGQUIT'), Signal.SIGNAL_SIGUSR1);
  assert.equal(effectiveStopSignal(Signal.SIGNAL_RUNTIME_DEFAULT, 'SIGQUIT'), Signal.SIGNAL_SIGQUIT);
  assert.equal(effectiveStopSignal(Signal.SIGNAL_RUNTIME_DEFAULT, '37'), Signal.SIGNAL_SIGRTMINPLUS3);
  assert.equal(effectiveStopSignal(Signal.SIGNAL_RUNTIME_DEFAULT, ''), Signal.SIGNAL_SIGTERM);
});
