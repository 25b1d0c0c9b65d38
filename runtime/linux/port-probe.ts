// Owns the quick look whether a port is free: bind(2) of a socket that is closed again. It takes some microseconds, where a list of all
// sockets (sock-diag.ts) takes as long as there are many.
import { mapAnonymous } from './memory.ts';
import { AF_INET, AF_INET6 } from './rtnetlink-route.ts';
import { trySyscall } from './syscall.ts';

const EAFNOSUPPORT = 97;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const SOCKADDR_IN_BYTES = 16;
const SOCKADDR_IN6_BYTES = 28;
const IN_ADDRESS_AT = 4;
const IN6_ADDRESS_AT = 8;
const OPTION_AT = 64;

const types = { tcp: SOCK_STREAM, udp: SOCK_DGRAM } as const;
const scratch = mapAnonymous(4096);

export interface ProbedPort {
  readonly protocol: keyof typeof types;
  /** 4 bytes or 16; absent: every address of both families. */
  readonly address?: Uint8Array;
  readonly port: number;
}

/** True when nothing has the port. False is no proof that a program listens: a connection's own end takes its port too. */
export function isPortFree({ protocol, address, port }: ProbedPort): boolean {
  const family = address?.length === 4 ? AF_INET : AF_INET6;
  const fd = trySyscall('socket', family, types[protocol] | SOCK_CLOEXEC, 0);
  // Without IPv6 every address is every IPv4 address.
  if (fd === -EAFNOSUPPORT) return address === undefined ? isPortFree({ protocol, address: new Uint8Array(4), port }) : family === AF_INET6;
  if (fd < 0) return false;
  try {
    const { buffer, address: at } = scratch;
    buffer.fill(0, 0, OPTION_AT + 4);
    buffer.writeUInt16LE(family, 0);
    buffer.writeUInt16BE(port, 2);
    if (address !== undefined) buffer.set(address, family === AF_INET ? IN_ADDRESS_AT : IN6_ADDRESS_AT);
    if (family === AF_INET6) {
      buffer.writeInt32LE(address === undefined ? 0 : 1, OPTION_AT);
      if (trySyscall('setsockopt', fd, IPPROTO_IPV6, IPV6_V6ONLY, at + OPTION_AT, 4) < 0) return false;
    }
    return trySyscall('bind', fd, at, family === AF_INET ? SOCKADDR_IN_BYTES : SOCKADDR_IN6_BYTES) === 0;
  } finally {
    trySyscall('close', fd);
  }
}
