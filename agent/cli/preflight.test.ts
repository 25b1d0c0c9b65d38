import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type PreflightFacts, preflightProblem } from './preflight.ts';

const good: PreflightFacts = { platform: 'linux', arch: 'x64', kernel: '6.1.0-28-amd64', uid: 0, capabilities: 0x1ffffffffffn };

for (const [title, facts, expected] of [
  ['a machine with everything', {}, undefined],
  ['the oldest kernel that will do', { kernel: '5.15.0' }, undefined],
  ['a kernel too old', { kernel: '5.10.0-33-amd64' }, /5\.10\.0-33-amd64 is too old: tskubelet needs 5\.15/],
  ['a much older kernel with a larger minor number', { kernel: '4.19.0' }, /too old/],
  ['a user', { uid: 1000 }, /run it with sudo/],
  ['root of an ordinary container', { capabilities: 0xa80425fbn }, /lacks CAP_SYS_ADMIN.*privileged/],
  ['another system', { platform: 'darwin', uid: 501 }, /runs on Linux only, and this is darwin/],
  ['another processor', { arch: 'riscv64' }, /riscv64/],
] as const)
  test(`preflight: ${title}`, () => {
    const problem = preflightProblem({ ...good, ...facts });
    if (expected === undefined) assert.equal(problem, undefined);
    else assert.match(problem ?? '', expected);
  });
