// Owns signal names and numbers. signal(7): equal on x86_64 and aarch64.
import os from 'node:os';

const SIGRTMIN = 34;
const SIGRTMAX = 64;

/** The number of "SIGTERM", "TERM", "15" or "SIGRTMIN+3" (glibc's SIGRTMIN, 34); undefined when there is none. */
export function signalNumber(name: string): number | undefined {
  const upper = name.toUpperCase();
  if (/^\d+$/.test(upper)) return Number(upper) >= 1 && Number(upper) <= SIGRTMAX ? Number(upper) : undefined;
  const full = upper.startsWith('SIG') ? upper : `SIG${upper}`;
  // CRI spells SIGRTMIN+3 as SIGRTMINPLUS3.
  const realtime = /^SIGRT(MIN|MAX)(?:(\+|-|PLUS|MINUS)(\d+))?$/.exec(full);
  if (realtime === null) return (os.constants.signals as Record<string, number | undefined>)[full];
  const offset = Number(realtime[3] ?? 0) * (realtime[2] === '-' || realtime[2] === 'MINUS' ? -1 : 1);
  const number = (realtime[1] === 'MIN' ? SIGRTMIN : SIGRTMAX) + offset;
  return number >= SIGRTMIN && number <= SIGRTMAX ? number : undefined;
}
