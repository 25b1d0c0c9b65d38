// Owns nf_tables' expressions: what a rule is made of, as bytes (linux/netfilter/nf_tables.h). Pure.
//
// Byte orders: every integer attribute is big endian. Register contents are as in the packet (addresses and ports big endian), but for
// what the kernel itself computes (ct state, fib type), which is in host order.
import { attribute, attributeBe32, attributeString, nested } from '../runtime/linux/netlink.ts';

const NFTA_LIST_ELEM = 1;
const NFTA_EXPR_NAME = 1;
const NFTA_EXPR_DATA = 2;
const NFTA_DATA_VALUE = 1;
const NFTA_DATA_VERDICT = 2;

export interface Expression {
  readonly name: string;
  readonly attributes: readonly Buffer[];
}

export function encodeExpression(type: number, { name, attributes }: Expression): Buffer {
  return nested(type, [attributeString(NFTA_EXPR_NAME, name), nested(NFTA_EXPR_DATA, attributes)]);
}

export function encodeExpressions(expressions: readonly Expression[]): Buffer[] {
  return expressions.map((expression) => encodeExpression(NFTA_LIST_ELEM, expression));
}

/** A register: 16 bytes from 1 (NFT_REG_1 to _4), or 4 bytes by word(): word(0) to word(3) are NFT_REG_1's. */
export type Register = number;
export const word = (index: number): Register => 8 + index;
const VERDICT: Register = 0;

const value = (type: number, bytes: Uint8Array): Buffer => nested(type, [attribute(NFTA_DATA_VALUE, bytes)]);

/** Host order. */
export function hostU32(number: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(number);
  return bytes;
}

const metaKeys = { iifname: 6, oifname: 7, nfproto: 15, l4proto: 16 } as const;

export function meta(key: keyof typeof metaKeys, into: Register = 1): Expression {
  return { name: 'meta', attributes: [attributeBe32(1, into), attributeBe32(2, metaKeys[key])] };
}

export function compare(operator: 'eq' | 'neq', bytes: Uint8Array, register: Register = 1): Expression {
  return { name: 'cmp', attributes: [attributeBe32(1, register), attributeBe32(2, operator === 'eq' ? 0 : 1), value(3, bytes)] };
}

const payloadBases = { network: 1, transport: 2 } as const;

export function payload(base: keyof typeof payloadBases, offset: number, length: number, into: Register = 1): Expression {
  return {
    name: 'payload',
    attributes: [attributeBe32(1, into), attributeBe32(2, payloadBases[base]), attributeBe32(3, offset), attributeBe32(4, length)],
  };
}

export function mask(bits: Uint8Array, register: Register = 1): Expression {
  return {
    name: 'bitwise',
    attributes: [
      attributeBe32(1, register),
      attributeBe32(2, register),
      attributeBe32(3, bits.length),
      value(4, bits),
      value(5, Buffer.alloc(bits.length)),
    ],
  };
}

/** In a set: go on when the key is there. In a map (`into`): also take its data. */
export function lookup(set: string, key: Register, into?: Register): Expression {
  return {
    name: 'lookup',
    attributes: [attributeString(1, set), attributeBe32(2, key), ...(into === undefined ? [] : [attributeBe32(3, into)])],
  };
}

export const CT_STATE_ESTABLISHED = 2;
export const CT_STATE_RELATED = 4;

export function ctState(into: Register = 1): Expression {
  return { name: 'ct', attributes: [attributeBe32(1, into), attributeBe32(2, 0)] };
}

/** A status bit of a connection: its destination was translated. */
export const IPS_DST_NAT = 32;

export function ctStatus(into: Register = 1): Expression {
  return { name: 'ct', attributes: [attributeBe32(1, into), attributeBe32(2, 2)] };
}

export const RTN_LOCAL = 2;

/** The type of the packet's destination address, as the routing table has it. */
export function fibDaddrType(into: Register = 1): Expression {
  return { name: 'fib', attributes: [attributeBe32(1, into), attributeBe32(2, 3), attributeBe32(3, 2)] };
}

export function dnat(family: 4 | 6, address: Register, port: Register): Expression {
  return {
    name: 'nat',
    attributes: [attributeBe32(1, 1), attributeBe32(2, family === 4 ? 2 : 10), attributeBe32(3, address), attributeBe32(5, port)],
  };
}

export const masquerade: Expression = { name: 'masq', attributes: [] };

const NF_DROP = 0;
const NFT_JUMP = -3;
const NFT_RETURN = -5;

const verdict = (attributes: readonly Buffer[]): Expression => ({
  name: 'immediate',
  attributes: [attributeBe32(1, VERDICT), nested(2, [nested(NFTA_DATA_VERDICT, attributes)])],
});

export const drop: Expression = verdict([attributeBe32(1, NF_DROP)]);

export const returnVerdict: Expression = verdict([attributeBe32(1, NFT_RETURN)]);

export function jump(chain: string): Expression {
  return verdict([attributeBe32(1, NFT_JUMP), attributeString(2, chain)]);
}
