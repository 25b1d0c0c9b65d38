// Runs the test files of the tree by node:test, kind after kind, each file in a process of its own, and reports them as one run.
import fs from 'node:fs';
import path from 'node:path';
import { run } from 'node:test';
import { createReport } from './test-report.ts';

const root = path.resolve(import.meta.dirname, '..');
const folders = ['scripts', 'agent', 'runtime', 'cni', 'cri-proto', 'bench', 'e2e'];

/** unit: no root, no effects. slow: the same, but takes its time. root: the real kernel. e2e: black box, guests, peers. */
const kinds = ['unit', 'slow', 'root', 'e2e'] as const;
type Kind = (typeof kinds)[number];

/** Root and e2e tests measure CPU shares and time-outs; on a small machine they get it to themselves. */
const concurrency: Record<Kind, number> = { unit: 2, slow: 2, root: 2, e2e: 1 };

/** Longer than any test's own deadline: ends what hangs. */
const FILE_TIMEOUT_MS = 20 * 60_000;

function kindOf(file: string): Kind {
  if (file.endsWith('.root.test.ts')) return 'root';
  if (file.endsWith('.slow.test.ts')) return 'slow';
  return file.startsWith('e2e/') ? 'e2e' : 'unit';
}

function testFiles(): string[] {
  return folders
    .filter((folder) => fs.existsSync(path.join(root, folder)))
    .flatMap((folder) =>
      fs
        .readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.test.ts'))
        .map((name) => path.join(folder, name)),
    )
    .sort();
}

const wanted = process.argv.slice(2);
const chosen = testFiles().filter((file) => wanted.length === 0 || wanted.some((word) => kindOf(file) === word || file.includes(word)));
// A kind's name is also a folder's; the kind wins.
const words = wanted.filter((word) => (kinds as readonly string[]).includes(word));
const files = words.length === 0 ? chosen : chosen.filter((file) => words.includes(kindOf(file)));
if (files.length === 0) {
  console.error(`no test file matches ${wanted.join(' ')}`);
  process.exit(1);
}

const report = createReport(root, process.stdout);
for (const kind of kinds) {
  const group = files.filter((file) => kindOf(file) === kind);
  if (group.length === 0) continue;
  report.start(kind, group.length);
  const events = run({
    files: group.map((file) => path.join(root, file)),
    concurrency: concurrency[kind],
    timeout: FILE_TIMEOUT_MS,
    cwd: root,
  });
  for await (const event of events) report.event(event as never);
}
process.exitCode = report.finish() ? 0 : 1;
