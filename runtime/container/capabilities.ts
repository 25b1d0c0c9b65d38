// Owns the capability sets of a container: the default set, what the request adds and drops, everything when privileged.
import type { Capability } from '../../cri-proto/gen/api.ts';
import { invalidArgument } from '../errors.ts';
import { ALL_CAPABILITIES, DEFAULT_CAPABILITIES } from '../program/capabilities.ts';
import type { Capabilities } from '../program/spec.ts';

function named(name: string): string {
  const upper = name.toUpperCase();
  const full = upper === 'ALL' || upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
  if (full !== 'ALL' && !ALL_CAPABILITIES.includes(full)) throw invalidArgument(`unknown capability "${name}"`);
  return full;
}

/** Drop ALL empties the set before the additions, add ALL fills it before the drops (containerd's and Docker's order). */
export function planCapabilities(request: Capability | undefined, privileged: boolean): Capabilities {
  const add = (request?.addCapabilities ?? []).map(named);
  const drop = (request?.dropCapabilities ?? []).map(named);
  const ambient = (request?.addAmbientCapabilities ?? []).map(named);
  let kept = new Set<string>(privileged || add.includes('ALL') ? ALL_CAPABILITIES : DEFAULT_CAPABILITIES);
  if (!privileged) {
    if (drop.includes('ALL')) kept = new Set(add.includes('ALL') ? ALL_CAPABILITIES : []);
    for (const name of add) if (name !== 'ALL') kept.add(name);
    for (const name of drop) kept.delete(name);
  }
  for (const name of ambient) kept.add(name);
  const names = ALL_CAPABILITIES.filter((name) => kept.has(name));
  return { bounding: names, effective: names, permitted: names, inheritable: ambient, ambient };
}
