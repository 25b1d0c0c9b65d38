// Owns the way from CPU quantities to what cgroups take. Pure.

export const CPU_PERIOD_US = 100_000n;
const MIN_QUOTA_US = 1_000n;
const MIN_SHARES = 2n;
const MAX_SHARES = 262_144n;

/** 1000m is 1024 shares. */
export function cpuShares(milliCpu: bigint): bigint {
  const shares = (milliCpu * 1024n) / 1000n;
  return shares < MIN_SHARES ? MIN_SHARES : shares > MAX_SHARES ? MAX_SHARES : shares;
}

/** Microseconds of CPU per period of 100 ms; the kernel takes nothing below 1 ms. */
export function cpuQuotaUs(milliCpu: bigint): bigint {
  const quota = (milliCpu * CPU_PERIOD_US) / 1000n;
  return quota < MIN_QUOTA_US ? MIN_QUOTA_US : quota;
}
