import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { SyscallError } from './errno.ts';
import { runInProcess, socketInNetns } from './in-process.ts';
import { syscall } from './syscall.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';

test('socketInNetns opens a socket there and leaves the thread where it was', { skip }, () => {
  const here = fs.readlinkSync('/proc/thread-self/ns/net');
  const own = syscall('openat', -100, '/proc/thread-self/ns/net', 0o2000000, 0);
  // A namespace of our own: unshare, keep a descriptor, come back; one program, so that nothing else runs there.
  const other = runInProcess((program) => {
    const fd = program.slot('new netns');
    program.op('unshare', [0x40000000]);
    program.op('openat', [-100, '/proc/thread-self/ns/net', 0o2000000, 0], { dst: fd });
    program.op('setns', [own, 0x40000000]);
    program.return({ ref: fd });
  });
  const socket = socketInNetns(other, 16, 3, 0);
  assert.equal(fs.readlinkSync('/proc/thread-self/ns/net'), here);
  assert.match(fs.readlinkSync(`/proc/self/fd/${socket}`), /^socket:/);
  // SIOCGSKNS: the namespace that the socket belongs to.
  const netns = syscall('ioctl', socket, 0x894c, 0);
  assert.equal(fs.fstatSync(netns).ino, fs.fstatSync(other).ino);
  assert.throws(
    () => socketInNetns(other, 99, 3, 0),
    (error) => error instanceof SyscallError && error.code === 'EAFNOSUPPORT',
  );
  assert.equal(fs.readlinkSync('/proc/thread-self/ns/net'), here);
  assert.throws(() => socketInNetns(fs.openSync('/dev/null', 'r'), 16, 3, 0), /setns/);
  for (const fd of [netns, socket, other, own]) fs.closeSync(fd);
});
