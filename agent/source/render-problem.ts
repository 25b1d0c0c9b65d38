// A problem as the one sentence that log, terminal and `get pods` show.
import type { Problem } from './source.ts';

/** "web.yaml, document 2, line 7: spec.containers[0].image: expected a string, got a number (5); quote it" */
export function renderProblem({ origin, line, fieldPath, message }: Problem): string {
  const place = [
    origin.file,
    ...(origin.document > 0 ? [`document ${origin.document}`] : []),
    ...(line === undefined ? [] : [`line ${line}`]),
  ].join(', ');
  return fieldPath ? `${place}: ${fieldPath}: ${message}` : `${place}: ${message}`;
}
