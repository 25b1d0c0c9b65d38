import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { type FileSourceOptions, openFileSource } from './file-source.ts';
import { renderProblem } from './render-problem.ts';
import type { PodSource, SourceUpdate } from './source.ts';

const temporary = await fs.mkdtemp(path.join(os.tmpdir(), 'tsk-file-source-'));
after(() => fs.rm(temporary, { recursive: true, force: true }));

const pod = (name: string, image = 'i') =>
  `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}}\nspec: {containers: [{name: c, image: ${image}}]}\n`;

interface Opened extends AsyncDisposable {
  readonly directory: string;
  readonly updates: SourceUpdate[];
  readonly lines: string[];
  readonly source: PodSource;
  /** In one step. */
  write(name: string, text: string): Promise<void>;
  /** In place: empty for a moment. */
  overwrite(name: string, text: string): Promise<void>;
  /** Waits for "name@file …" of all pods, sorted. */
  expectPods(expected: string): Promise<void>;
  expectProblem(pattern: RegExp): Promise<void>;
}

/** Sooner than the next re-scan, which comes after 20 s: what is found by then was told by inotify. */
const WITHIN_MS = 15_000;
/** Half of what a file may be gone or half written before it counts (200 ms), and the same of a directory (2 s). */
const SOON_MS = 100;
const DIRECTORY_SOON_MS = 1000;

let count = 0;

async function open(
  prepare: (directory: string) => Promise<void> = async () => {},
  options: Partial<FileSourceOptions> = {},
): Promise<Opened> {
  const directory = path.join(temporary, String(count++));
  await fs.mkdir(directory);
  await prepare(directory);
  const updates: SourceUpdate[] = [];
  const lines: string[] = [];
  const logger = Object.fromEntries(
    ['info', 'warn', 'error'].map((level) => [level, (_: object, line: string) => lines.push(`${level} ${line}`)]),
  );
  const source = await openFileSource({
    paths: [directory],
    nodeName: 'n',
    onUpdate: (update) => updates.push(update),
    logger: logger as unknown as FileSourceOptions['logger'],
    ...options,
  });
  const state = () => summarise(updates.at(-1));
  const poll = async (isDone: () => boolean, wanted: string) => {
    const deadline = performance.now() + WITHIN_MS;
    while (!isDone()) {
      assert.ok(
        performance.now() < deadline,
        `wanted ${wanted}, last ${state()} ${updates.at(-1)?.problems.map(renderProblem).join('\n')}`,
      );
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  return {
    directory,
    updates,
    lines,
    source,
    write: async (name, text) => {
      const unseen = path.join(temporary, `unseen-${count++}`);
      await fs.writeFile(unseen, text);
      await fs.rename(unseen, path.join(directory, name));
    },
    overwrite: (name, text) => fs.writeFile(path.join(directory, name), text),
    expectPods: (expected) => poll(() => state() === expected, expected),
    expectProblem: (pattern) =>
      poll(() => updates.at(-1)?.problems.some((problem) => pattern.test(renderProblem(problem))) ?? false, String(pattern)),
    [Symbol.asyncDispose]: () => source.close(),
  };
}

function summarise(update: SourceUpdate | undefined): string {
  return (update?.pods ?? [])
    .map(({ pod: { metadata, spec }, origin }) => `${metadata?.name}:${spec?.containers[0]?.image}@${path.basename(origin.file)}`)
    .sort()
    .join(' ');
}

test('the first update holds all that is there when openFileSource returns, also when it is nothing', async () => {
  await using nothing = await open();
  assert.deepEqual(nothing.updates, [{ pods: [], problems: [] }]);
  await using some = await open(async (directory) => {
    await fs.writeFile(path.join(directory, 'a.yaml'), [pod('a'), pod('b')].join('---\n'));
    await fs.writeFile(
      path.join(directory, 'c.json'),
      JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'c' }, spec: { containers: [{ name: 'c', image: 'i' }] } }),
    );
    await fs.writeFile(path.join(directory, 'd.yml'), pod('d'));
  });
  assert.equal(some.updates.length, 1);
  assert.equal(summarise(some.updates[0]), 'a:i@a.yaml b:i@a.yaml c:i@c.json d:i@d.yml');
});

