// Owns the reading of the annotation by which a sandbox gets a time namespace of its own. Pure. time_namespaces(7)
import { invalidArgument } from '../errors.ts';
import type { TimeOffset } from '../program/spec.ts';

export const TIME_OFFSET = 'tskubelet.dev/time-offset';

const CLOCKS = ['monotonic', 'boottime'] as const;
const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };
/** Half of KTIME_SEC_MAX, beyond which timens_offsets takes nothing. */
const MAX_SECONDS = 4_611_686_018;

/** "monotonic=+3600s,boottime=-2h"; undefined without the annotation. */
export function planTimeOffsets(annotations: Readonly<Record<string, string>>): readonly TimeOffset[] | undefined {
  const text = annotations[TIME_OFFSET];
  if (text === undefined) return undefined;
  const offsets = text.split(',').map((part) => parseOffset(part.trim(), text));
  const clocks = new Set(offsets.map(({ clock }) => clock));
  if (clocks.size !== offsets.length) throw invalidArgument(`annotation ${TIME_OFFSET}: "${text}" sets a clock twice`);
  return offsets;
}

function parseOffset(part: string, text: string): TimeOffset {
  const [, name, sign, amount, unit = 's'] = /^(\w+)=([+-]?)(\d+)([smhd]?)$/.exec(part) ?? [];
  const clock = CLOCKS.find((known) => known === name);
  if (clock === undefined || amount === undefined)
    throw invalidArgument(`annotation ${TIME_OFFSET}: "${text}" is not of the form monotonic=+3600s,boottime=+3600s (units s, m, h, d)`);
  const seconds = Number(amount) * (UNIT_SECONDS[unit || 's'] ?? 1);
  if (seconds > MAX_SECONDS) throw invalidArgument(`annotation ${TIME_OFFSET}: "${part}" is more than ${MAX_SECONDS} s`);
  return { clock, seconds: sign === '-' ? -seconds : seconds };
}
