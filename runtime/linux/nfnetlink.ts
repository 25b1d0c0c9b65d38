// Owns nfnetlink's message numbers and headers for nf_tables, and its atomic batches. Pure but for runBatch.
import { type Message, NetlinkError, NLM_F_ACK, parseAttributes, type Request } from './netlink.ts';
import type { NetlinkSocket } from './netlink-socket.ts';

export const NFPROTO_UNSPEC = 0;
export const NFPROTO_INET = 1;
export const NFNLGRP_NFTABLES = 7;

export const NFT_MSG_NEWTABLE = 0;
export const NFT_MSG_GETTABLE = 1;
export const NFT_MSG_DELTABLE = 2;
export const NFT_MSG_NEWCHAIN = 3;
export const NFT_MSG_GETCHAIN = 4;
export const NFT_MSG_NEWRULE = 6;
export const NFT_MSG_GETRULE = 7;
export const NFT_MSG_DELRULE = 8;
export const NFT_MSG_NEWSET = 9;
export const NFT_MSG_GETSET = 10;
export const NFT_MSG_NEWSETELEM = 12;
export const NFT_MSG_GETSETELEM = 13;
export const NFT_MSG_DELSETELEM = 14;
export const NFT_MSG_NEWGEN = 15;

const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_MSG_BATCH_END = 0x11;
const NFGENMSG_BYTES = 4;

/** struct nfgenmsg { u8 family; u8 version; be16 res_id; } */
function header(family: number, resource = 0): Buffer {
  const bytes = Buffer.alloc(NFGENMSG_BYTES);
  bytes[0] = family;
  bytes.writeUInt16BE(resource, 2);
  return bytes;
}

/** A request to nf_tables about the inet family. */
export function nftRequest(message: number, flags: number, what: string, attributes: readonly Buffer[]): Request {
  return { type: (NFNL_SUBSYS_NFTABLES << 8) | message, flags, what, body: Buffer.concat([header(NFPROTO_INET), ...attributes]) };
}

export interface NftMessage {
  /** NFT_MSG_… */
  readonly message: number;
  readonly family: number;
  readonly portId: number;
  readonly attributes: ReadonlyMap<number, Buffer>;
}

/** undefined for a message that is not nf_tables'. */
export function parseNftMessage({ type, portId, body }: Message): NftMessage | undefined {
  if (type >> 8 !== NFNL_SUBSYS_NFTABLES || body.length < NFGENMSG_BYTES) return undefined;
  return { message: type & 0xff, family: body.readUInt8(0), portId, attributes: parseAttributes(body.subarray(NFGENMSG_BYTES)) };
}

/** The requests as one transaction: all of them or none. */
export function nftBatch(requests: readonly Request[]): Request[] {
  const edge = (type: number, what: string): Request => ({ type, flags: 0, what, body: header(NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES) });
  // An acknowledgement of the end itself needs a newer kernel: the last request is acknowledged instead, and only after the commit.
  const last = requests.length - 1;
  const acknowledged = requests.map((request, i) => (i === last ? { ...request, flags: request.flags | NLM_F_ACK } : request));
  return [edge(NFNL_MSG_BATCH_BEGIN, 'begin of an nftables batch'), ...acknowledged, edge(NFNL_MSG_BATCH_END, 'end of an nftables batch')];
}

/** Runs a transaction. Throws the first refusal; the tables are then as they were. */
export async function runBatch(socket: NetlinkSocket, requests: readonly Request[]): Promise<void> {
  const { errors, acknowledgements } = await socket.exchange(nftBatch(requests));
  const [error] = errors;
  if (error !== undefined) throw error;
  if (acknowledgements === 0) throw new NetlinkError('nftables batch', 5, 'no acknowledgement');
}
