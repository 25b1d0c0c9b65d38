// Owns what this machine and this daemon can give a process at all.
import fs from 'node:fs';
import type { HostLimits } from '../program/process-steps.ts';

let limits: Required<HostLimits> | undefined;

/** Read once: neither changes while we run. */
export function hostLimits(): Required<HostLimits> {
  if (limits === undefined) {
    const status = fs.readFileSync('/proc/self/status', 'latin1');
    const mask = (field: string) => BigInt(`0x${new RegExp(`^${field}:\\s*([0-9a-f]+)$`, 'm').exec(status)?.[1] ?? '0'}`);
    const ignored = mask('SigIgn');
    limits = {
      lastCapability: Number(fs.readFileSync('/proc/sys/kernel/cap_last_cap', 'latin1')),
      availableCapabilities: mask('CapPrm'),
      // Those that Node ignores at its start: what it stops to handle later is not ignored either.
      ignoredSignals: Array.from({ length: 64 }, (_, i) => i + 1).filter((signal) => ((ignored >> BigInt(signal - 1)) & 1n) !== 0n),
    };
  }
  return limits;
}
