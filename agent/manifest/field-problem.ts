// What is wrong with one field of one document: found by decode.ts and validate.ts, given its file and line by manifest.ts.
import type { Problem } from '../source/source.ts';

export interface FieldProblem {
  /** "spec.containers[0].image"; '' for the document as a whole. */
  readonly fieldPath: string;
  readonly severity: Problem['severity'];
  /** Without the path. */
  readonly message: string;
}

/** How a validator tells what it found; undefined is nothing. */
export type Report = (fieldPath: string, message: string | undefined, severity?: FieldProblem['severity']) => void;

/** "spec" and "hostname" to "spec.hostname". */
export function fieldOf(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}

/** The field of `known` that was probably meant: a different case, or one or two letters off. */
export function didYouMean(name: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = name.length <= 4 ? 2 : 3;
  for (const candidate of known) {
    const distance = candidate.toLowerCase() === name.toLowerCase() ? 0 : editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Letters inserted, removed, replaced or swapped with the next (optimal string alignment). */
function editDistance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 2) return 3;
  const rows = [Array.from({ length: b.length + 1 }, (_, column) => column)];
  const at = (row: number, column: number) => rows[row]?.[column] ?? 0;
  for (let row = 1; row <= a.length; row++) {
    rows.push([row]);
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1];
      let distance = Math.min(at(row - 1, column) + 1, at(row, column - 1) + 1, at(row - 1, column - 1) + (same ? 0 : 1));
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]) {
        distance = Math.min(distance, at(row - 2, column - 2) + 1);
      }
      rows[row]?.push(distance);
    }
  }
  return at(a.length, b.length);
}
