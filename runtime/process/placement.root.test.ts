import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { detectCgroupHost } from '../cgroup/host.ts';
import { ALL_CAPABILITIES } from '../program/capabilities.ts';
import { listHostDevices } from './host-devices.ts';
import type { PauseProcess } from './pause.ts';
import { capabilities, finish, pauseSpec, Rig, skipReason } from './testing/rig.ts';

const host = detectCgroupHost();
const unifiedRoot = host.unified;
const memoryRoot = host.v1.memory;
const name = `tsk-test-process-${process.pid}`;
const skip = skipReason() || (unifiedRoot === undefined ? 'needs a cgroup2 hierarchy' : false);
const unified = path.join(unifiedRoot ?? '', name);
const memory = path.join(memoryRoot ?? '', name);
let rig: Rig;
let pause: PauseProcess;

before(async () => {
  if (skip) return;
  rig = new Rig();
  for (const directory of [unified, path.join(unified, 'container'), path.join(unified, 'shims')]) fs.mkdirSync(directory);
  if (memoryRoot !== undefined) fs.mkdirSync(memory);
  pause = await rig.pause();
});
after(async () => {
  if (skip) return;
  await rig.close();
  for (const directory of [
    path.join(unified, 'container'),
    path.join(unified, 'shims'),
    unified,
    ...(memoryRoot === undefined ? [] : [memory]),
  ])
    for (const deadline = Date.now() + 5000; ; await delay(10)) {
      try {
        fs.rmdirSync(directory);
        break;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EBUSY' || Date.now() > deadline) throw error;
      }
    }
});

const cgroupsOf = (pid: number) => fs.readFileSync(`/proc/${pid}/cgroup`, 'latin1');

test('init is born in its cgroup2 directory, the shim in that of the shims', { skip }, async () => {
  const spec = rig.spec(['sh', '-c', 'cat /proc/self/cgroup; read line'], {
    cgroup: { unified: path.join(unified, 'container'), v1Procs: [] },
    keepsStdin: true,
  });
  const started = await rig.start(spec, pause, { shimCgroup: path.join(unified, 'shims') });
  assert.match(cgroupsOf(started.container.initPid), new RegExp(`^0::/${name}/container$`, 'm'));
  assert.match(cgroupsOf(started.container.shimPid), new RegExp(`^0::/${name}/shims$`, 'm'));
  const members = fs.readFileSync(path.join(unified, 'container/cgroup.procs'), 'utf8').split('\n');
  assert.ok(members.includes(String(started.container.initPid)) && !members.includes(String(started.container.shimPid)));
  fs.writeFileSync(path.join(started.dir, 'stdin'), '\n');
  const { stdout } = await finish(started);
  assert.match(stdout, /^0::\/$/m);
});

test('v1 hierarchies are joined by init alone, and shown to it read-only', {
  skip: skip || (memoryRoot === undefined ? 'needs a v1 memory hierarchy' : false),
}, async () => {
  fs.writeFileSync(path.join(memory, 'memory.limit_in_bytes'), '67108864');
  const cgroup = { unified: path.join(unified, 'container'), v1Procs: [path.join(memory, 'cgroup.procs')] };
  const script =
    'cat /sys/fs/cgroup/memory/memory.limit_in_bytes; ls /sys/fs/cgroup; (echo 1 > /sys/fs/cgroup/memory/memory.limit_in_bytes) 2>&1 | grep -c -i read-only; grep memory /proc/self/cgroup; read line';
  const spec = rig.spec(['sh', '-c', script], { cgroup, cgroupMount: 'host-bind', keepsStdin: true });
  const started = await rig.start(spec, pause);
  const members = fs.readFileSync(path.join(memory, 'cgroup.procs'), 'utf8').split('\n');
  assert.ok(members.includes(String(started.container.initPid)) && !members.includes(String(started.container.shimPid)));
  fs.writeFileSync(path.join(started.dir, 'stdin'), '\n');
  assert.match((await finish(started)).stdout, /^67108864\nmemory\nunified\n1\n\d+:memory:\/\n$/);
});

