// Owns sockets that are bound to an address before this machine has it (IP_FREEBIND of ip(7)): they hear once it has.
import { SyscallError } from './errno.ts';
import { mapAnonymous } from './memory.ts';
import { syscall, trySyscall } from './syscall.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SOL_IP = 0;
const IP_FREEBIND = 15;
const SOL_IPV6 = 41;
const IPV6_V6ONLY = 26;
const IPV6_FREEBIND = 78;

const scratch = mapAnonymous(4096);

/** struct sockaddr_in, sockaddr_in6. ip(7), ipv6(7) */
function placeAddress(address: Buffer, port: number): number {
  const { buffer } = scratch;
  const six = address.length === 16;
  buffer.fill(0, 0, 28);
  buffer.writeUInt16LE(six ? AF_INET6 : AF_INET, 0);
  buffer.writeUInt16BE(port, 2);
  address.copy(buffer, six ? 8 : 4);
  return six ? 28 : 16;
}

/** A bound descriptor that does not listen yet. `address`: its 4 or 16 bytes. Throws SyscallError: EADDRINUSE when it is taken. */
export function freeBind(transport: 'udp' | 'tcp', address: Buffer, port: number): number {
  const six = address.length === 16;
  const type = transport === 'tcp' ? SOCK_STREAM : SOCK_DGRAM;
  const fd = syscall('socket', six ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const enable = (level: number, option: number) => {
    scratch.buffer.writeInt32LE(1, 0);
    syscall('setsockopt', fd, level, option, scratch.address, 4);
  };
  try {
    // Connections of an earlier listener linger; a UDP socket would share its port with others.
    if (transport === 'tcp') enable(SOL_SOCKET, SO_REUSEADDR);
    if (six) enable(SOL_IPV6, IPV6_V6ONLY);
    enable(six ? SOL_IPV6 : SOL_IP, six ? IPV6_FREEBIND : IP_FREEBIND);
    const result = trySyscall('bind', fd, scratch.address, placeAddress(address, port));
    if (result < 0) throw new SyscallError('bind', [fd, `port ${port}`], -result);
    return fd;
  } catch (error) {
    trySyscall('close', fd);
    throw error;
  }
}
