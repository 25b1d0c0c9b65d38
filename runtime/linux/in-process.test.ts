import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ref } from '../program/builder.ts';
import { SyscallError } from './errno.ts';
import { runInProcess } from './in-process.ts';

test('runInProcess carries results from op to op and returns what the program returns', () => {
  const pid = runInProcess((program) => {
    const slot = program.slot('pid');
    program.op('getpid', [], { dst: slot });
    program.return(ref(slot));
  });
  assert.equal(pid, process.pid);
});

test('runInProcess throws the op that failed, with its arguments', () => {
  assert.throws(
    () =>
      runInProcess((program) => {
        program.op('getpid');
        program.op('openat', [-100, '/nonexistent', 0, 0]);
        program.return(0);
      }),
    (error) => error instanceof SyscallError && error.message === 'openat(-100, "/nonexistent", 0, 0): ENOENT (no such file or directory)',
  );
});

test('a program may return a negative number', () => {
  assert.equal(
    runInProcess((program) => program.return(-7)),
    -7,
  );
});

test('branches go by zero, positive and error results, and can loop', () => {
  const walk = (start: number) =>
    runInProcess((program) => {
      const zero = program.label();
      const positive = program.label();
      const negative = program.label();
      program.op('getpid');
      program.op('subtract', [start, 10], { onZero: zero, onPositive: positive, onError: negative });
      program.return(99);
      program.place(zero);
      program.return(0);
      program.place(positive);
      program.return(1);
      program.place(negative);
      program.return(2);
    });
  assert.deepEqual([walk(10), walk(11), walk(9)], [0, 1, 2]);
  const countdown = runInProcess((program) => {
    const counter = program.slot('counter', 1000);
    const again = program.label();
    program.op('getpid');
    program.place(again);
    program.op('subtract', [ref(counter), 1], { dst: counter, onPositive: again });
    program.return(ref(counter));
  });
  assert.equal(countdown, 0);
});

test('tolerate passes the listed errnos and reports any other as the op itself', () => {
  const open = (path: string) =>
    runInProcess((program) => {
      program.tolerate([2], 'openat', [-100, path, 0, 0]);
      program.return(5);
    });
  assert.equal(open('/nonexistent'), 5);
  assert.throws(
    () => open('/proc/self/status/x'),
    (error) => error instanceof SyscallError && error.code === 'ENOTDIR' && error.syscall === 'openat',
  );
});

test('a 32-bit store leaves the bytes beside it alone', () => {
  const result = runInProcess((program) => {
    const slot = program.slot('word', 0x7_0000_0009n);
    program.op('subtract', [2, 0], { dst: slot, dst32: true });
    program.op('subtract', [ref(slot), 0x7_0000_0000], { dst: slot });
    program.return(ref(slot));
  });
  assert.equal(result, 2);
});
