// Owns the ranges of host-local: what a configuration means by them, and which address is next. Pure.
import { type Cidr, contains, formatCidr, formatIp, gatewayOf, type IpAddress, lastOf } from '../ip.ts';
import { cidrField, type Fields, ipField, listField, objectOf } from '../spec/config.ts';
import { CniError, invalidConfig } from '../spec/error.ts';

export interface Range {
  readonly subnet: Cidr;
  readonly lowest: bigint;
  readonly highest: bigint;
  readonly gateway: IpAddress;
  readonly exclude: readonly Cidr[];
}

/** One address is given of each set. */
export type RangeSet = readonly Range[];

function parseRange(value: unknown): Range {
  const fields = objectOf(value, 'a range');
  const subnet = cidrField(fields.subnet, 'subnet');
  const { family } = subnet;
  if ((family === 4 ? 32 : 128) - subnet.prefixLength < 2) throw invalidConfig(`subnet ${formatCidr(subnet)} has no room for addresses`);
  const inside = (name: string, fallback: bigint): bigint => {
    if (fields[name] === undefined || fields[name] === '') return fallback;
    const address = ipField(fields[name], name);
    if (!contains(subnet, address)) throw invalidConfig(`${name} ${formatIp(address)} is not in subnet ${formatCidr(subnet)}`);
    return address.value;
  };
  const lowest = inside('rangeStart', subnet.first + 1n);
  const highest = inside('rangeEnd', family === 4 ? lastOf(subnet) - 1n : lastOf(subnet));
  if (lowest > highest) throw invalidConfig(`rangeStart is behind rangeEnd in subnet ${formatCidr(subnet)}`);
  const given = fields.gateway !== undefined && fields.gateway !== '';
  return {
    subnet,
    lowest,
    highest,
    gateway: given ? ipField(fields.gateway, 'gateway') : gatewayOf(subnet),
    exclude: listField(fields, 'exclude').map((one) =>
      cidrField(String(one).includes('/') ? one : `${String(one)}/${family === 4 ? 32 : 128}`, 'exclude'),
    ),
  };
}

function parseSets(value: readonly unknown[], name: string): RangeSet[] {
  return value.map((set) => {
    if (!Array.isArray(set) || set.length === 0) throw invalidConfig(`${name}: expected a list of lists of ranges`);
    const ranges = set.map(parseRange);
    const [first] = ranges;
    if (ranges.some(({ subnet }) => subnet.family !== first?.subnet.family)) throw invalidConfig(`${name}: a set mixes IPv4 and IPv6`);
    return ranges;
  });
}

/** Of a runtime first, then the configuration's own: `subnet` and its companions beside `ranges` are one more set, in front. */
export function parseRangeSets(ipam: Fields, runtimeRanges: readonly unknown[]): RangeSet[] {
  const own = ipam.subnet === undefined || ipam.subnet === '' ? [] : [[parseRange(ipam)]];
  const sets = [...parseSets(runtimeRanges, 'ipRanges'), ...own, ...parseSets(listField(ipam, 'ranges'), 'ranges')];
  if (sets.length === 0) throw invalidConfig('ipam has no ranges: give "ranges" or "subnet"');
  const all = sets.flat();
  for (const [i, one] of all.entries())
    for (const other of all.slice(i + 1))
      if (one.subnet.family === other.subnet.family && one.lowest <= other.highest && other.lowest <= one.highest)
        throw invalidConfig(`ranges of ${formatCidr(one.subnet)} and ${formatCidr(other.subnet)} overlap`);
  return sets;
}

function within(range: Range, { family, value }: IpAddress): boolean {
  return family === range.subnet.family && value >= range.lowest && value <= range.highest;
}

export interface Choice {
  readonly address: IpAddress;
  readonly range: Range;
}

/** The first address behind `previous` that is nobody's: through the ranges of the set, and around. */
export function chooseAddress(set: RangeSet, isLeased: (address: string) => boolean, previous: IpAddress | undefined): Choice {
  const start = previous === undefined ? -1 : set.findIndex((range) => within(range, previous));
  // The range of `previous` from there on, the others, and that range from its beginning.
  const turns = [
    ...(start < 0 || previous === undefined ? [] : [{ range: set[start] as Range, from: previous.value + 1n }]),
    ...[...set.slice(start + 1), ...set.slice(0, start + 1)].map((range) => ({ range, from: range.lowest })),
  ];
  for (const { range, from } of turns)
    for (let value = from; value <= range.highest; value++) {
      const address: IpAddress = { family: range.subnet.family, value };
      const excluded = range.exclude.find((cidr) => contains(cidr, address));
      if (excluded !== undefined) value = lastOf(excluded);
      else if (value !== range.gateway.value && !isLeased(formatIp(address))) return { address, range };
    }
  throw new CniError(11, `no free address in ${set.map(({ subnet }) => formatCidr(subnet)).join(', ')}`);
}

/** The requested addresses by the index of their set; each must be in one, and no two in the same. */
export function planRequested(sets: readonly RangeSet[], requested: readonly IpAddress[]): Map<number, Choice> {
  const plan = new Map<number, Choice>();
  for (const address of requested) {
    const index = sets.findIndex((set, i) => !plan.has(i) && set.some((range) => within(range, address)));
    const range = sets[index]?.find((one) => within(one, address));
    if (range === undefined)
      throw invalidConfig(`requested address ${formatIp(address)} is in no range of this network that is left to ask for`);
    if (address.value === range.gateway.value) throw invalidConfig(`requested address ${formatIp(address)} is the gateway's`);
    if (range.exclude.some((cidr) => contains(cidr, address))) throw invalidConfig(`requested address ${formatIp(address)} is excluded`);
    plan.set(index, { address, range });
  }
  return plan;
}
