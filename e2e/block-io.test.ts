// Block I/O limits on a loop device, where cgroup2 has the io controller: here, or this file again in the lightest guest that has it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import type { PodSandboxConfig } from '../cri-proto/gen/api.ts';
import { lightestKernel, runInGuest } from './guest/guest.ts';
import { check, run } from './testing/command.ts';
import { execIn, runContainer, sandboxConfig } from './testing/cri.ts';
import { TestNode } from './testing/test-node.ts';

const kernel = process.env.TSK_GUEST === undefined ? lightestKernel(['io']) : ({ kind: 'host' } as const);
if (kernel.kind === 'host') testHere();
else {
  const skip = kernel.kind === 'none' ? kernel.reason : false;
  test('block I/O limits hold in a guest with the io controller', { skip, timeout: 600_000 }, async (t) => {
    assert.ok(kernel.kind === 'uml' || kernel.kind === 'tcg');
    t.diagnostic(`kernel: ${kernel.kind}`);
    const { exitCode, output } = await runInGuest({
      kind: kernel.kind,
      command: 'busybox modprobe loop; node --test --test-reporter=spec e2e/block-io.test.ts',
      programs: ['/usr/sbin/losetup', '/usr/sbin/mkfs.ext4', '/usr/bin/nsenter'],
      timeoutMs: 400_000,
    });
    assert.equal(exitCode, 0, output);
    assert.match(output, /✔ an annotation limits/);
    assert.match(output, /✔ unified limits/);
  });
}

const MEBIBYTE = 1 << 20;
const RATE = 2 * MEBIBYTE;
const TOTAL = 8 * MEBIBYTE;

function testHere(): void {
  let node: TestNode;
  let device = '';
  let volume = '';
  before(async () => {
    node = await TestNode.create();
    volume = path.join(node.dir, 'volume');
    const image = path.join(node.dir, 'disk');
    fs.mkdirSync(volume);
    fs.closeSync(fs.openSync(image, 'w'));
    fs.truncateSync(image, 64 * MEBIBYTE);
    device = (await check('losetup', ['-f'])).trim();
    await check('losetup', [device, image]);
    await check('mkfs.ext4', ['-q', '-O', '^has_journal', device]);
    await check('mount', ['-t', 'ext4', device, volume]);
    await node.start('runtime');
  });
  after(async () => {
    await run('umount', ['-l', volume]);
    await run('losetup', ['-d', device]);
    await node?.destroy();
  });

  /** Seconds that `dd` takes for TOTAL bytes past the page cache, in a container with the volume: of up to three the least. */
  async function measure(
    name: string,
    sandbox: Partial<PodSandboxConfig>,
    unified: Record<string, string>,
  ): Promise<{ write: number; read: number; ioMax: string }> {
    const { sandboxId, containerId } = await runContainer(node.cri, sandboxConfig(name, path.join(node.logDir, name), sandbox), {
      metadata: { name: 'main' },
      command: ['sh', '-c', 'exec sleep 1000'],
      mounts: [{ hostPath: volume, containerPath: '/data' }],
      linux: { resources: { unified } },
    });
    const dd = async (options: string, limited: boolean) => {
      let least = Number.POSITIVE_INFINITY;
      // No limit makes it quicker than that; a busy machine makes it slower.
      for (let attempt = 0; attempt < 3 && least > (TOTAL / RATE) * (limited ? 1.2 : 0.5); attempt++) {
        const start = process.hrtime.bigint();
        const { code, stderr } = await execIn(node.cri, containerId, ['sh', '-c', `dd bs=64k count=${TOTAL / 65536} ${options}`], 60);
        assert.equal(code, 0, stderr);
        least = Math.min(least, Number(process.hrtime.bigint() - start) / 1e9);
      }
      return least;
    };
    const directory = node.cgroups().find((entry) => path.basename(entry) === containerId) ?? '';
    const ioMax = fs.readFileSync(path.join(directory, 'io.max'), 'utf8').trim();
    const write = await dd('if=/dev/zero of=/data/file oflag=direct', /wbps=\d/.test(ioMax));
    const read = await dd('if=/data/file of=/dev/null iflag=direct', /rbps=\d/.test(ioMax));
    await node.cri.runtime.removePodSandbox({ podSandboxId: sandboxId });
    return { write, read, ioMax };
  }

  function within(seconds: number, what: string): void {
    const expected = TOTAL / RATE;
    assert.ok(Math.abs(seconds - expected) <= expected * 0.2, `${what} took ${seconds.toFixed(2)} s, expected ${expected} s within 20 %`);
  }

  const number = () => fs.readFileSync(`/sys/block/${path.basename(device)}/dev`, 'utf8').trim();

  test('an annotation limits the device below a volume within 20 %', async () => {
    const free = await measure('free', {}, {});
    assert.equal(free.ioMax, '');
    assert.ok(free.write < TOTAL / RATE / 2 && free.read < TOTAL / RATE / 2, `without limits: ${JSON.stringify(free)}`);
    const limited = await measure('annotated', { annotations: { 'tskubelet.dev/io.max.main': 'rbps=2Mi wbps=2Mi' } }, {});
    assert.equal(limited.ioMax, `${number()} rbps=${RATE} wbps=${RATE} riops=max wiops=max`);
    within(limited.write, 'writing');
    within(limited.read, 'reading');
  });

  test('unified limits it as well, and a device that is not there is refused', async () => {
    const limited = await measure('unified', {}, { 'io.max': `${number()} wbps=${RATE}` });
    within(limited.write, 'writing');
    assert.ok(limited.read < TOTAL / RATE / 2, `reading took ${limited.read} s`);
    await assert.rejects(measure('absent', {}, { 'io.max': '250:250 wbps=1' }), {
      code: 'INVALID_ARGUMENT',
      message: /250:250 wbps=1" to io\.max/,
    });
    await assert.rejects(measure('nodisk', { annotations: { 'tskubelet.dev/io.max.main': 'fast' } }, {}), {
      code: 'INVALID_ARGUMENT',
      message: /"fast" is not one of rbps=/,
    });
  });
}
