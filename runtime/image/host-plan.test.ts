import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { readApplets } from './busybox-applets.ts';
import { commandImagePath, planHostImage } from './host-plan.ts';
import { parseLdCache } from './ld-cache.ts';
import { findCommand, findSharedLibraries } from './shared-libraries.ts';

test('findSharedLibraries finds what ldd finds', (t) => {
  const ldd = findCommand('ldd');
  if (ldd === undefined) return t.skip('there is no ldd to compare with');
  const { libraries, loaders } = findSharedLibraries([process.execPath]);
  const listed = execFileSync(ldd, [process.execPath], { encoding: 'utf8' });
  const expected = [...listed.matchAll(/^\s*(\S+) => (\S+)/gm)].map(([, name = '', file = '']) => [name, fs.realpathSync(file)]);
  for (const [name = '', file] of expected) assert.equal(fs.realpathSync(libraries.get(name) ?? '/'), file, name);
  assert.ok(expected.length > 3);
  for (const loader of loaders) assert.ok(listed.includes(loader));
});

test('findSharedLibraries takes a script with its interpreter, and names what is missing', () => {
  const script = findCommand('ldd');
  if (script !== undefined) assert.ok(findSharedLibraries([script]).binaries.length >= 2);
  assert.throws(() => findSharedLibraries(['/nonexistent/tool']), /\/nonexistent\/tool is not a file on this host/);
  assert.throws(() => findSharedLibraries(['node']), /is not an absolute path/);
  assert.throws(() => findSharedLibraries(['/etc/passwd']), /neither a 64-bit ELF program nor a script/);
});

test('planHostImage puts files below /usr, parents first, with the loader at its own path', () => {
  const closure = {
    binaries: [{ file: '/opt/tool', interpreter: '/lib64/ld-linux-x86-64.so.2', script: false }],
    libraries: new Map([
      ['libc.so.6', '/lib/x86_64-linux-gnu/libc.so.6'],
      ['libodd.so', '/opt/odd/libodd.so'],
    ]),
    loaders: new Set(['/lib64/ld-linux-x86-64.so.2']),
  };
  const steps = planHostImage(closure, new Map([['/opt/tool', commandImagePath('/opt/tool')]]));
  const placed = new Map(steps.flatMap((step) => (step.kind === 'host-file' ? [[step.source, step.path] as const] : [])));
  assert.equal(placed.get('/opt/tool'), '/usr/local/bin/tool');
  assert.equal(placed.get('/lib64/ld-linux-x86-64.so.2'), '/usr/lib64/ld-linux-x86-64.so.2');
  // A directory that only this host's loader configuration knows: beside libc, where every loader looks.
  const libc = placed.get('/lib/x86_64-linux-gnu/libc.so.6') ?? '';
  assert.equal(placed.get('/opt/odd/libodd.so'), path.join(path.dirname(libc), 'libodd.so'));
  const seen = new Set(['/']);
  for (const step of steps) {
    assert.ok(seen.has(path.dirname(step.path)), `${step.path} comes before its directory`);
    seen.add(step.path);
  }
});

test('planHostImage has no two steps for one path', () => {
  const steps = planHostImage(findSharedLibraries([process.execPath]), new Map([[process.execPath, '/usr/bin/node']]), ['node', 'ls', '[']);
  const paths = steps.map((step) => step.path);
  assert.deepEqual(
    paths.filter((each, i) => paths.indexOf(each) !== i),
    [],
  );
});

test('readApplets reads the names that busybox --list prints', async (t) => {
  const busybox = findCommand('busybox');
  if (busybox === undefined) return t.skip('this host has no busybox');
  assert.deepEqual(await readApplets(busybox), execFileSync(busybox, ['--list'], { encoding: 'utf8' }).trim().split('\n'));
  const [loader = ''] = findSharedLibraries([process.execPath]).loaders;
  assert.deepEqual(await readApplets(loader), []);
});

test('parseLdCache reads what ldconfig -p prints, and nothing from garbage', (t) => {
  assert.equal(parseLdCache(Buffer.from('glibc-ld.so.cache1.1')).size, 0);
  assert.equal(parseLdCache(Buffer.from(`glibc-ld.so.cache1.1${'\xff'.repeat(60)}`, 'latin1')).size, 0);
  const ldconfig = findCommand('ldconfig');
  if (ldconfig === undefined || !fs.existsSync('/etc/ld.so.cache')) return t.skip('this host has no ld.so.cache');
  const printed = execFileSync(ldconfig, ['-p'], { encoding: 'utf8' });
  const libraries = parseLdCache(fs.readFileSync('/etc/ld.so.cache'));
  assert.ok(libraries.size > 5);
  for (const [name, file] of libraries) assert.ok(printed.includes(`\t${name} `) && printed.includes(`=> ${file}\n`), name);
});
