// Owns TCP connections that are made in another network namespace: the socket is born there and stays there, whoever uses it.
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { SyscallError } from './errno.ts';
import { socketInNetns } from './in-process.ts';
import { mapAnonymous } from './memory.ts';
import { trySyscall } from './syscall.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const EINPROGRESS = 115;
const EALREADY = 114;
const EISCONN = 106;
const POLL_MS = 10;

const scratch = mapAnonymous(4096);

/** struct sockaddr_in, sockaddr_in6: the loopback address. ip(7), ipv6(7) */
function placeLoopback(family: 4 | 6, port: number): number {
  const { buffer } = scratch;
  buffer.fill(0, 0, 28);
  buffer.writeUInt16LE(family === 4 ? AF_INET : AF_INET6, 0);
  buffer.writeUInt16BE(port, 2);
  if (family === 4) {
    buffer.writeUInt32BE(0x7f000001, 4);
    return 16;
  }
  buffer[23] = 1;
  return 28;
}

/**
 * Connects to a port on localhost of a network namespace (a descriptor of /proc/<pid>/ns/net). Throws SyscallError: ECONNREFUSED when
 * nobody listens, ETIMEDOUT after `timeoutMs`, EAFNOSUPPORT where the host has no IPv6.
 */
export async function connectLoopback(
  netns: number,
  { family, port, timeoutMs, signal }: { family: 4 | 6; port: number; timeoutMs: number; signal: AbortSignal },
): Promise<net.Socket> {
  const fd = socketInNetns(netns, family === 4 ? AF_INET : AF_INET6, SOCK_STREAM, 0);
  try {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const length = placeLoopback(family, port);
      // On loopback the answer is there when the call returns, unless the listener's queue is full.
      const result = trySyscall('connect', fd, scratch.address, length);
      if (result === 0 || result === -EISCONN) break;
      if (result !== -EINPROGRESS && result !== -EALREADY) throw new SyscallError('connect', [fd, `localhost:${port}`, length], -result);
      signal.throwIfAborted();
      if (performance.now() > deadline) throw new SyscallError('connect', [fd, `localhost:${port}`, length], 110);
      await delay(POLL_MS);
    }
  } catch (error) {
    trySyscall('close', fd);
    throw error;
  }
  return new net.Socket({ fd, allowHalfOpen: true });
}
