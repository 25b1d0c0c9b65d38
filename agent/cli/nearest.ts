// What somebody meant who mistyped a word of the command line. Pure.

/** Letters to add, drop, change or swap with their neighbour until `a` is `b` (optimal string alignment). */
function distance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, column) => column)];
  const at = (row: number, column: number) => rows[row]?.[column] ?? Number.POSITIVE_INFINITY;
  for (let row = 1; row <= a.length; row++) {
    rows[row] = [row];
    for (let column = 1; column <= b.length; column++) {
      const changed = a[row - 1] === b[column - 1] ? 0 : 1;
      const swapped = a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1] ? at(row - 2, column - 2) + 1 : Number.POSITIVE_INFINITY;
      rows[row]![column] = Math.min(at(row - 1, column) + 1, at(row, column - 1) + 1, at(row - 1, column - 1) + changed, swapped);
    }
  }
  return at(a.length, b.length);
}

/** The word of `words` that is so near to `word` that it was likely meant: one mistake in a short word, two in a long one. */
export function nearest(word: string, words: readonly string[]): string | undefined {
  const bare = (text: string) => text.toLowerCase().replaceAll(/[-_]/g, '');
  const allowed = word.length < 5 ? 1 : 2;
  const [best] = words
    .map((candidate) => ({ candidate, mistakes: distance(bare(word), bare(candidate)) }))
    .filter(({ mistakes, candidate }) => mistakes <= allowed && mistakes < candidate.length)
    .sort((a, b) => a.mistakes - b.mistakes);
  return best?.candidate ?? (word.length < 3 ? undefined : words.find((candidate) => candidate.startsWith(word)));
}

/** ` (did you mean "get"?)`, or nothing where no word is near. */
export function suggest(word: string, words: readonly string[], prefix = ''): string {
  const meant = nearest(word, words);
  return meant === undefined ? '' : ` (did you mean ${prefix}${meant}?)`;
}
