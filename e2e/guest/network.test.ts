// What kernels may lack of the network (dummy, vlan, ipvlan, VLAN filtering of bridges): the same tests, in a kernel that has all of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guestProblem, runInGuest } from './guest.ts';

test('links of every kind are made in a kernel that has them', { skip: guestProblem('uml') ?? false, timeout: 300_000 }, async (t) => {
  t.diagnostic('kernel: uml');
  const { exitCode, output } = await runInGuest({
    kind: 'uml',
    command: 'node --test --test-reporter=spec runtime/linux/rtnetlink.root.test.ts',
    timeoutMs: 240_000,
  });
  assert.equal(exitCode, 0, output);
  for (const kind of ['dummy', 'vlan', 'ipvlan', 'ifb', 'bridge with VLANs'])
    assert.match(output, new RegExp(`✔ a link made as ${kind} is decoded`), output);
  assert.match(output, /✔ VLANs of a port are decoded/);
});
