import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import zlib from 'node:zlib';
import fc from 'fast-check';
import { type LogReadOptions, readContainerLog } from './reader.ts';

let dir: string;
let log: string;

beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tsk-reader-'));
  log = path.join(dir, '0.log');
});
afterEach(() => fs.rmSync(dir, { recursive: true, force: true }));

/** One log line; seconds make its time. */
function line(second: number, content: string, stream = 'stdout', tag = 'F'): string {
  return `2025-01-01T00:00:${String(second).padStart(2, '0')}.000000000Z ${stream} ${tag} ${content}\n`;
}

async function read(options: LogReadOptions = {}): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of readContainerLog(log, options)) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

interface Following {
  text(): string;
  until(expected: string): Promise<void>;
  done: Promise<void>;
}

function follow(options: LogReadOptions = {}): Following {
  let text = '';
  const done = (async () => {
    for await (const piece of readContainerLog(log, { follow: true, ...options })) text += piece.toString();
  })();
  return {
    text: () => text,
    until: async (expected) => {
      const deadline = Date.now() + 20_000;
      while (text !== expected) {
        if (Date.now() > deadline) assert.equal(text, expected);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    },
    done,
  };
}

const sample = [
  line(1, 'one'),
  line(2, 'two', 'stderr'),
  line(3, 'thr', 'stdout', 'P'),
  line(4, 'between', 'stderr'),
  line(5, 'ee'),
  line(6, 'four'),
].join('');

const cases: readonly [string, LogReadOptions, string][] = [
  ['everything, pieces joined across the other stream', {}, 'one\ntwo\nbetween\nthree\nfour\n'],
  ['one stream', { stream: 'stderr' }, 'two\nbetween\n'],
  ['the last line', { tailLines: 1 }, 'four\n'],
  ['a tail that begins with a line in pieces', { tailLines: 2 }, 'three\nfour\n'],
  ['a tail before the pieces', { tailLines: 3 }, 'between\nthree\nfour\n'],
  ['a tail of one stream', { tailLines: 2, stream: 'stdout' }, 'three\nfour\n'],
  ['a tail longer than the log', { tailLines: 99 }, 'one\ntwo\nbetween\nthree\nfour\n'],
  ['no lines', { tailLines: 0 }, ''],
  ['a limit within a line', { limitBytes: 6 }, 'one\ntw'],
  ['no bytes', { limitBytes: 0 }, ''],
  ['lines since a time', { sinceTime: BigInt(Date.parse('2025-01-01T00:00:04Z')) * 1_000_000n }, 'between\nfour\n'],
  ['no lines that are too old', { sinceSeconds: 10 }, ''],
  [
    'timestamps, of a joined line the first',
    { tailLines: 2, timestamps: true },
    '2025-01-01T00:00:03.000000000Z three\n2025-01-01T00:00:06.000000000Z four\n',
  ],
];
for (const [what, options, expected] of cases) {
  test(`reads ${what}`, async () => {
    fs.writeFileSync(log, sample);
    assert.equal(await read(options), expected);
  });
}

test('a log that is absent is ENOENT', async () => {
  await assert.rejects(read(), { code: 'ENOENT' });
});

test('lines of any timestamp width and zone, of Docker, and lines that are none', async () => {
  const lines = [
    '2025-01-01T00:00:01Z stdout F seconds',
    '2025-01-01T00:00:01.5+02:00 stdout F a zone',
    'garbage',
    '2025-01-01T00:00:02.123456789Z stdout P:x par',
    '2025-01-01T00:00:02.123456789Z stdout F:x ts',
    '2025-01-01T00:00:02.123456789Z stdout F ',
    '{"log":"docker\\n","stream":"stderr","time":"2025-01-01T00:00:03.1Z"}',
    'null',
    '{"log":1}',
  ];
  fs.writeFileSync(log, `${lines.join('\n')}\n`);
  assert.equal(
    await read({ timestamps: true }),
    [
      '2025-01-01T00:00:01.000000000Z seconds',
      '2025-01-01T00:00:01.500000000+02:00 a zone',
      '2025-01-01T00:00:02.123456789Z parts',
      '2025-01-01T00:00:02.123456789Z ',
      '2025-01-01T00:00:03.100000000Z docker\n',
    ].join('\n'),
  );
});

test('a last line without newline is shown without one', async () => {
  fs.writeFileSync(log, line(1, 'whole') + line(2, 'half', 'stdout', 'P'));
  assert.equal(await read(), 'whole\nhalf');
  assert.equal(await read({ tailLines: 1 }), 'half');
});

function rotated(): void {
  fs.writeFileSync(`${log}.20250101-000001.gz`, zlib.gzipSync(line(1, 'a') + line(2, 'b')));
  fs.writeFileSync(`${log}.20250101-000002.gz`, zlib.gzipSync(line(3, 'c') + line(4, 'd', 'stdout', 'P')));
  fs.writeFileSync(`${log}.20250101-000003`, line(5, 'd') + line(6, 'e'));
  fs.writeFileSync(`${log}.20250101-000004.tmp`, 'no log');
  fs.writeFileSync(path.join(dir, '1.log'), line(9, 'another container'));
  fs.writeFileSync(log, line(7, 'f'));
}

test('rotated files come first, oldest first, compressed or not, and a line may go on from one to the next', async () => {
  rotated();
  assert.equal(await read(), 'a\nb\nc\ndd\ne\nf\n');
});

test('a tail reaches back into rotated files', async () => {
  rotated();
  const all = ['a', 'b', 'c', 'dd', 'e', 'f'];
  for (let lines = 0; lines <= 7; lines++)
    assert.equal(
      await read({ tailLines: lines }),
      all
        .slice(Math.max(0, 6 - lines))
        .map((text) => `${text}\n`)
        .join(''),
    );
});

test('following shows what is written later, and ends when the container has ended and all is read', async () => {
  fs.writeFileSync(log, line(1, 'before'));
  const ended = new AbortController();
  const following = follow({ ended: ended.signal, tailLines: 1 });
  // It follows once it has shown what is there.
  await following.until('before\n');
  fs.appendFileSync(log, line(2, 'after'));
  await following.until('before\nafter\n');
  const [head, tail] = [line(3, 'cut anywhere').slice(0, 20), line(3, 'cut anywhere').slice(20)];
  fs.appendFileSync(log, head);
  fs.appendFileSync(log, tail);
  fs.appendFileSync(log, line(4, 'last', 'stdout', 'P'));
  ended.abort();
  await following.done;
  assert.equal(following.text(), 'before\nafter\ncut anywhere\nlast');
});

test('following from the end shows nothing of what was there before', async () => {
  fs.writeFileSync(log, line(1, 'before'));
  const ended = new AbortController();
  const following = follow({ ended: ended.signal, tailLines: 0 });
  // When it has found the end is not seen from outside: lines come until one is shown.
  for (const deadline = Date.now() + 20_000; following.text() === '' && Date.now() < deadline; ) {
    fs.appendFileSync(log, line(2, 'after'));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  ended.abort();
  await following.done;
  assert.match(following.text(), /^(after\n)+$/);
});

test('following stops at once when its reader goes away', async () => {
  fs.writeFileSync(log, line(1, 'x'));
  const gone = new AbortController();
  const following = follow({ signal: gone.signal });
  await following.until('x\n');
  gone.abort();
  await following.done;
});

test('following goes on in the new file after a rotation, with nothing left out of the old one', async () => {
  fs.writeFileSync(log, line(1, 'a'));
  const ended = new AbortController();
  const following = follow({ ended: ended.signal });
  await following.until('a\n');
  fs.renameSync(log, `${log}.20250101-000001`);
  fs.appendFileSync(`${log}.20250101-000001`, line(2, 'b') + line(3, 'c', 'stdout', 'P'));
  await following.until('a\nb\n');
  fs.appendFileSync(`${log}.20250101-000001`, line(4, 'written before the reopening', 'stderr'));
  fs.writeFileSync(log, line(5, 'c'));
  await following.until('a\nb\nwritten before the reopening\ncc\n');
  ended.abort();
  await following.done;
});

test('a follower that was busy during several rotations shows each file once', async () => {
  fs.writeFileSync(`${log}.20250101-000000`, line(1, 'a'));
  fs.writeFileSync(log, line(2, 'b'));
  const ended = new AbortController();
  const pieces: string[] = [];
  const reading = readContainerLog(log, { follow: true, ended: ended.signal });
  for (let i = 0; i < 2; i++) pieces.push((await reading.next()).value!.toString());
  fs.appendFileSync(log, line(3, 'c'));
  for (const [i, text] of ['d', 'e', 'f'].entries()) {
    fs.renameSync(log, `${log}.20250101-00000${i + 1}`);
    fs.writeFileSync(log, line(4 + i, text));
  }
  // The one being read is compressed meanwhile, the oldest removed.
  fs.writeFileSync(`${log}.20250101-000001.gz`, zlib.gzipSync(fs.readFileSync(`${log}.20250101-000001`)));
  fs.rmSync(`${log}.20250101-000001`);
  fs.rmSync(`${log}.20250101-000000`);
  ended.abort();
  for await (const piece of reading) pieces.push(piece.toString());
  assert.equal(pieces.join(''), 'a\nb\nc\nd\ne\nf\n');
});

test('a follower starts over in a log that was truncated', async () => {
  fs.writeFileSync(log, line(1, 'long enough'));
  const ended = new AbortController();
  const following = follow({ ended: ended.signal });
  await following.until('long enough\n');
  fs.truncateSync(log, 0);
  fs.appendFileSync(log, line(2, 'new'));
  await following.until('long enough\nnew\n');
  ended.abort();
  await following.done;
});

test('the tail of a large log is read without reading the log', async () => {
  const fd = fs.openSync(log, 'w');
  // Sparse: reading 2 GiB forward would take seconds.
  fs.writeSync(fd, `\n${line(1, 'x'.repeat(70_000))}${line(2, 'y')}`, 2 ** 31);
  fs.closeSync(fd);
  const start = performance.now();
  assert.equal(await read({ tailLines: 1 }), 'y\n');
  assert.equal((await read({ tailLines: 2 })).length, 70_003);
  assert.ok(performance.now() - start < 1500);
});

test('any tail of any log is the end of the whole log', async () => {
  const entry = fc.record({
    stream: fc.constantFrom('stdout', 'stderr'),
    tag: fc.constantFrom('F', 'F', 'P'),
    content: fc.string({ maxLength: 12 }).map((text) => text.replaceAll('\n', ' ')),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(entry, { maxLength: 40 }),
      fc.nat(12),
      fc.array(fc.nat(40), { maxLength: 3 }),
      async (entries, lines, cuts) => {
        // Every stream ends with a newline: what "line" means for an unfinished one is shown above.
        const all = [...entries, { stream: 'stdout', tag: 'F', content: 'end' }, { stream: 'stderr', tag: 'F', content: 'end' }];
        fs.rmSync(dir, { recursive: true });
        fs.mkdirSync(dir);
        const text = all.map(({ stream, tag, content }) => line(1, content, stream, tag));
        const bounds = [0, ...cuts.sort((a, b) => a - b), all.length];
        for (let i = 0; i < bounds.length - 1; i++) {
          const part = text.slice(bounds[i], bounds[i + 1]).join('');
          fs.writeFileSync(i === bounds.length - 2 ? log : `${log}.20250101-00000${i}`, part);
        }
        const whole = (await read()).split('\n').slice(0, -1);
        const tail = (await read({ tailLines: lines })).split('\n').slice(0, -1);
        assert.deepEqual(tail, lines === 0 ? [] : whole.slice(-lines));
      },
    ),
    { numRuns: 150 },
  );
});
