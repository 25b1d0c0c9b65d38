// Owns IP addresses and CIDRs as values: text, bytes, arithmetic. Pure.
import net from 'node:net';

export type Family = 4 | 6;

export interface IpAddress {
  readonly family: Family;
  readonly value: bigint;
}

/** A network: its lowest address and the prefix length. */
export interface Cidr {
  readonly family: Family;
  readonly first: bigint;
  readonly prefixLength: number;
}

export const bitsOf = (family: Family): number => (family === 4 ? 32 : 128);

export function parseIp(text: string): IpAddress {
  const family = net.isIP(text);
  if (family === 4) return { family, value: parseIpv4(text) };
  if (family === 6 && !text.includes('%')) return { family, value: parseIpv6(text) };
  throw new Error(`"${text}" is no IP address`);
}

function parseIpv4(text: string): bigint {
  return text.split('.').reduce((value, part) => (value << 8n) | BigInt(part), 0n);
}

function parseIpv6(text: string): bigint {
  const dotted = text.slice(text.lastIndexOf(':') + 1);
  const plain = dotted.includes('.') ? text.slice(0, -dotted.length) + hexGroups(parseIpv4(dotted)) : text;
  const [head = '', tail] = plain.split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeroes = new Array<string>(8 - before.length - after.length).fill('0');
  return [...before, ...zeroes, ...after].reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n);
}

const hexGroups = (value: bigint): string => `${(value >> 16n).toString(16)}:${(value & 0xffffn).toString(16)}`;

/** Dotted decimal, or RFC 5952: lower case, the longest run of two or more zero groups left out. */
export function formatIp({ family, value }: IpAddress): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 0xffn).join('.');
  const groups = Array.from({ length: 8 }, (_, i) => ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16));
  let longest = { start: 0, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (groups[start + length] === '0') length++;
    if (length > longest.length) longest = { start, length };
  }
  if (longest.length === 1) return groups.join(':');
  return `${groups.slice(0, longest.start).join(':')}::${groups.slice(longest.start + longest.length).join(':')}`;
}

export function ipBytes({ family, value }: IpAddress): Buffer {
  return Buffer.from(value.toString(16).padStart(bitsOf(family) / 4, '0'), 'hex');
}

export function ipFromBytes(bytes: Buffer): IpAddress {
  return { family: bytes.length === 4 ? 4 : 6, value: BigInt(`0x${bytes.toString('hex') || '0'}`) };
}

export function parseCidr(text: string): Cidr {
  const [address = '', length = '', ...rest] = text.split('/');
  const { family, value } = parseIp(address);
  const prefixLength = Number(length);
  if (!/^\d{1,3}$/.test(length) || rest.length > 0 || prefixLength > bitsOf(family)) throw new Error(`"${text}" is no CIDR`);
  const hostBits = BigInt(bitsOf(family) - prefixLength);
  return { family, first: (value >> hostBits) << hostBits, prefixLength };
}

export function formatCidr({ family, first, prefixLength }: Cidr): string {
  return `${formatIp({ family, value: first })}/${prefixLength}`;
}

export function lastOf({ family, first, prefixLength }: Cidr): bigint {
  return first + (1n << BigInt(bitsOf(family) - prefixLength)) - 1n;
}

export function contains(cidr: Cidr, { family, value }: IpAddress): boolean {
  return family === cidr.family && value >= cidr.first && value <= lastOf(cidr);
}

export function overlaps(a: Cidr, b: Cidr): boolean {
  return a.family === b.family && a.first <= lastOf(b) && b.first <= lastOf(a);
}

/** The address of the bridge in a pod network: the first after the network's own. */
export function gatewayOf({ family, first }: Cidr): IpAddress {
  return { family, value: first + 1n };
}