test('cgroup2 is mounted with the container’s cgroup as its root', { skip }, async () => {
  const spec = rig.spec(['sh', '-c', 'cat /sys/fs/cgroup/cgroup.procs; cat /proc/self/cgroup | grep ^0'], {
    cgroup: { unified: path.join(unified, 'container'), v1Procs: [] },
    cgroupMount: 'cgroup2',
  });
  assert.match((await rig.run(spec, pause)).stdout, /^1\n(\d+\n)*0::\/\n$/);
});

test('a cgroup that is gone fails the start by name', { skip }, async () => {
  const spec = rig.spec(['true'], { cgroup: { unified: path.join(unified, 'none'), v1Procs: [] } });
  await assert.rejects(rig.start(spec, pause), /ENOENT.*tsk-test-process/);
});

test('a pause process is placed where its spec says, by v2 and v1', { skip: skip || memoryRoot === undefined }, async () => {
  const placed = await rig.pause(
    pauseSpec({ cgroup: { unified: path.join(unified, 'shims'), v1Procs: [path.join(memory, 'cgroup.procs')] } }),
  );
  assert.match(cgroupsOf(placed.pid), new RegExp(`^0::/${name}/shims$`, 'm'));
  assert.match(cgroupsOf(placed.pid), new RegExp(`:memory:/${name}$`, 'm'));
});

test('a privileged container has the host’s devices and capabilities, and writes to /sys', { skip }, async () => {
  const devices = listHostDevices();
  const spec = rig.spec(
    [
      'sh',
      '-c',
      'ls -l /dev/loop0 | grep -c "7, *0"; grep ^CapEff /proc/self/status; grep -c " /sys sysfs rw" /proc/mounts; ls /dev | grep -c loop-control',
    ],
    {
      privileged: true,
      devices,
      maskedPaths: [],
      readonlyPaths: [],
      in: { capabilities: capabilities(ALL_CAPABILITIES), noNewPrivileges: false },
    },
  );
  const own = /^CapPrm:\s*(\w+)$/m.exec(fs.readFileSync('/proc/self/status', 'latin1'))?.[1];
  const present = (file: string) => (devices.some(({ path: device }) => device === file) ? 1 : 0);
  assert.equal((await rig.run(spec, pause)).stdout, `${present('/dev/loop0')}\nCapEff:\t${own}\n1\n${present('/dev/loop-control')}\n`);
});

test('200 containers leave neither descriptors, processes nor much memory', { skip }, async () => {
  const count = () => fs.readdirSync('/proc/self/fd').length;
  const once = async () => {
    const spec = rig.spec(['true'], { cgroup: { unified: path.join(unified, 'container'), v1Procs: [] } });
    assert.equal((await rig.run(spec, pause)).exit?.code, 0);
  };
  const failing = () => assert.rejects(rig.start(rig.spec(['nosuch']), pause));
  await Promise.all([once(), once(), once(), once(), failing()]);
  const before = count();
  // What the launcher maps is 16 KiB each: one per launch that is under way at the same time.
  const arenas = () =>
    [...fs.readFileSync('/proc/self/maps', 'latin1').matchAll(/^(\w+)-(\w+) rw-p 00000000 00:00 0 *$/gm)].filter(
      ([, from = '', to = '']) => Number.parseInt(to, 16) - Number.parseInt(from, 16) === 16 * 1024,
    ).length;
  for (let i = 0; i < 50; i++) await Promise.all([once(), once(), once(), once(), ...(i % 10 === 0 ? [failing()] : [])]);
  assert.ok(count() <= before, `${count()} descriptors, ${before} before`);
  assert.ok(arenas() <= 16, `${arenas()} arenas`);
  const children = fs.readFileSync(`/proc/self/task/${process.pid}/children`, 'latin1').trim().split(' ');
  assert.ok(children.length <= 3, `children: ${children}`);
});