test('a file that is dropped in, changed and removed is seen each time, long before the next re-scan', async () => {
  await using opened = await open();
  await opened.overwrite('a.yaml', pod('a'));
  await opened.expectPods('a:i@a.yaml');
  await opened.overwrite('a.yaml', pod('a', 'j'));
  await opened.expectPods('a:j@a.yaml');
  await opened.write('a.yaml', pod('a', 'k'));
  await opened.expectPods('a:k@a.yaml');
  await fs.rm(path.join(opened.directory, 'a.yaml'));
  await opened.expectPods('');
});

test('touching a file, or changing only its comments, is no update', async () => {
  await using opened = await open(async (directory) => fs.writeFile(path.join(directory, 'a.yaml'), pod('a')));
  await opened.write('a.yaml', `${pod('a')}# comment\n`);
  await opened.write('b.yaml', pod('b'));
  await opened.expectPods('a:i@a.yaml b:i@b.yaml');
  assert.equal(opened.updates.length, 2);
});

test('files of editors, other files and sub-directories are no pods', async () => {
  await using opened = await open(async (directory) => {
    for (const name of [
      '.a.yaml.swp',
      '.#a.yaml',
      '#a.yaml#',
      'a.yaml~',
      'a.yaml.bak',
      '4913',
      'README.md',
      '.hidden.yaml',
      'a.yaml.tmp',
    ]) {
      await fs.writeFile(path.join(directory, name), pod('x'));
    }
    await fs.mkdir(path.join(directory, 'sub.yaml'));
    await fs.mkdir(path.join(directory, 'sub'));
    await fs.writeFile(path.join(directory, 'sub', 'a.yaml'), pod('x'));
  });
  assert.deepEqual(opened.updates, [{ pods: [], problems: [] }]);
  await opened.write('a.yaml', pod('a'));
  await opened.expectPods('a:i@a.yaml');
  assert.deepEqual(
    opened.lines.sort(),
    ['sub', 'sub.yaml'].map(
      (name) => `info ${path.join(opened.directory, name)} is not looked into; pods are only in files of ${opened.directory} itself`,
    ),
  );
});

test('a file that breaks keeps its pods running, says so once, and is used again when it is mended', async () => {
  await using opened = await open(async (directory) => {
    await fs.writeFile(path.join(directory, 'a.yaml'), pod('a'));
    await fs.writeFile(path.join(directory, 'b.yaml'), pod('b'));
  });
  await opened.write('a.yaml', 'apiVersion: [\n');
  await opened.expectProblem(/a\.yaml, document 1, line \d: .*\(until then default\/a runs on as it was\)/);
  await opened.expectPods('a:i@a.yaml b:i@b.yaml');
  await opened.write('b.yaml', pod('b', 'j'));
  await opened.expectPods('a:i@a.yaml b:j@b.yaml');
  assert.equal(opened.lines.filter((line) => line.includes('a.yaml')).length, 1);
  await opened.write('a.yaml', pod('a', 'k'));
  await opened.expectPods('a:k@a.yaml b:j@b.yaml');
  assert.deepEqual(opened.updates.at(-1)?.problems, []);
  assert.ok(opened.updates.every(({ pods }) => pods.length === 2));
});

test('a file that is written in pieces is not taken before it is whole', async () => {
  await using opened = await open(async (directory) => fs.writeFile(path.join(directory, 'a.yaml'), [pod('a'), pod('b')].join('---\n')));
  const text = [pod('a', 'j'), pod('b', 'j')].join('---\n');
  let last = performance.now();
  let longestMs = 0;
  const handle = await fs.open(path.join(opened.directory, 'a.yaml'), 'w');
  for (let at = 0; at < text.length; at += 20) {
    await handle.write(text.slice(at, at + 20));
    await new Promise((resolve) => setTimeout(resolve, 15));
    longestMs = Math.max(longestMs, performance.now() - last);
    last = performance.now();
  }
  await handle.close();
  await opened.expectPods('a:j@a.yaml b:j@a.yaml');
  assert.ok(opened.updates.every(({ pods }) => pods.length === 2));
  // A writer that a busy machine holds up may be told that its file is half done.
  if (longestMs < SOON_MS) assert.equal(opened.updates.length, 2, 'nothing between the old and the new content');
});

