// Owns the rate at which CPU time is used now, from successive readings of the kernel's counters.

export interface CpuReading {
  readonly atNs: bigint;
  readonly usageNs: bigint;
}

/** A rate over less says more about the clock ticks than about the load. */
const WINDOW_NS = 1_000_000_000n;
/** An older reading is no "recent window" any more; a younger start counts as a reading of 0. */
const MAX_AGE_NS = 120_000_000_000n;
const MAX_READINGS = 16;

/** Nanoseconds of CPU time per second: 1e9 is one core. Undefined where the two readings do not give one. */
export function computeRate(from: CpuReading, to: CpuReading): bigint | undefined {
  const elapsed = to.atNs - from.atNs;
  if (elapsed <= 0n || to.usageNs < from.usageNs) return undefined;
  return ((to.usageNs - from.usageNs) * 1_000_000_000n) / elapsed;
}

/** The newest reading at least a window old, else the oldest. */
export function chooseBase(readings: readonly CpuReading[], now: CpuReading): CpuReading | undefined {
  const recent = readings.filter(({ atNs }) => now.atNs - atNs <= MAX_AGE_NS);
  return recent.findLast(({ atNs }) => now.atNs - atNs >= WINDOW_NS) ?? recent[0];
}

export class CpuRates {
  readonly #readings = new Map<string, CpuReading[]>();

  /** Notes a reading and gives the rate up to it; `bornNs` is when the counter began. */
  rate(key: string, now: CpuReading, bornNs: bigint): bigint | undefined {
    const known = this.#readings.get(key) ?? [{ atNs: bornNs, usageNs: 0n }];
    const base = chooseBase(known, now);
    const last = known.at(-1);
    // Many clients asking at once must not push the readings out that the window needs.
    const kept = last !== undefined && known.length > 1 && now.atNs - last.atNs < WINDOW_NS / 4n ? known : [...known, now];
    this.#readings.set(key, kept.slice(-MAX_READINGS));
    return base === undefined ? undefined : computeRate(base, now);
  }

  /** Forgets what no longer exists. */
  retain(exists: (key: string) => boolean): void {
    for (const key of this.#readings.keys()) if (!exists(key)) this.#readings.delete(key);
  }
}
