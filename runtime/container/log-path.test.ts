import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planLogPath } from './log-path.ts';

test('planLogPath joins the log path to the log directory', () => {
  assert.equal(planLogPath('/var/log/pods/a_b_c', 'web/0.log'), '/var/log/pods/a_b_c/web/0.log');
  assert.equal(planLogPath('/var/log/pods/a_b_c/', 'web/0.log'), '/var/log/pods/a_b_c/web/0.log');
});

test('planLogPath gives no log when the directory or the path is empty', () => {
  assert.equal(planLogPath('', 'web/0.log'), '');
  assert.equal(planLogPath('/var/log/pods/x', ''), '');
});

for (const [directory, file] of [
  ['/var/log/pods/x', '../y/0.log'],
  ['/var/log/pods/x', 'web/../../../../etc/passwd'],
  ['/var/log/pods/x', '..'],
  ['logs', '0.log'],
] as const)
  test(`planLogPath refuses ${file} in ${directory}`, () => {
    assert.throws(() => planLogPath(directory, file), /INVALID_ARGUMENT|leads out|not an absolute/);
  });
