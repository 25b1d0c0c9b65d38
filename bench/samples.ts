// Samples and what is said of them: median (min–max), and the ratio of medians. Pure.

export interface Sample {
  /** From the call to the answer. */
  readonly wallMs: number;
  /** CPU time of this process' main thread meanwhile: how long it could do nothing else. */
  readonly mainThreadMs: number;
  /** Time that the event loop was blocked by the start call alone, without what the bench does around it. */
  readonly blockedMs?: number;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
}

const digits = (value: number) => value.toFixed(value < 10 ? 2 : 1);

/** "3.52 (3.01–9.8)" */
export function renderRange(values: readonly number[]): string {
  return `${digits(median(values))} (${digits(Math.min(...values))}–${digits(Math.max(...values))})`;
}

export interface Series {
  readonly name: string;
  readonly samples: readonly Sample[];
}

function renderBlocked(values: readonly number[]): string {
  return values.length === 0 ? '-' : renderRange(values);
}

/** A table of contenders, the first of which the others are compared with. */
export function renderSeries(title: string, series: readonly Series[]): string {
  const first = median(series[0]?.samples.map(({ wallMs }) => wallMs) ?? []);
  const rows = series.map(({ name, samples }) => [
    name,
    renderRange(samples.map(({ wallMs }) => wallMs)),
    `${(median(samples.map(({ wallMs }) => wallMs)) / first).toFixed(1)}×`,
    renderRange(samples.map(({ mainThreadMs }) => mainThreadMs)),
    renderBlocked(samples.flatMap(({ blockedMs }) => (blockedMs === undefined ? [] : [blockedMs]))),
  ]);
  const all = [[title, 'ms, median (min–max)', 'ratio', 'main thread CPU ms', 'blocked by the start ms'], ...rows];
  const widths = [0, 1, 2, 3, 4].map((column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return `${all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')}\n`;
}
