// Owns IP sockets as Node does not make them: bound to an address before this machine has it, and bound for a moment to see whether that
// can be.
import { SyscallError } from './errno.ts';
import { mapAnonymous } from './memory.ts';
import { AF_INET, AF_INET6 } from './rtnetlink-route.ts';
import { syscall, trySyscall } from './syscall.ts';

const EAFNOSUPPORT = 97;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SOL_IP = 0;
const IP_FREEBIND = 15;
const SOL_IPV6 = 41;
const IPV6_V6ONLY = 26;
const IPV6_FREEBIND = 78;

/** SOCK_STREAM, SOCK_DGRAM */
const types = { tcp: 1, udp: 2 } as const;
export type Transport = keyof typeof types;

const scratch = mapAnonymous(4096);

/** A descriptor, or -errno. */
function trySocket(transport: Transport, isIpv6: boolean): number {
  return trySyscall('socket', isIpv6 ? AF_INET6 : AF_INET, types[transport] | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

function setOption(fd: number, level: number, option: number, value: number): void {
  scratch.buffer.writeInt32LE(value, 0);
  syscall('setsockopt', fd, level, option, scratch.address, 4);
}

/** 0, or -errno. `address`: its 4 or 16 bytes. struct sockaddr_in, sockaddr_in6: ip(7), ipv6(7) */
function tryBind(fd: number, address: Uint8Array, port: number): number {
  const { buffer } = scratch;
  const isIpv6 = address.length === 16;
  const lengthBytes = isIpv6 ? 28 : 16;
  buffer.fill(0, 0, lengthBytes);
  buffer.writeUInt16LE(isIpv6 ? AF_INET6 : AF_INET, 0);
  buffer.writeUInt16BE(port, 2);
  buffer.set(address, isIpv6 ? 8 : 4);
  return trySyscall('bind', fd, scratch.address, lengthBytes);
}

/**
 * A bound descriptor that does not listen yet, and hears once this machine has the address (IP_FREEBIND). Throws SyscallError: EADDRINUSE
 * when it is taken.
 */
export function freeBind(transport: Transport, address: Uint8Array, port: number): number {
  const isIpv6 = address.length === 16;
  const fd = trySocket(transport, isIpv6);
  if (fd < 0) throw new SyscallError('socket', [transport, isIpv6 ? 'IPv6' : 'IPv4'], -fd);
  try {
    // Connections of an earlier listener linger; a UDP socket would share its port with others.
    if (transport === 'tcp') setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (isIpv6) setOption(fd, SOL_IPV6, IPV6_V6ONLY, 1);
    setOption(fd, isIpv6 ? SOL_IPV6 : SOL_IP, isIpv6 ? IPV6_FREEBIND : IP_FREEBIND, 1);
    const result = tryBind(fd, address, port);
    if (result < 0) throw new SyscallError('bind', [fd, `port ${port}`], -result);
    return fd;
  } catch (error) {
    trySyscall('close', fd);
    throw error;
  }
}

export interface ProbedPort {
  readonly protocol: Transport;
  /** 4 bytes or 16; absent: every address of both families. */
  readonly address?: Uint8Array;
  readonly port: number;
}

/**
 * True when nothing has the port. False is no proof that a program listens: a connection's own end takes its port too. It takes some
 * microseconds, where a list of all sockets (sock-diag.ts) takes as long as there are many.
 */
export function isPortFree({ protocol, address, port }: ProbedPort): boolean {
  const isIpv6 = address?.length !== 4;
  const fd = trySocket(protocol, isIpv6);
  // Without IPv6 every address is every IPv4 address.
  if (fd === -EAFNOSUPPORT) return address === undefined ? isPortFree({ protocol, address: new Uint8Array(4), port }) : isIpv6;
  if (fd < 0) return false;
  try {
    if (isIpv6) setOption(fd, SOL_IPV6, IPV6_V6ONLY, address === undefined ? 0 : 1);
    return tryBind(fd, address ?? new Uint8Array(16), port) === 0;
  } finally {
    trySyscall('close', fd);
  }
}
