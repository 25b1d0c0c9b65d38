// Owns which ranges pods get addresses from: the configured ones or the defaults.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import { type Cidr, parseCidr } from './ip.ts';
import { checkPodCidrs } from './ipam.ts';

const DEFAULT_IPV4 = '10.244.0.0/24';

/** machine-id(5): to be hashed, never shown. Containers and minimal images may have none. */
function machineId(): string {
  try {
    return fs.readFileSync('/etc/machine-id', 'utf8').trim() || os.hostname();
  } catch {
    return os.hostname();
  }
}

/**
 * A unique local range (RFC 4193) with 40 bits from a hash of machine and node: the same after a restart, and most likely another than
 * any that this network meets. Subnet 0 of it.
 */
export function uniqueLocalCidr(machine: string, suffix: string): string {
  const id = createHash('sha256').update(`tskubelet pod network ${machine} ${suffix}`).digest('hex');
  return `fd${id.slice(0, 2)}:${id.slice(2, 6)}:${id.slice(6, 10)}::/64`;
}

/** Parses and checks the configured ranges; none mean the defaults. */
export function resolvePodCidrs(configured: readonly string[], suffix: string): Cidr[] {
  const cidrs = (configured.length > 0 ? configured : [DEFAULT_IPV4, uniqueLocalCidr(machineId(), suffix)]).map(parseCidr);
  checkPodCidrs(cidrs);
  return cidrs;
}
