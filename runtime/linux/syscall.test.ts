import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { SyscallError } from './errno.ts';
import { mapAnonymous } from './memory.ts';
import { syscall, trySyscall, waitSyscall } from './syscall.ts';

test('syscall passes strings and returns the kernel result', () => {
  const fd = syscall('openat', -100, '/proc/self/status', 0o2000000, 0);
  const memory = mapAnonymous(4096);
  assert.ok(syscall('read', fd, memory.address, 4096) > 0);
  assert.match(memory.buffer.toString('latin1'), /^Name:/);
  fs.closeSync(fd);
});

test('syscall names the call, every argument and the errno when the kernel refuses', () => {
  assert.throws(
    () => syscall('openat', -100, '/nonexistent/file', 0, 0),
    (error) =>
      error instanceof SyscallError &&
      error.code === 'ENOENT' &&
      error.message === 'openat(-100, "/nonexistent/file", 0, 0): ENOENT (no such file or directory)',
  );
  assert.equal(trySyscall('close', 9999), -9);
});

test('waitSyscall runs on another thread and gives the errno', async () => {
  assert.equal(await waitSyscall('close', 9999), -9);
  assert.notEqual(await waitSyscall('gettid'), syscall('gettid'));
});