test('a file that is emptied keeps its pods; one that was never more than empty is only mentioned', async () => {
  await using opened = await open(async (directory) => fs.writeFile(path.join(directory, 'a.yaml'), pod('a')));
  await opened.write('a.yaml', '');
  await opened.expectProblem(/a\.yaml: the file is empty; remove it to end its pods/);
  await opened.expectPods('a:i@a.yaml');
  await opened.write('e.yaml', '\n');
  await opened.expectProblem(/e\.yaml: the file is empty$/);
  await opened.write('a.yaml', '# switched off\n');
  await opened.expectPods('');
});

test('a file that is renamed into place is seen, and so is one that an editor replaces', async () => {
  await using opened = await open(async (directory) => fs.writeFile(path.join(directory, 'a.yaml'), pod('a')));
  await opened.write('a.yaml.tmp', pod('a', 'j'));
  await fs.rename(path.join(opened.directory, 'a.yaml.tmp'), path.join(opened.directory, 'a.yaml'));
  await opened.expectPods('a:j@a.yaml');
  // As vim: the old one aside, a new one in its place.
  const asideMs = performance.now();
  await fs.rename(path.join(opened.directory, 'a.yaml'), path.join(opened.directory, 'a.yaml~'));
  await new Promise((resolve) => setTimeout(resolve, 40));
  await opened.write('a.yaml', pod('a', 'k'));
  const isSoon = performance.now() - asideMs < SOON_MS;
  await opened.expectPods('a:k@a.yaml');
  if (isSoon) assert.ok(opened.updates.every(({ pods }) => pods.length === 1));
});

test('a pod whose file is renamed moves with it, without a word of a clash', async () => {
  await using opened = await open(async (directory) => fs.writeFile(path.join(directory, 'a.yaml'), pod('a')));
  await fs.rename(path.join(opened.directory, 'a.yaml'), path.join(opened.directory, 'b.yaml'));
  await opened.expectPods('a:i@b.yaml');
  assert.deepEqual(opened.lines, []);
});

test('of two files with one pod the first keeps running, and the second takes over when the first goes', async () => {
  await using opened = await open(async (directory) => fs.writeFile(path.join(directory, 'b.yaml'), pod('web')));
  await opened.write('a.yaml', pod('web', 'j'));
  await opened.expectProblem(/a\.yaml, document 1: metadata\.name: pod default\/web of .*a\.yaml is there already, from .*b\.yaml/);
  await opened.expectPods('web:i@b.yaml');
  await fs.rm(path.join(opened.directory, 'b.yaml'));
  await opened.expectPods('web:j@a.yaml');
  assert.deepEqual(opened.updates.at(-1)?.problems, []);
});

test('a mounted ConfigMap, whose files are links through ..data, changes in one step', async () => {
  const publish = async (directory: string, version: string, image: string) => {
    await fs.mkdir(path.join(directory, version));
    await fs.writeFile(path.join(directory, version, 'a.yaml'), pod('a', image));
    await fs.symlink(version, path.join(directory, '..data_tmp'));
    await fs.rename(path.join(directory, '..data_tmp'), path.join(directory, '..data'));
  };
  await using opened = await open(async (directory) => {
    await publish(directory, '..v1', 'i');
    await fs.symlink('..data/a.yaml', path.join(directory, 'a.yaml'));
  });
  await opened.expectPods('a:i@a.yaml');
  await publish(opened.directory, '..v2', 'j');
  await fs.rm(path.join(opened.directory, '..v1'), { recursive: true });
  await opened.expectPods('a:j@a.yaml');
  assert.ok(opened.updates.every(({ pods }) => pods.length === 1));
});

test('links to nothing, sockets and files that are too large are told and harm nobody', async () => {
  const server = net.createServer();
  after(() => server.close());
  await using opened = await open(async (directory) => {
    await new Promise<void>((resolve) => server.listen(path.join(directory, 'socket.yaml'), resolve));
    await fs.symlink('/nowhere/at/all', path.join(directory, 'link.yaml'));
    await fs.writeFile(path.join(directory, 'large.yaml'), `#${'x'.repeat(4 * 1024 * 1024)}`);
    await fs.writeFile(path.join(directory, 'elf.yaml'), Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0, 1, 2]));
    await fs.writeFile(path.join(directory, 'a.yaml'), pod('a'));
  });
  await opened.expectProblem(/link\.yaml: it is a symbolic link to nothing/);
  await opened.expectProblem(/socket\.yaml: it is neither a file nor a directory/);
  await opened.expectProblem(/large\.yaml: the file has 4194305 bytes, more than the limit/);
  await opened.expectProblem(/elf\.yaml, document 1, line 1: the file holds a control character/);
  await opened.expectPods('a:i@a.yaml');
});

