// Numbered lines whose content follows from their number, so that a missing, doubled or changed byte is seen.

/** Every so many lines one is longer than the log format's chunks. */
const LONG_EVERY = 2000;

export function numberedLine(tag: string, n: number): string {
  const length = n % LONG_EVERY === LONG_EVERY - 1 ? 20_000 + (n % 30_000) : (n * 7919) % 120;
  return `${tag} ${n} ${String.fromCharCode(97 + (n % 26)).repeat(length)}`;
}

export interface Verdict {
  lines: number;
  lost: number;
  doubled: number;
  malformed: number;
  /** Content behind the last newline. */
  rest: string;
}

/** Reads the joined content of one stream against what `numberedLine` says. */
export function checkLines(tag: string, content: string): Verdict {
  const verdict: Verdict = { lines: 0, lost: 0, doubled: 0, malformed: 0, rest: '' };
  let expected = 0;
  let at = 0;
  for (;;) {
    const end = content.indexOf('\n', at);
    if (end < 0) break;
    const line = content.slice(at, end);
    at = end + 1;
    const n = Number(line.split(' ', 2)[1]);
    if (!Number.isInteger(n) || line !== numberedLine(tag, n)) verdict.malformed++;
    else if (n < expected) verdict.doubled++;
    else {
      verdict.lost += n - expected;
      verdict.lines++;
      expected = n + 1;
    }
  }
  verdict.rest = content.slice(at);
  return verdict;
}
