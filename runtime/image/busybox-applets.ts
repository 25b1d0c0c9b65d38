// Owns the names under which a busybox answers. They stand in the binary itself as one sorted list of NUL-terminated words, so nothing
// needs to be run and no applet is linked that this build does not have.
import fs from 'node:fs';

// The usual beginnings of the list: "[" and "[[" come with every build that has a shell.
const beginnings = ['\0[\0[[\0', '\0[\0'];
const APPLETS_AT_LEAST = 10;

/** Applet names of a busybox binary; none when it does not look like one. */
export function readAppletNames(bytes: Buffer): string[] {
  for (const beginning of beginnings) {
    for (let at = bytes.indexOf(beginning, 0, 'latin1'); at >= 0; at = bytes.indexOf(beginning, at + 1, 'latin1')) {
      const names = wordsFrom(bytes, at + 1);
      if (names.length >= APPLETS_AT_LEAST && names.includes('ls')) return names;
    }
  }
  return [];
}

/** Sorted words of applet shape, up to the first that is not. */
function wordsFrom(bytes: Buffer, start: number): string[] {
  const names: string[] = [];
  for (let at = start; ; ) {
    const end = bytes.indexOf(0, at);
    const word = bytes.toString('latin1', at, end);
    if (end <= at || !/^(\[\[?|[a-z0-9][a-z0-9_.-]{0,30})$/i.test(word) || word <= (names.at(-1) ?? '')) return names;
    names.push(word);
    at = end + 1;
  }
}

export async function readApplets(file: string): Promise<string[]> {
  return readAppletNames(await fs.promises.readFile(file));
}
