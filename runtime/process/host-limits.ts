// Owns what this machine and this daemon can give a process at all.
import fs from 'node:fs';
import type { HostLimits } from '../program/process-steps.ts';

let limits: Required<HostLimits> | undefined;

/** Read once: neither changes while we run. */
export function hostLimits(): Required<HostLimits> {
  if (limits === undefined) {
    const permitted = /^CapPrm:\s*([0-9a-f]+)$/m.exec(fs.readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0';
    limits = {
      lastCapability: Number(fs.readFileSync('/proc/sys/kernel/cap_last_cap', 'latin1')),
      availableCapabilities: BigInt(`0x${permitted}`),
    };
  }
  return limits;
}
