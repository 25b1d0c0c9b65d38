// The security context where the kernel has AppArmor and cgroup2 with every controller: those tests that this host cannot pass whole.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { guestProblem, runInGuest } from './guest.ts';

const PARSER = '/usr/sbin/apparmor_parser';
const skip = guestProblem('tcg') ?? (fs.existsSync(PARSER) ? false : 'apparmor is not installed');

test('the security context holds in a kernel with AppArmor and all of cgroup2', { skip, timeout: 600_000 }, async (t) => {
  t.diagnostic('kernel: tcg');
  const { exitCode, output } = await runInGuest({
    kind: 'tcg',
    command: [
      'mount -t securityfs securityfs /sys/kernel/security',
      'cat /sys/module/apparmor/parameters/enabled',
      'node --test --test-reporter=spec --test-name-pattern="AppArmor|device cgroup|huge pages" e2e/security-context.test.ts',
    ].join('\n'),
    programs: [PARSER, '/usr/bin/nsenter'],
    timeoutMs: 300_000,
  });
  assert.equal(exitCode, 0, output);
  assert.match(output, /^Y$/m, output);
  assert.match(output, /✔ AppArmor and SELinux/);
  assert.match(output, /✔ what no rule of the device cgroup allows/);
  assert.match(output, /✔ oom_score_adj, cpuset, huge pages/);
});
