// A program of its own: writes numbered lines to a FIFO in pieces of any size until it has written enough and is told to end by SIGTERM.
// argv: FIFO, tag, least number of lines, largest piece. Prints how many lines it wrote. The last one has no newline.
import fs from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { numberedLine } from './lines.ts';

const [fifo = '', tag = '', least = '0', piece = '8192'] = process.argv.slice(2);
let ended = false;
process.on('SIGTERM', () => {
  ended = true;
});
const fd = fs.openSync(fifo, 'w');
let n = 0;
let pending = Buffer.alloc(0);
while (n < Number(least) || !ended) {
  const lines: string[] = [];
  for (let i = 0; i < 500; i++) lines.push(`${numberedLine(tag, n++)}\n`);
  pending = Buffer.concat([pending, Buffer.from(lines.join(''), 'latin1')]);
  while (pending.length > Number(piece)) {
    const size = 1 + Math.floor(Math.random() * Number(piece));
    pending = pending.subarray(fs.writeSync(fd, pending, 0, size));
  }
  await nextTurn();
}
pending = Buffer.concat([pending, Buffer.from(`${tag} end`)]);
while (pending.length > 0) pending = pending.subarray(fs.writeSync(fd, pending));
console.log(n);
