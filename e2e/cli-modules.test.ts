// What each command loads: start-up time and memory are modules (DESIGN.md, section 2).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { run } from './testing/command.ts';
import { TestNode } from './testing/test-node.ts';

const root = path.resolve(import.meta.dirname, '..');
const launcher = path.join(root, 'bin/tskubelet');
const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'cli-modules-'));
after(() => fs.rmSync(directory, { recursive: true }));

const list = path.join(directory, 'modules');
const env = { NODE_OPTIONS: `--import ${path.join(import.meta.dirname, 'testing/loaded-modules.ts')}`, LOADED_MODULES: list };

/** Paths from the root of the project, without dist/ and extension. */
function loaded(): string[] {
  const urls = fs.readFileSync(list, 'utf8').trim().split('\n');
  fs.rmSync(list);
  return urls
    .map((url) =>
      path
        .relative(root, new URL(url).pathname)
        .replace(/^dist\//, '')
        .replace(/\.[jt]s$/, ''),
    )
    .filter((file) => !file.startsWith('e2e/'));
}

const ours = (modules: readonly string[]) => modules.filter((file) => !file.startsWith('node_modules/'));
const packages = (modules: readonly string[]) => [
  ...new Set(modules.flatMap((file) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1] ?? [])),
];

test('version loads a handful of modules and no package', async () => {
  assert.equal((await run(launcher, ['version'], { env: { ...process.env, ...env } })).code, 0);
  const modules = loaded();
  assert.deepEqual(packages(modules), []);
  assert.deepEqual(ours(modules).sort(), [
    'agent/cli/command',
    'agent/cli/flags',
    'agent/cli/help',
    'agent/cli/nearest',
    'agent/error',
    'agent/main',
    'agent/version',
    'runtime/compile-cache',
    'runtime/paths',
  ]);
});

for (const args of [
  ['get', 'pods'],
  ['describe', 'pod', 'web'],
  ['logs', 'web'],
  ['exec', 'web', '--', 'ls'],
  ['attach', 'web'],
  ['port-forward', 'web', '80'],
])
  test(`${args[0]} loads no package and nothing of the runtime but its paths`, async () => {
    const nowhere = ['--run-dir', path.join(directory, 'run'), '--log-dir', path.join(directory, 'log')];
    await run(launcher, [...nowhere, ...args], { env: { ...process.env, ...env } });
    const modules = loaded();
    assert.deepEqual(packages(modules), []);
    const small = ['runtime/compile-cache', 'runtime/paths', 'runtime/linux/errno'];
    assert.deepEqual(
      ours(modules).filter((file) => file.startsWith('runtime/') && !small.includes(file)),
      [],
    );
  });

for (const [kind, absent] of [
  ['runtime', /^(@kubernetes\/client-node|js-yaml|prom-client)$/],
  ['node', /^@kubernetes\/client-node$/],
] as const)
  test(`a ${kind} loads nothing that it does not need`, { skip: process.getuid?.() === 0 ? false : 'needs root' }, async () => {
    const node = await TestNode.create();
    try {
      await node.start(kind, { env });
      assert.equal(await node.stop('SIGTERM'), 0);
      const modules = loaded();
      assert.deepEqual(
        packages(modules).filter((name) => absent.test(name)),
        [],
      );
      if (kind === 'runtime')
        assert.deepEqual(
          ours(modules).filter((file) => /^agent\/(?!cli\/|main$|error$|version$|logger$|config\/duration$|image\/gc-plan$)/.test(file)),
          [],
        );
    } finally {
      await node.destroy();
    }
  });
