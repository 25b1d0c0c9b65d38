// The promise of the pump, kept under fire: kill -9 between any two steps, and floods.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { type OutputStream, openLogPump } from './pump.ts';
import { checkLines } from './testing/lines.ts';
import { makeRig, poll, type Rig, readStreams } from './testing/rig.ts';

const KILLS = 150;
const LINES_PER_STREAM = 100_000;
const testing = path.join(import.meta.dirname, 'testing');

function startPump(rig: Rig, streams: OutputStream[], steps: number, finish = ''): ChildProcess {
  const args = [path.join(testing, 'pump-process.ts'), rig.runDir, JSON.stringify(streams), String(steps), finish];
  // Compiled once for all of them.
  const env = { ...process.env, NODE_COMPILE_CACHE: path.join(rig.logDir, 'compile-cache') };
  return spawn(process.execPath, ['--disable-warning=ExperimentalWarning', ...args], { stdio: ['ignore', 'pipe', 'pipe'], env });
}

function startWriter(fifo: string, tag: string, lines: number, piece: number): ChildProcess {
  const args = [path.join(testing, 'line-writer.ts'), fifo, tag, String(lines), String(piece)];
  return spawn(process.execPath, ['--disable-warning=ExperimentalWarning', ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
}

/** Every file of a log, oldest first. */
function generations(logPath: string): string[] {
  const rotated = fs.readdirSync(path.dirname(logPath)).filter((name) => name !== '0.log');
  return [...rotated.sort().map((name) => path.join(path.dirname(logPath), name)), logPath];
}

test(`${KILLS} kills between any two steps lose, double and damage none of ${3 * LINES_PER_STREAM} lines`, {
  // Each kill is a start of Node.
  timeout: 600_000,
}, async (t) => {
  const rig = makeRig();
  const writers: ChildProcess[] = [];
  try {
    const a = rig.container('a');
    const b = rig.container('b', ['stdout']);
    const streams = [...a.streams, ...b.streams];
    // One writes in large pieces, one about a line at a time, one in crumbs.
    writers.push(startWriter(a.stdout, 'a-out', LINES_PER_STREAM, 16_384));
    writers.push(startWriter(a.stderr, 'a-err', LINES_PER_STREAM, 300));
    writers.push(startWriter(b.stdout, 'b-out', LINES_PER_STREAM, 4096));
    const counts = writers.map((writer) => text(writer.stdout!));
    const found = new Map<string, number>();
    // The kills must hit what they are for; where they fall is chance.
    const wanted = ['redo from staging', 'redo from journal', 'committed'];
    for (let kill = 0; kill < KILLS || (kill < 10 * KILLS && !wanted.every((what) => found.has(what))); kill++) {
      // Mostly by itself, between two steps; every fifth time from outside, anywhere.
      const outside = kill % 5 === 4;
      const pump = startPump(rig, streams, outside ? 0 : 1 + Math.floor(Math.random() * 120));
      const stdout = text(pump.stdout!);
      const stderr = text(pump.stderr!);
      if (outside) setTimeout(() => pump.kill('SIGKILL'), 60 + Math.random() * 100);
      const [code, signal] = await once(pump, 'exit');
      assert.equal(signal, 'SIGKILL', `a pump ended by itself with ${code}: ${await stderr}`);
      const what = /"found":"([^"]+)"/.exec(await stdout)?.[1] ?? 'idle';
      found.set(what, (found.get(what) ?? 0) + 1);
      assert.equal(await stderr, '');
    }
    for (const writer of writers) writer.kill('SIGTERM');
    const last = startPump(rig, streams, 0);
    const written = (await Promise.all(counts)).map(Number);
    last.kill('SIGKILL');
    await once(last, 'exit');
    const finisher = startPump(rig, streams, 0, 'finish');
    const complaint = await text(finisher.stderr!);
    assert.equal(complaint, '');

    const contents = [readStreams(...generations(a.logPath)), readStreams(...generations(b.logPath))] as const;
    const verdicts = [
      checkLines('a-out', contents[0].stdout),
      checkLines('a-err', contents[0].stderr),
      checkLines('b-out', contents[1].stdout),
    ];
    assert.deepEqual(
      verdicts,
      ['a-out', 'a-err', 'b-out'].map((tag, i) => ({ lines: written[i], lost: 0, doubled: 0, malformed: 0, rest: `${tag} end` })),
    );
    const files = generations(a.logPath).length + generations(b.logPath).length;
    t.diagnostic(`${written.join(' + ')} lines in ${files} files; the starts found: ${JSON.stringify(Object.fromEntries(found))}`);
    for (const what of wanted) assert.ok(found.has(what), `no start found ${what}`);
  } finally {
    for (const writer of writers) writer.kill('SIGKILL');
    for (const pid of readKeepers(rig)) process.kill(pid, 'SIGKILL');
    rig.remove();
  }
});

function readKeepers(rig: Rig): number[] {
  const file = path.join(rig.runDir, 'keepers');
  if (!fs.existsSync(file)) return [];
  const pids = fs.readFileSync(file, 'latin1').trim().split('\n').map(Number);
  return pids.filter((pid) => fs.existsSync(`/proc/${pid}/comm`) && fs.readFileSync(`/proc/${pid}/comm`, 'latin1') === 'tskubelet-keep\n');
}

test('a million lines as fast as a program writes them arrive, each once', { timeout: 120_000 }, async (t) => {
  const rig = makeRig();
  const pump = await openLogPump({ runDir: rig.runDir, logger: rig.logger, startKeeper: rig.startKeeper });
  let writer: ChildProcess | undefined;
  try {
    const flood = rig.container('flood', ['stdout']);
    await pump.add(flood.streams);
    writer = startWriter(flood.stdout, 'x', 1_000_000, 65_536);
    const count = text(writer.stdout!);
    // It writes: so it hears a signal, and ends once it has written them all.
    await poll(
      () => fs.statSync(flood.logPath).size,
      (size) => size > 0,
    );
    const start = performance.now();
    writer.kill('SIGTERM');
    const lines = Number(await count);
    await pump.finish('flood');
    const seconds = (performance.now() - start) / 1000;
    const { stdout } = readStreams(flood.logPath);
    t.diagnostic(`${lines} lines, ${(stdout.length / seconds / 1e6).toFixed(0)} MB/s of payload`);
    assert.ok(lines >= 1_000_000);
    assert.deepEqual(checkLines('x', stdout), { lines, lost: 0, doubled: 0, malformed: 0, rest: 'x end' });
  } finally {
    writer?.kill('SIGKILL');
    await pump.close();
    rig.remove();
  }
});
