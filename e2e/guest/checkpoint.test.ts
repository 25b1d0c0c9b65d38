// Checkpoints in a kernel that criu knows: this host's may be too new for it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { guestProblem, runInGuest } from './guest.ts';

const criu = '/usr/sbin/criu';
const skip = fs.existsSync(criu) ? (guestProblem('tcg') ?? false) : 'criu is not installed';

// criu asks these for sockets. The guest's kernel loads no module by itself.
const MODULES = 'unix_diag tcp_diag udp_diag raw_diag netlink_diag af_packet_diag';

test('containers are checkpointed by criu and restored', { skip, timeout: 480_000 }, async () => {
  const { exitCode, output } = await runInGuest({
    kind: 'tcg',
    command: `for module in ${MODULES}; do busybox modprobe $module; done
      node --test --test-reporter=spec e2e/checkpoint.test.ts`,
    programs: [criu, '/usr/bin/tar'],
    timeoutMs: 400_000,
  });
  assert.equal(exitCode, 0, output);
  assert.match(output, /^ℹ pass 5$/m, output);
});
