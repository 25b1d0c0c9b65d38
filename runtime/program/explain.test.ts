import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { test } from 'node:test';
import { OP_BYTES, ProgramBuilder, shown } from './builder.ts';
import { describeFailure } from './explain.ts';

/** The sentence for the one step of a program. */
function sentence(name: 'execve' | 'move_mount', args: readonly (string | number | ReturnType<typeof shown>)[], errno: number): string {
  const p = new ProgramBuilder({ arch: 'x64' });
  p.op(name, args);
  const program = p.finish();
  const at = program.ops.findIndex((op) => op.name === name) * OP_BYTES;
  return describeFailure(program, at, errno).sentence;
}

// An argument of 200 kB once stood whole in the error, the log and `get pods`.
test('arguments that are too long are not repeated in the sentence about them', () => {
  const args = ['/bin/sh', shown(0, JSON.stringify(['sh', 'x'.repeat(200_000)])), 0];
  assert.match(sentence('execve', args, constants.errno.E2BIG), /^exec "\/bin\/sh": its arguments and environment are too long: /);
  const other = sentence('execve', args, constants.errno.EIO);
  assert.match(other, /^execve\("\/bin\/sh", \["sh","x+…, 0\): EIO/);
  assert.ok(other.length < 1_200, `${other.length} characters`);
});

test('a mount of a directory on a file says so, which the kernel calls an invalid argument', () => {
  assert.match(
    sentence('move_mount', [3, '', -100, '/etc/passwd', 4], constants.errno.EINVAL),
    /"\/etc\/passwd", .*: EINVAL .*: a directory can only be mounted on a directory, a file on a file$/,
  );
});
