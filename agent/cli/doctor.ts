// Owns `doctor`: what this machine offers, each requirement on a line; exit code 1 when something that tskubelet cannot do without is missing.
import { evaluate } from '../doctor/evaluate.ts';
import { gatherFacts } from '../doctor/facts.ts';
import { renderDoctor } from '../doctor/render.ts';
import type { Invocation } from './flags.ts';
import { readSettings } from './settings.ts';

export async function doctor({ flags }: Invocation): Promise<number> {
  const rows = evaluate(await gatherFacts(readSettings(flags)));
  if (flags.output === 'json') process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  else process.stdout.write(renderDoctor(rows));
  return rows.some(({ state }) => state === 'missing') ? 1 : 0;
}
