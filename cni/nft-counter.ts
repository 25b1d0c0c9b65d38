// Owns nf_tables' counters: as an expression of a rule or an element, and reading them back. Pure.
import { attributeBe64, attributeText, listAttributes, parseAttributes } from '../runtime/linux/netlink.ts';
import type { Expression } from './nft-expression.ts';

export interface Count {
  readonly packets: bigint;
  readonly bytes: bigint;
}

export const NONE: Count = { packets: 0n, bytes: 0n };

const NAME = 'counter';
const NFTA_EXPR_NAME = 1;
const NFTA_EXPR_DATA = 2;
const NFTA_COUNTER_BYTES = 1;
const NFTA_COUNTER_PACKETS = 2;

/** One that begins with what was counted before. */
export function counter({ packets, bytes }: Count = NONE): Expression {
  return { name: NAME, attributes: [attributeBe64(NFTA_COUNTER_BYTES, bytes), attributeBe64(NFTA_COUNTER_PACKETS, packets)] };
}

export const isCounter = ({ name }: Expression): boolean => name === NAME;

/** As nft(8) lists it. */
export const formatCount = ({ packets, bytes }: Count): string => `counter packets ${packets} bytes ${bytes}`;

/** undefined: the expression is another one. */
export function parseCounter(expression: Buffer): Count | undefined {
  const attributes = parseAttributes(expression);
  if (attributeText(attributes.get(NFTA_EXPR_NAME) ?? Buffer.of()) !== NAME) return undefined;
  const counted = parseAttributes(attributes.get(NFTA_EXPR_DATA) ?? Buffer.of());
  const value = (type: number) => counted.get(type)?.readBigUInt64BE(0) ?? 0n;
  return { packets: value(NFTA_COUNTER_PACKETS), bytes: value(NFTA_COUNTER_BYTES) };
}

/** The expressions of a rule without what its counters say: what was put in. */
export function withoutCounts(expressions: Buffer): Buffer {
  return Buffer.concat(listAttributes(expressions).map(({ value }) => (parseCounter(value) === undefined ? value : Buffer.from(NAME))));
}

/** What the first counter among a rule's expressions says. */
export function countOf(expressions: Buffer): Count | undefined {
  for (const { value } of listAttributes(expressions)) {
    const count = parseCounter(value);
    if (count !== undefined) return count;
  }
  return undefined;
}
