// Owns the clock of CRI: nanoseconds since the epoch.

const offsetNs = BigInt(Date.now()) * 1_000_000n - process.hrtime.bigint();

/** Wall-clock time in ns: the start's clock reading plus monotonic time, so that two events never run backwards. */
export function nowNs(): bigint {
  const ns = offsetNs + process.hrtime.bigint();
  // A clock that was set meanwhile wins: more than a second apart is no jitter.
  const wall = BigInt(Date.now()) * 1_000_000n;
  const apart = ns > wall ? ns - wall : wall - ns;
  return apart > 1_000_000_000n ? wall : ns;
}
