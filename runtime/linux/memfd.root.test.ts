import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';

const skip =
  process.getuid?.() !== 0 ? 'needs root' : fs.existsSync('/proc/sys/vm/memfd_noexec') ? false : 'this kernel has no vm.memfd_noexec';
const command = pathToFileURL(path.join(import.meta.dirname, 'command.ts')).href;
const memfd = pathToFileURL(path.join(import.meta.dirname, 'memfd.ts')).href;

/** Runs a module in a PID namespace of its own, where vm.memfd_noexec may be raised (it can never be lowered again). */
function inPidNamespace(noexec: 0 | 1 | 2, source: string): string {
  const shell = `echo ${noexec} > /proc/sys/vm/memfd_noexec; exec "$0" --input-type=module -e "$1"`;
  const { stdout, stderr, status } = spawnSync('unshare', ['-f', '-p', '-m', '--mount-proc', 'sh', '-c', shell, process.execPath, source], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  return stdout;
}

for (const noexec of [0, 1, 2] as const)
  test(`programs run with vm.memfd_noexec = ${noexec}`, { skip }, () => {
    const source = `
      import fs from 'node:fs';
      import { runCommand } from '${command}';
      import { createImage } from '${memfd}';
      const image = fs.readlinkSync('/proc/self/fd/' + createImage('probe', Buffer.from('x')));
      const results = await Promise.all(Array.from({ length: 16 }, () => runCommand(['sh', '-c', 'echo ran'])));
      console.log(image, results.every(({ stdout }) => stdout.toString() === 'ran\\n'));`;
    assert.match(inPidNamespace(noexec, source), noexec === 2 ? /^\/probe-1 \(deleted\) true\n$/ : /^\/memfd:probe \(deleted\) true\n$/);
  });

test('an image cannot be written to, not even by root', { skip }, async () => {
  const { createImage } = await import('./memfd.ts');
  const fd = createImage('sealed', Buffer.from('program'));
  assert.throws(() => fs.writeFileSync(`/proc/self/fd/${fd}`, 'x'), { code: 'EPERM' });
  assert.throws(() => fs.writeSync(fd, 'x'), { code: 'EPERM' });
  fs.closeSync(fd);
});
