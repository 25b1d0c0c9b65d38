import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { test } from 'node:test';
import { stubs } from './stub.ts';

const script = path.join(import.meta.dirname, '../../scripts/assemble-stub.sh');

for (const [arch, machine] of [
  ['x64', 'x86_64'],
  ['arm64', 'aarch64'],
] as const)
  test(`the checked-in bytes are what stub-${machine}.S assembles to`, (context) => {
    const { status, stdout, stderr } = spawnSync('sh', [script, '--print', machine], { encoding: 'utf8' });
    if (status === 3) {
      context.skip(stderr.trim());
      return;
    }
    assert.equal(status, 0, stderr);
    const stub = stubs[arch];
    assert.equal(stdout.trim(), `${stub.code.toString('hex')} ${stub.runOffset} ${stub.progOffset}`);
  });
