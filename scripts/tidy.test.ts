// House rules that a program can check: the import table, koffi on the floor only, no dead files.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

const root = path.resolve(import.meta.dirname, '..');
const folders = ['cri-proto', 'agent', 'runtime', 'cni', 'e2e', 'bench', 'scripts'];

function sources(): string[] {
  return folders.flatMap((folder) =>
    fs
      .readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => path.join(folder, name)),
  );
}

interface Import {
  readonly from: string;
  /** Path from the root, or a package name. */
  readonly to: string;
  readonly typeOnly: boolean;
}

function importsOf(file: string): Import[] {
  const text = fs.readFileSync(path.join(root, file), 'utf8');
  const found: Import[] = [];
  for (const match of text.matchAll(
    /(?:^|\n)\s*(?:import|export)\s+(type\s)?[^'";]*?from\s+'([^']+)'|import\(\s*'([^']+)'\s*\)|(?:^|\n)import\s+'([^']+)'/g,
  )) {
    const to = match[2] ?? match[3] ?? match[4] ?? '';
    found.push({
      from: file,
      to: to.startsWith('.') ? path.join(path.dirname(file), to) : to,
      typeOnly: match[1] !== undefined,
    });
  }
  return found;
}

function area(file: string): string {
  if (file.startsWith('runtime/linux/')) return 'runtime/linux';
  if (file.startsWith('runtime/cgroup/')) return 'runtime/cgroup';
  if (file.startsWith('runtime/credentials/')) return 'runtime/credentials';
  return file.split('/')[0] ?? '';
}

const isTest = (file: string) => /\.(test|suite)\.ts$/.test(file) || file.includes('/testing/');

/** area → areas that it may import; a full file name allows that file alone. */
const allowed: Record<string, readonly string[]> = {
  'cri-proto': [],
  // The logger's shape is the one thing that both halves are given.
  agent: ['cri-proto', 'runtime/linux', 'runtime/cgroup', 'runtime/credentials', 'runtime/logger.ts'],
  runtime: ['cri-proto', 'runtime/linux', 'runtime/cgroup', 'runtime/credentials', 'cni/client.ts'],
  // What a machine knows of registries serves both halves: the runtime's own pulls, and the agent's on another runtime.
  'runtime/credentials': ['runtime/linux'],
  // The floor runs programs, so it shares their encoding.
  'runtime/linux': ['runtime/program/builder.ts', 'runtime/program/stub.ts', 'runtime/program/elf.ts'],
  'runtime/cgroup': ['runtime/linux'],
  cni: ['runtime/linux', 'cri-proto/explained-network.ts'],
  e2e: ['cri-proto'],
  bench: ['cri-proto', 'runtime', 'runtime/linux', 'runtime/cgroup', 'runtime/credentials', 'cni', 'e2e'],
  scripts: [],
};

const files = sources();
const imports = files.flatMap(importsOf);

test('every import is allowed by the import table', () => {
  const wrong = imports
    .filter(({ to }) => folders.includes(to.split('/')[0] ?? '') && to.endsWith('.ts'))
    .filter(({ from, to }) => {
      const source = area(from);
      if (source === area(to) || from === 'agent/main.ts') return false;
      if (isTest(from) && source !== 'e2e') return false;
      const rules = allowed[source] ?? [];
      return !rules.includes(area(to)) && !rules.includes(to);
    })
    .map(({ from, to }) => `${from} imports ${to}`);
  assert.deepEqual(wrong, []);
});

test('only runtime/linux imports koffi', () => {
  assert.deepEqual(
    imports.filter(({ from, to }) => to === 'koffi' && area(from) !== 'runtime/linux').map(({ from }) => from),
    [],
  );
});

test('child_process is for tests, scripts and benchmarks only', () => {
  assert.deepEqual(
    imports
      .filter(({ from, to }) => /^(node:)?child_process$/.test(to) && !isTest(from) && !/^(e2e|bench|scripts)\//.test(from))
      .map(({ from }) => from),
    [],
  );
});

test('every source file is used', () => {
  const used = new Set(imports.map(({ to }) => to));
  const entries = /(^agent\/main\.ts$|\.(test|suite)\.ts$|^(e2e|bench|scripts)\/|worker\.ts$)/;
  const spawned = files.map((file) => fs.readFileSync(path.join(root, file), 'utf8')).join('\n');
  assert.deepEqual(
    files.filter((file) => !used.has(file) && !entries.test(file) && !spawned.includes(path.basename(file)) && !file.includes('/gen/')),
    [],
  );
});

test('the word Pod stays out of runtime/ but for CRI names', () => {
  const wrong = files
    .filter((file) => file.startsWith('runtime/') && !isTest(file))
    .filter((file) => /\bPod\b/.test(fs.readFileSync(path.join(root, file), 'utf8').replace(/\/\/.*|\/\*[\s\S]*?\*\//g, '')));
  assert.deepEqual(wrong, []);
});