test('a directory that is not there yet is waited for', async () => {
  const late = path.join(temporary, 'late', 'pods');
  await using opened = await open(undefined, { paths: [late] });
  assert.match(
    renderProblem(opened.updates[0]?.problems[0] ?? assert.fail()),
    /late\/pods: there is no such file or directory yet; its pods start when it appears/,
  );
  await fs.mkdir(late, { recursive: true });
  await fs.writeFile(path.join(late, 'a.yaml'), pod('a'));
  await opened.expectPods('a:i@a.yaml');
});

test('a directory that is replaced loses no pod; one that stays away ends its pods', async () => {
  await using opened = await open(async (directory) => fs.writeFile(path.join(directory, 'a.yaml'), pod('a')));
  const goneMs = performance.now();
  await fs.rename(opened.directory, `${opened.directory}.old`);
  await opened.expectProblem(/it is gone, and waited for/);
  await fs.mkdir(opened.directory);
  await opened.write('a.yaml', pod('a', 'j'));
  const isSoon = performance.now() - goneMs < DIRECTORY_SOON_MS;
  await opened.expectPods('a:j@a.yaml');
  if (isSoon) assert.ok(opened.updates.every(({ pods }) => pods.length === 1));
  await opened.write('a.yaml', pod('a', 'k'));
  await opened.expectPods('a:k@a.yaml');
  await fs.rename(opened.directory, `${opened.directory}.gone`);
  await opened.expectPods('');
});

test('a single file is followed by name, also through a rename over it', async () => {
  const file = path.join(temporary, 'single.pod');
  await fs.writeFile(file, pod('a'));
  await using opened = await open(undefined, { paths: [file] });
  assert.equal(summarise(opened.updates.at(-1)), 'a:i@single.pod');
  await fs.writeFile(`${file}.new`, pod('a', 'j'));
  await fs.rename(`${file}.new`, file);
  await opened.expectPods('a:j@single.pod');
});

test('what inotify does not tell is found by the re-scan', async () => {
  const elsewhere = path.join(temporary, 'elsewhere.yaml');
  await fs.writeFile(elsewhere, pod('a'));
  await using opened = await open((directory) => fs.symlink(elsewhere, path.join(directory, 'a.yaml')), { rescanMs: 100 });
  await fs.writeFile(elsewhere, pod('a', 'j'));
  await opened.expectPods('a:j@a.yaml');
});

test('a file that is broken when the agent starts again still has the pods that ran from it', async () => {
  const lastGoodFile = path.join(temporary, 'root', 'manifests.json');
  const first = await open(async (directory) => fs.writeFile(path.join(directory, 'a.yaml'), pod('a')), { lastGoodFile });
  await first.source.close();
  await first.write('a.yaml', 'apiVersion: [\n');
  await using second = await open(undefined, { lastGoodFile, paths: [first.directory] });
  assert.equal(summarise(second.updates[0]), 'a:i@a.yaml');
  assert.equal(second.updates[0]?.pods[0]?.hash, first.updates[0]?.pods[0]?.hash);
  assert.match(second.updates[0]?.problems[0]?.message ?? '', /runs on as it was/);
});

test('fifty files at once are fifty pods, and none when they are removed', async () => {
  await using opened = await open();
  await Promise.all(Array.from({ length: 50 }, (_, index) => opened.write(`${index}.yaml`, pod(`p${index}`))));
  const fifty = Array.from({ length: 50 }, (_, index) => `p${index}:i@${index}.yaml`);
  await opened.expectPods(fifty.sort().join(' '));
  await Promise.all(Array.from({ length: 50 }, (_, index) => fs.rm(path.join(opened.directory, `${index}.yaml`))));
  await opened.expectPods('');
});

test('nothing is said after close', async () => {
  const opened = await open();
  await opened.source.close();
  await opened.write('a.yaml', pod('a'));
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.equal(opened.updates.length, 1);
});
