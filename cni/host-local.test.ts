import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { Leases } from './host-local.ts';
import { formatIp, parseCidr } from './ip.ts';

const cidr = parseCidr('10.9.0.0/24');

function directory(t: TestContext): string {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'leases-'));
  t.after(() => fs.rmSync(made, { recursive: true, force: true }));
  return path.join(made, 'ipam');
}

async function open(dir: string, bootId = 'boot-1'): Promise<Leases> {
  const leases = new Leases(dir, bootId);
  await leases.load();
  return leases;
}

test('a lease is a file that names the sandbox, gone when released', async (t) => {
  const dir = directory(t);
  const leases = await open(dir);
  assert.equal(formatIp(await leases.add(cidr, 'a')), '10.9.0.2');
  assert.deepEqual(JSON.parse(fs.readFileSync(path.join(dir, '10.9.0.2'), 'utf8')), { sandboxId: 'a', bootId: 'boot-1' });
  await leases.del('a');
  await leases.del('a');
  assert.deepEqual(fs.readdirSync(dir), []);
});

test('parallel leases get different addresses', async (t) => {
  const leases = await open(directory(t));
  const all = await Promise.all(Array.from({ length: 100 }, (_, i) => leases.add(cidr, `s${i}`)));
  assert.equal(new Set(all.map(formatIp)).size, 100);
});

test('leases outlive the process, and the round goes on where it was', async (t) => {
  const dir = directory(t);
  const before = await open(dir);
  await before.add(cidr, 'a');
  await before.add(cidr, 'b');
  await before.del('a');
  const after = await open(dir);
  assert.deepEqual(after.holders(), new Set(['b']));
  assert.equal(formatIp(await after.add(cidr, 'c')), '10.9.0.4');
});

test('leases of an earlier boot are dropped', async (t) => {
  const dir = directory(t);
  await (await open(dir)).add(cidr, 'a');
  assert.deepEqual((await open(dir, 'boot-2')).holders(), new Set());
  assert.deepEqual(fs.readdirSync(dir), []);
});

test('a lease cut short by a crash keeps its address until it is released as nobody’s', async (t) => {
  const dir = directory(t);
  fs.mkdirSync(dir, { recursive: true });
  fs.writeFileSync(path.join(dir, '10.9.0.2'), '');
  const leases = await open(dir);
  assert.deepEqual(leases.holders(), new Set(['']));
  assert.equal(formatIp(await leases.add(cidr, 'a')), '10.9.0.3');
  await leases.del('');
  assert.deepEqual(fs.readdirSync(dir), ['10.9.0.3']);
});

test('an address whose file another process made meanwhile is passed over', async (t) => {
  const dir = directory(t);
  const leases = await open(dir);
  fs.writeFileSync(path.join(dir, '10.9.0.2'), '{}');
  assert.equal(formatIp(await leases.add(cidr, 'a')), '10.9.0.3');
});
