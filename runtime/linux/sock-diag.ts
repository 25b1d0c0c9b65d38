// Owns sock_diag(7): the sockets of this network namespace that are bound, asked of the kernel by protocol and state. /proc/net/tcp would
// walk the table of all connections for it.
//
//   struct inet_diag_req_v2  { u8 family, protocol, ext, pad; u32 states; inet_diag_sockid id; }
//   struct inet_diag_sockid  { be16 sport, dport; be32 src[4], dst[4]; u32 if; u32 cookie[2]; }
//   struct inet_diag_msg     { u8 family, state, timer, retrans; inet_diag_sockid id; u32 expires, rqueue, wqueue, uid, inode; }
import type { Message } from './netlink.ts';
import { NetlinkSocket } from './netlink-socket.ts';

const NETLINK_SOCK_DIAG = 4;
const SOCK_DIAG_BY_FAMILY = 20;
const REQUEST_BYTES = 56;
const MESSAGE_BYTES = 72;
const SOURCE_PORT_AT = 4;
const SOURCE_AT = 8;
const INODE_AT = 68;

const protocols = { tcp: 6, udp: 17 } as const;
/** TCP_LISTEN; UDP has no states: a socket without a peer shows as closed. */
const states = { tcp: 1 << 10, udp: 1 << 7 } as const;

export interface BoundSocket {
  /** 4 bytes or 16; zeroes for every address. */
  readonly address: Buffer;
  readonly port: number;
  readonly inode: number;
}

const addressBytes = (family: number): number => (family === 2 ? 4 : 16);

function parseSocket({ body }: Message): BoundSocket[] {
  if (body.length < MESSAGE_BYTES) return [];
  return [
    {
      address: body.subarray(SOURCE_AT, SOURCE_AT + addressBytes(body.readUInt8(0))),
      port: body.readUInt16BE(SOURCE_PORT_AT),
      inode: body.readUInt32LE(INODE_AT),
    },
  ];
}

/** What waits for clients. `family` is AF_INET or AF_INET6. */
export async function listBoundSockets(protocol: keyof typeof protocols, family: number): Promise<BoundSocket[]> {
  const body = Buffer.alloc(REQUEST_BYTES);
  body[0] = family;
  body[1] = protocols[protocol];
  body.writeUInt32LE(states[protocol], 4);
  const socket = new NetlinkSocket(NETLINK_SOCK_DIAG);
  try {
    const messages = await socket.dump({ type: SOCK_DIAG_BY_FAMILY, flags: 0, what: `list ${protocol} sockets`, body });
    return messages.flatMap(parseSocket);
  } finally {
    socket.close();
  }
}
