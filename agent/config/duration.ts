// Go's time.Duration as configuration files write it: "20s", "1m0s", "1.5h", "300ms".

const unitMs: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Milliseconds, rounded; undefined when the text is no duration. */
export function parseDurationMs(text: string): number | undefined {
  if (text === '0') return 0;
  const match = /^([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|ms|s|m|h))+)$/.exec(text);
  if (!match) return undefined;
  let ms = 0;
  for (const [, number, unit = ''] of (match[2] ?? '').matchAll(/([\d.]+)(ns|us|µs|ms|s|m|h)/g)) ms += Number(number) * (unitMs[unit] ?? 0);
  return Math.round(match[1] === '-' ? -ms : ms);
}

/** As Go prints a duration of whole milliseconds: "345ms", "1.234s", "2m3.5s", "1h0m0s". */
export function renderDurationMs(ms: number): string {
  if (ms < 1000) return ms <= 0 ? '0s' : `${Math.floor(ms)}ms`;
  const whole = Math.floor(ms);
  const minutes = Math.floor(whole / 60_000);
  const seconds = `${(whole % 60_000) / 1000}s`;
  if (minutes === 0) return seconds;
  return minutes < 60 ? `${minutes}m${seconds}` : `${Math.floor(minutes / 60)}h${minutes % 60}m${seconds}`;
}
