// critest's AppArmor specs, where the kernel has AppArmor: on this host, or else in a guest, by this same file.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { guestProblem, runInGuest } from '../guest/guest.ts';
import { cacheDirectory } from '../peers/build.ts';
import { SUITE_MS, startSuite, suiteProblem, suitePrograms } from './suite.ts';

const APPARMOR_SPECS = 9;
const PARSER = '/usr/sbin/apparmor_parser';
/** What critest's profiles include. */
const PROFILE_PARTS = ['abi', 'tunables', 'abstractions/base', 'abstractions/crypto'].map((part) => path.join('/etc/apparmor.d', part));
// Without its configuration, and the features that this names, the parser warns, and critest takes a warning for a failure.
const CONFIGURATION = ['/etc/apparmor/parser.conf', '/usr/share/apparmor-features/features'].filter((file) => fs.existsSync(file));
const PROGRAMS = [PARSER, ...CONFIGURATION, '/usr/bin/nsenter', '/usr/bin/tar', '/usr/bin/docker-registry'];

const hasAppArmor = readIfThere('/sys/module/apparmor/parameters/enabled').startsWith('Y');
const inGuest = process.env.TSK_GUEST !== undefined;
const skip =
  suiteProblem !== false
    ? suiteProblem
    : !fs.existsSync(PARSER)
      ? 'apparmor is not installed'
      : ((!hasAppArmor && !inGuest && guestProblem('tcg')) ?? false);

test('critest’s AppArmor specs pass', { skip, timeout: 2 * SUITE_MS }, (t) => (hasAppArmor || inGuest ? here(t) : inAGuest(t)));

async function here(t: TestContext): Promise<void> {
  const suite = await startSuite('/busybox');
  try {
    const summary = await suite.run('AppArmor', ['-ginkgo.focus', 'AppArmor']);
    t.diagnostic(summary.text);
    if (summary.failed.length > 0) process.stdout.write(summary.output);
    assert.deepEqual([summary.passed, summary.failed], [APPARMOR_SPECS, []]);
  } finally {
    await suite.destroy();
  }
}

async function inAGuest(t: TestContext): Promise<void> {
  const { exitCode, output } = await runInGuest({
    kind: 'tcg',
    command: [
      'mount -t securityfs securityfs /sys/kernel/security; mkdir -p /var/cache/apparmor',
      // critest calls the parser by sudo(8).
      `printf '#!/bin/sh\\nexec "$@"\\n' >/tmp/sudo && chmod 755 /tmp/sudo`,
      `export PATH=/tmp:$PATH XDG_CACHE_HOME=${path.resolve(cacheDirectory(), '../..')}`,
      `node --test --test-reporter=spec e2e/critest/apparmor.test.ts`,
    ].join('\n'),
    programs: [...PROGRAMS, ...suitePrograms(), ...PROFILE_PARTS.flatMap(filesBelow)],
    memoryMebibytes: 2048,
    timeoutMs: SUITE_MS,
  });
  const summary = /critest v1\S+ AppArmor: .*/.exec(output)?.[0];
  if (summary !== undefined) t.diagnostic(`${summary}, in an emulated machine`);
  assert.equal(exitCode, 0, output);
  assert.match(output, /✔ critest’s AppArmor specs pass/);
}

function filesBelow(place: string): string[] {
  if (!fs.existsSync(place)) return [];
  if (!fs.statSync(place).isDirectory()) return [place];
  const entries = fs.readdirSync(place, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => path.join(parentPath, name));
}

function readIfThere(file: string): string {
  return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
}
