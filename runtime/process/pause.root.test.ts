import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { startPause } from './pause.ts';
import { pauseSpec, Rig, skipReason } from './testing/rig.ts';

const skip = skipReason();
let rig: Rig;

before(() => {
  if (!skip) rig = new Rig();
});
after(async () => {
  if (!skip) await rig.close();
});

const namespace = (pid: number | 'self', kind: string) => fs.readlinkSync(`/proc/${pid}/ns/${kind}`);

test('pause holds new network, IPC and UTS namespaces and nothing else', { skip }, async () => {
  const pause = await rig.pause(pauseSpec({ hostname: 'web-0' }));
  for (const kind of ['net', 'ipc', 'uts']) assert.notEqual(namespace(pause.pid, kind), namespace('self', kind), kind);
  for (const kind of ['pid', 'mnt', 'user', 'cgroup']) assert.equal(namespace(pause.pid, kind), namespace('self', kind), kind);
  assert.deepEqual(fs.readdirSync(`/proc/${pause.pid}/fd`), ['4']);
  assert.equal(fs.readFileSync(`/proc/${pause.pid}/comm`, 'utf8'), 'tskubelet-pause\n');
  assert.match(fs.readFileSync(`/proc/${pause.pid}/net/if_inet6`, 'utf8'), /00000000000000000000000000000001 .* lo/);
});

test('its loopback device is up, its hostname and sysctls are set', { skip }, async () => {
  const pause = await rig.pause(
    pauseSpec({ hostname: 'db', sysctls: { 'net.ipv4.ip_unprivileged_port_start': '80', 'kernel.shm_rmid_forced': '1' } }),
  );
  const spec = rig.spec([
    'sh',
    '-c',
    'hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced; cat /sys/class/net/lo/carrier',
  ]);
  assert.equal((await rig.run(spec, pause)).stdout, 'db\n80\n1\n1\n');
});

test('an unknown sysctl is refused by name', { skip }, async () => {
  await assert.rejects(
    rig.pause(pauseSpec({ sysctls: { 'net.ipv4.nonsense': '1' } })),
    /openat\(.*"\/proc\/sys\/net\/ipv4\/nonsense".*ENOENT/,
  );
});

test('on the host’s namespaces it holds none', { skip }, async () => {
  const host = { net: 'host', ipc: 'host', uts: 'host', pid: 'host', user: 'host' } as const;
  const pause = await rig.pause(pauseSpec({ namespaces: { ...host, mnt: 'host' } as never, hostname: '' }));
  for (const kind of ['net', 'ipc', 'uts', 'pid']) assert.equal(namespace(pause.pid, kind), namespace('self', kind), kind);
});

test('with a PID namespace it is PID 1 and reaps orphans', { skip }, async () => {
  const spec = pauseSpec();
  const pause = await rig.pause({ ...spec, namespaces: { ...spec.namespaces, pid: 'new' } });
  assert.match(fs.readFileSync(`/proc/${pause.pid}/status`, 'latin1'), /^NSpid:\t\d+\t1$/m);
  const joined = { net: 'join', ipc: 'join', uts: 'join', pid: 'join', cgroup: 'new', user: 'host' } as const;
  // The orphan holds the pipe, so cat ends after it; a zombie is there until it is reaped.
  // cat ends after the orphan, which holds its pipe.
  const zombies = 'grep -l "^State:.Z" /proc/[0-9]*/status 2>/dev/null';
  const script = `(sh -c "sleep 0.05 & exit 0") | cat; echo $$; kill -TERM 1; kill -KILL 1; i=0
    while ${zombies} >/dev/null && [ $((i += 1)) -lt 500 ]; do sleep 0.02; done; ${zombies} | wc -l; cat /proc/1/comm`;
  const { stdout } = await rig.run(rig.spec(['sh', '-c', script], { namespaces: joined }), pause);
  assert.match(stdout, /^([2-9]|\d\d+)\n0\ntskubelet-pause\n$/);
});

test('its memory is a few pages', { skip }, async () => {
  const pause = await rig.pause();
  const rollup = fs.readFileSync(`/proc/${pause.pid}/smaps_rollup`, 'latin1');
  assert.ok(Number(/^Pss:\s+(\d+) kB/m.exec(rollup)?.[1]) <= 32, rollup);
});

test('whoever kills it, its end is noticed and it is reaped', { skip }, async () => {
  const pause = await startPause(pauseSpec(), { events: rig.events, recordId: rig.nextId(), name: 'killed' });
  process.kill(pause.pid, 'SIGKILL');
  await Promise.race([pause.ended, delay(20_000, undefined, { ref: false }).then(() => assert.fail('not noticed'))]);
  assert.ok(!fs.existsSync(`/proc/${pause.pid}`));
});

test('in a user namespace containers are root inside and nobody outside, on mapped layers', { skip }, async () => {
  const mappings = [{ containerId: 0, hostId: 100_000, size: 65_536 }];
  const base = pauseSpec();
  for (const pid of ['host', 'new'] as const) {
    const pause = await rig.pause({
      ...base,
      namespaces: { ...base.namespaces, user: 'new', pid },
      uidMappings: mappings,
      gidMappings: mappings,
    });
    const inner = rig.spec(
      [
        'sh',
        '-c',
        'id -u; cat /proc/self/uid_map; stat -c "%u %g" /bin/busybox /dev/null; touch /root/x; echo x > /dev/null; hostname; kill -9 1; grep ^Seccomp: /proc/self/status; ls /sys/class/net',
      ],
      {
        namespaces: { net: 'join', ipc: 'join', uts: 'join', pid: pid === 'new' ? 'join' : 'new', cgroup: 'new', user: 'join' },
        uidMappings: mappings,
        gidMappings: mappings,
      },
    );
    const { stdout, stderr } = await rig.run(inner, pause);
    assert.match(stdout, /^0\n\s+0\s+100000\s+65536\n0 0\n65534 65534\nsandbox\nSeccomp:\t0\nlo\n$/, stderr);
    assert.equal(fs.statSync(`${inner.rootfs.upperDir}/root/x`).uid, 100_000);
  }
});
