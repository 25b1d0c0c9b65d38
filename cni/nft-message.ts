// Owns nf_tables' requests: tables, chains, sets, elements, rules, as nft(8) names them. Pure.
import {
  attribute,
  attributeBe32,
  attributeString,
  attributeText,
  NLM_F_APPEND,
  NLM_F_CREATE,
  nested,
  type Request,
} from '../runtime/linux/netlink.ts';
import {
  NFT_MSG_DELRULE,
  NFT_MSG_DELSETELEM,
  NFT_MSG_DELTABLE,
  NFT_MSG_NEWCHAIN,
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWSET,
  NFT_MSG_NEWSETELEM,
  NFT_MSG_NEWTABLE,
  nftRequest,
} from '../runtime/linux/nfnetlink.ts';
import { type Count, counter, isCounter } from './nft-counter.ts';
import { type Expression, encodeExpression, encodeExpressions } from './nft-expression.ts';

const NFTA_LIST_ELEM = 1;
const NFT_SET_MAP = 8;
/** A nested attribute's length is 16 bits. */
const ELEMENTS_PER_MESSAGE = 500;

/** nft(8)'s data types: their numbers are for its listings alone, the kernel looks at lengths. */
const types = {
  ipv4_addr: { number: 7, length: 4 },
  ipv6_addr: { number: 8, length: 16 },
  inet_proto: { number: 12, length: 1 },
  inet_service: { number: 13, length: 2 },
} as const;
export type DataType = keyof typeof types;

const padded = (length: number): number => (length + 3) & ~3;

/** A concatenation: each field starts in a register of its own. */
export function concatenate(...fields: readonly Uint8Array[]): Buffer {
  return Buffer.concat(fields.flatMap((field) => [field, Buffer.alloc(padded(field.length) - field.length)]));
}

// Six bits for each type of a concatenation.
const typeNumber = (fields: readonly DataType[]): number => fields.reduce((number, field) => (number << 6) | types[field].number, 0);
const typeLength = (fields: readonly DataType[]): number => fields.reduce((length, field) => length + padded(types[field].length), 0);

export interface SetDefinition {
  readonly name: string;
  /** Two fields or more: a single one would not be padded. */
  readonly key: readonly DataType[];
  /** Of a map. */
  readonly data?: readonly DataType[];
  /** Each element counts its lookups. Kernels before 5.7 do not. */
  readonly counted?: boolean;
}

export interface Element {
  readonly key: Buffer;
  readonly data?: Buffer;
  readonly comment?: string;
  /** What its counter says, or shall begin with. */
  readonly count?: Count;
}

/** User data of nft(8), of rules and elements alike: type 0 is the comment. */
function encodeComment(text: string): Buffer {
  const bytes = Buffer.from(`${text}\0`);
  return Buffer.concat([Buffer.of(0, bytes.length), bytes]);
}

/** The comment in a rule's or an element's user data; empty when there is none. */
export function commentOf(userData: Buffer): string {
  for (let at = 0; at + 2 <= userData.length; at += 2 + userData.readUInt8(at + 1)) {
    const value = userData.subarray(at + 2, at + 2 + userData.readUInt8(at + 1));
    if (userData[at] === 0) return attributeText(value);
  }
  return '';
}

const hooks = { prerouting: 0, input: 1, output: 3, postrouting: 4 } as const;

export interface BaseChain {
  readonly type: 'nat' | 'filter';
  readonly hook: keyof typeof hooks;
  readonly priority: number;
}

const NF_ACCEPT = 1;

export function addTable(table: string): Request {
  return nftRequest(NFT_MSG_NEWTABLE, NLM_F_CREATE, `add table inet ${table}`, [attributeString(1, table), attributeBe32(2, 0)]);
}

/** With all that is in it. */
export function deleteTable(table: string): Request {
  return nftRequest(NFT_MSG_DELTABLE, 0, `delete table inet ${table}`, [attributeString(1, table)]);
}

export function addChain(table: string, name: string, base?: BaseChain): Request {
  return nftRequest(NFT_MSG_NEWCHAIN, NLM_F_CREATE, `add chain ${name}`, [
    attributeString(1, table),
    attributeString(3, name),
    ...(base === undefined
      ? []
      : [
          nested(4, [attributeBe32(1, hooks[base.hook]), attributeBe32(2, base.priority)]),
          attributeBe32(5, NF_ACCEPT),
          attributeString(7, base.type),
        ]),
  ]);
}

/** `id` is unique within a batch. */
export function addSet(table: string, { name, key, data, counted }: SetDefinition, id: number): Request {
  return nftRequest(NFT_MSG_NEWSET, NLM_F_CREATE, `add ${data === undefined ? 'set' : 'map'} ${name}`, [
    attributeString(1, table),
    attributeString(2, name),
    attributeBe32(3, data === undefined ? 0 : NFT_SET_MAP),
    attributeBe32(4, typeNumber(key)),
    attributeBe32(5, typeLength(key)),
    ...(data === undefined ? [] : [attributeBe32(6, typeNumber(data)), attributeBe32(7, typeLength(data))]),
    attributeBe32(10, id),
    ...(counted === true ? [encodeExpression(17, counter())] : []),
  ]);
}

const encodeElement = ({ key, data, comment, count }: Element): Buffer =>
  nested(NFTA_LIST_ELEM, [
    nested(1, [attribute(1, key)]),
    ...(data === undefined ? [] : [nested(2, [attribute(1, data)])]),
    ...(comment === undefined ? [] : [attribute(6, encodeComment(comment))]),
    ...(count === undefined ? [] : [encodeExpression(7, counter(count))]),
  ]);

function elementRequests(
  message: number,
  flags: number,
  verb: string,
  table: string,
  set: string,
  elements: readonly Element[],
): Request[] {
  const requests: Request[] = [];
  for (let at = 0; at < elements.length; at += ELEMENTS_PER_MESSAGE) {
    const encoded = elements.slice(at, at + ELEMENTS_PER_MESSAGE).map(encodeElement);
    requests.push(
      nftRequest(message, flags, `${verb} element of ${set}`, [attributeString(1, table), attributeString(2, set), nested(3, encoded)]),
    );
  }
  return requests;
}

export function addElements(table: string, set: string, elements: readonly Element[]): Request[] {
  return elementRequests(NFT_MSG_NEWSETELEM, NLM_F_CREATE, 'add', table, set, elements);
}

export function deleteElements(table: string, set: string, elements: readonly Element[]): Request[] {
  return elementRequests(
    NFT_MSG_DELSETELEM,
    0,
    'delete',
    table,
    set,
    elements.map(({ key }) => ({ key })),
  );
}

export interface Rule {
  readonly chain: string;
  readonly comment: string;
  /** As nft(8) lists it, without the comment, and without what its counter says. */
  readonly text: string;
  readonly expressions: readonly Expression[];
}

/** `count`: what its counter begins with. */
export function addRule(table: string, { chain, comment, expressions }: Omit<Rule, 'text'>, count?: Count): Request {
  return nftRequest(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, `add rule "${comment}" to ${chain}`, [
    attributeString(1, table),
    attributeString(2, chain),
    nested(4, encodeExpressions(expressions.map((one) => (isCounter(one) ? counter(count) : one)))),
    attribute(7, encodeComment(comment)),
  ]);
}

export function deleteRule(table: string, chain: string, handle: bigint): Request {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(handle);
  return nftRequest(NFT_MSG_DELRULE, 0, `delete rule ${handle} of ${chain}`, [
    attributeString(1, table),
    attributeString(2, chain),
    attribute(3, bytes),
  ]);
}
