// What kernels may lack of the network (dummy, vlan, ipvlan, VLAN filtering of bridges, SCTP): the same tests, in a kernel that has all of it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { guestProblem, runInGuest } from './guest.ts';

// The shell and the nsenter of busybox take its own ip for that of iproute2.
const PROGRAMS = ['/bin/dash', '/usr/bin/nsenter', '/usr/sbin/bridge', '/usr/bin/socat'];
const MODULES = 'macvlan sch_tbf sch_ingress cls_u32 act_mirred sctp';
const FILES = ['runtime/linux/rtnetlink.root.test.ts', 'cni/plugins/bridge-ports.root.test.ts', 'cni/sctp.root.test.ts'];

const lacking = PROGRAMS.find((file) => !fs.existsSync(file));
const skip = guestProblem('tcg') ?? (lacking === undefined ? false : `needs ${lacking}`);

test('links of every kind, VLANs of containers, and hostPorts of SCTP, in a kernel that has them', {
  skip,
  timeout: 900_000,
}, async (t) => {
  t.diagnostic('kernel: tcg');
  const { exitCode, output } = await runInGuest({
    kind: 'tcg',
    // One process for all of them: each start of Node takes seconds there. Isolated ports are on the host's kernel as well.
    command: `ln -sf dash /bin/sh
      for module in ${MODULES}; do busybox modprobe $module; done
      node --test --test-isolation=none --test-reporter=spec --test-skip-pattern=isolated ${FILES.join(' ')}`,
    programs: PROGRAMS,
    timeoutMs: 600_000,
  });
  assert.equal(exitCode, 0, output);
  for (const kind of ['dummy', 'vlan', 'macvlan', 'ipvlan', 'ifb', 'bridge with VLANs'])
    assert.match(output, new RegExp(`✔ a link made as ${kind} is decoded`), output);
  for (const title of ['VLANs of a port are decoded', 'bridge keeps VLANs apart', 'a hostPort of SCTP leads from outside'])
    assert.match(output, new RegExp(`✔ ${title}`), output);
  assert.match(output, /^ℹ skipped 0$/m, output);
});
