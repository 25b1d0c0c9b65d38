// Owns the choice of an address: round robin through a range. Pure; who holds which address is kept by host-local.ts.
import { bitsOf, type Cidr, formatCidr, formatIp, gatewayOf, type IpAddress, lastOf } from './ip.ts';

/** The lowest and highest address that pods get: not the network's own, the gateway's, nor (IPv4) the broadcast address. */
function poolOf(cidr: Cidr): { readonly lowest: bigint; readonly highest: bigint } {
  return { lowest: gatewayOf(cidr).value + 1n, highest: cidr.family === 4 ? lastOf(cidr) - 1n : lastOf(cidr) };
}

/**
 * The first free address after `previous`, around the range: an address that was just released rests as long as possible, for
 * neighbours and clients that still remember its last holder.
 */
export function allocate(cidr: Cidr, isLeased: (address: IpAddress) => boolean, previous: bigint | undefined): IpAddress {
  const { lowest, highest } = poolOf(cidr);
  const size = highest - lowest + 1n;
  const start = previous === undefined || previous < lowest || previous >= highest ? 0n : previous - lowest + 1n;
  for (let step = 0n; step < size; step++) {
    const address: IpAddress = { family: cidr.family, value: lowest + ((start + step) % size) };
    if (!isLeased(address)) return address;
  }
  const range = `${formatIp({ family: cidr.family, value: lowest })} to ${formatIp({ family: cidr.family, value: highest })}`;
  throw new Error(`no free address in ${formatCidr(cidr)} (${range}, all ${size} in use)`);
}

/** Refuses CIDRs that pods cannot live in. */
export function checkPodCidrs(cidrs: readonly Cidr[]): void {
  for (const cidr of cidrs) {
    if (bitsOf(cidr.family) - cidr.prefixLength < 2) throw new Error(`pod CIDR ${formatCidr(cidr)} has no room for a gateway and a pod`);
    const other = cidrs.find((one) => one !== cidr && one.family === cidr.family);
    if (other !== undefined)
      throw new Error(`two IPv${cidr.family} pod CIDRs, ${formatCidr(other)} and ${formatCidr(cidr)}: one of each family is used`);
  }
}
