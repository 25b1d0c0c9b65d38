// Renders the doctor's rows for a terminal.
import type { Row } from './evaluate.ts';

/** A line per row, what follows from it below, and one closing sentence. */
export function renderDoctor(rows: readonly Row[]): string {
  const nameWidth = Math.max(...rows.map(({ name }) => name.length));
  const stateWidth = Math.max(...rows.map(({ state }) => state.length));
  const lines = rows.flatMap(({ name, state, finding, consequence }) => [
    `${name.padEnd(nameWidth)}  ${state.padEnd(stateWidth)}  ${finding}`,
    ...(consequence === '' ? [] : [`${' '.repeat(nameWidth + stateWidth + 4)}${consequence}`]),
  ]);
  return `${lines.join('\n')}\n\n${summary(rows)}\n`;
}

function summary(rows: readonly Row[]): string {
  const count = (state: Row['state']) => rows.filter((row) => row.state === state).length;
  const missing = count('missing');
  const degraded = count('degraded');
  if (missing > 0) return `This machine cannot run pods yet: ${missing} missing${degraded > 0 ? `, ${degraded} degraded` : ''}.`;
  if (degraded > 0) return `This machine can run pods; ${degraded} ${degraded === 1 ? 'requirement is' : 'requirements are'} degraded.`;
  return 'This machine can run pods.';
}
