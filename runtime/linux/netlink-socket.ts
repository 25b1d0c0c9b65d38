// Owns netlink sockets: requests with their acknowledgements, dumps, multicast groups. The kernel acts inside sendto(2), at times behind a
// lock that others hold for tens of milliseconds, so sendto runs on a pool thread; the replies are queued when it returns.
import { SyscallError } from './errno.ts';
import { socketInNetns } from './in-process.ts';
import { type Memory, mapAnonymous } from './memory.ts';
import {
  encodeMessage,
  type Message,
  NetlinkError,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
  parseDone,
  parseError,
  parseMessages,
  type Request,
} from './netlink.ts';
import { syscall, trySyscall, waitSyscall } from './syscall.ts';

export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const MSG_DONTWAIT = 0x40;
const EAGAIN = 11;
const EIO = 5;
const ENOBUFS = 105;
const SOCKADDR_BYTES = 12;
const BUFFER_BYTES = 256 * 1024;
/** A table with thousands of elements must fit the send queue as one datagram. */
const QUEUE_BYTES = 4 * 1024 * 1024;
const DUMP_ATTEMPTS = 5;

// Mappings live for ever, so they are handed from one exchange to the next.
const idle: Memory[] = [];
const scratch = mapAnonymous(4096);

async function withBuffer<T>(lengthBytes: number, use: (memory: Memory) => Promise<T>): Promise<T> {
  if (lengthBytes > QUEUE_BYTES) throw new Error(`a netlink datagram of ${lengthBytes} bytes exceeds ${QUEUE_BYTES}`);
  const large = lengthBytes > BUFFER_BYTES;
  const memory = large ? largeBuffer() : (idle.pop() ?? mapAnonymous(BUFFER_BYTES));
  try {
    return await use(memory);
  } finally {
    if (large) idleLarge.push(memory);
    else idle.push(memory);
  }
}

const idleLarge: Memory[] = [];
const largeBuffer = (): Memory => idleLarge.pop() ?? mapAnonymous(QUEUE_BYTES);

export class NetlinkSocket {
  readonly fd: number;
  #sequence = 0;
  #turn: Promise<unknown> = Promise.resolve();
  #open = true;

  /** `netns`: a descriptor of the network namespace to act in; absent: this process's own. */
  constructor(protocol: number, netns?: number) {
    this.fd =
      netns === undefined
        ? syscall('socket', AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol)
        : socketInNetns(netns, AF_NETLINK, SOCK_RAW, protocol);
    try {
      this.#setOption(SOL_NETLINK, NETLINK_EXT_ACK, 1);
      this.#setOption(SOL_NETLINK, NETLINK_CAP_ACK, 1);
      if (protocol === NETLINK_ROUTE) this.#setOption(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
      if (protocol === NETLINK_NETFILTER) {
        this.#enlarge(SO_SNDBUFFORCE, SO_SNDBUF);
        this.#enlarge(SO_RCVBUFFORCE, SO_RCVBUF);
      }
    } catch (error) {
      trySyscall('close', this.fd);
      throw error;
    }
  }

  #setOption(level: number, option: number, value: number): void {
    scratch.buffer.writeInt32LE(value, 0);
    syscall('setsockopt', this.fd, level, option, scratch.address, 4);
  }

  #enlarge(forced: number, limited: number): void {
    scratch.buffer.writeInt32LE(QUEUE_BYTES, 0);
    // The forced form needs CAP_NET_ADMIN in the first user namespace.
    if (trySyscall('setsockopt', this.fd, SOL_SOCKET, forced, scratch.address, 4) < 0) this.#setOption(SOL_SOCKET, limited, QUEUE_BYTES);
  }

  /** What the kernel's notifications name as their cause when it was this socket; 0 as long as nothing was sent. */
  get portId(): number {
    scratch.buffer.fill(0, 0, SOCKADDR_BYTES);
    scratch.buffer.writeInt32LE(SOCKADDR_BYTES, 16);
    syscall('getsockname', this.fd, scratch.address, scratch.address + 16);
    return scratch.buffer.readUInt32LE(4);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    // After the exchange under way: the descriptor's number may be anyone's once it is closed.
    void this.#queue(() => Promise.resolve(trySyscall('close', this.fd)));
  }

  join(group: number): void {
    // The kernel passes over sockets without an address of their own.
    scratch.buffer.fill(0, 0, SOCKADDR_BYTES);
    scratch.buffer.writeUInt16LE(AF_NETLINK, 0);
    syscall('bind', this.fd, scratch.address, SOCKADDR_BYTES);
    this.#setOption(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
  }

  /**
   * Sends the requests as one datagram and throws the first refusal: the kernel carries on after a refused message. Refusals come for
   * each, so only the last has to be acknowledged. Gives what they answered besides.
   */
  async request(...requests: readonly Request[]): Promise<Message[]> {
    const last = requests.length - 1;
    const { messages, errors, acknowledgements } = await this.exchange(
      requests.map((request, i) => (i === last ? { ...request, flags: request.flags | NLM_F_ACK } : request)),
    );
    const [error] = errors;
    if (error !== undefined) throw error;
    if (acknowledgements === 0 && last >= 0)
      throw new NetlinkError(requests[last]?.what ?? 'netlink request', EIO, 'the kernel did not acknowledge it');
    return messages;
  }

  /** Sends the requests with the flags they have; collects answers and refusals, in the order of the kernel's replies. */
  exchange(requests: readonly Request[]): Promise<{ messages: Message[]; errors: NetlinkError[]; acknowledgements: number }> {
    return this.#queue(async () => {
      const first = this.#sequence + 1;
      this.#sequence += requests.length;
      const datagram = Buffer.concat(requests.map((request, i) => encodeMessage(request, first + i)));
      const messages: Message[] = [];
      const errors: NetlinkError[] = [];
      let acknowledgements = 0;
      const has = (flags: number) => (request: Request | undefined) => ((request?.flags ?? 0) & flags) === flags;
      for (const message of await this.#send(datagram, {
        dump: requests.some(has(NLM_F_DUMP)),
        ...(has(NLM_F_ACK)(requests.at(-1)) && { acknowledged: this.#sequence }),
      })) {
        // Replies to an exchange that was given up are not ours.
        if (message.sequence < first) continue;
        if (message.type !== NLMSG_ERROR) {
          messages.push(message);
          continue;
        }
        const error = parseError(message, requests[message.sequence - first]);
        if (error === undefined) acknowledgements++;
        else errors.push(error);
      }
      return { messages, errors, acknowledgements };
    });
  }

  /** A dump. Repeated when the kernel says that what it listed changed meanwhile. */
  async dump(request: Request): Promise<Message[]> {
    for (let attempt = 1; ; attempt++) {
      const { messages, errors } = await this.exchange([{ ...request, flags: request.flags | NLM_F_DUMP }]);
      const [error] = errors;
      if (error !== undefined) throw error;
      const done = messages.find((message) => message.type === NLMSG_DONE);
      const refusal = done === undefined ? undefined : parseDone(done, request);
      if (refusal !== undefined && refusal.code !== 'EINTR') throw refusal;
      const torn = refusal !== undefined || messages.some((message) => (message.flags & NLM_F_DUMP_INTR) !== 0);
      if (!torn || attempt === DUMP_ATTEMPTS) return messages.filter((message) => message.type !== NLMSG_DONE);
    }
  }

  /** The notifications that have arrived; `overrun` when the kernel had to drop some. Never waits. */
  notifications(): { messages: Message[]; overrun: boolean } {
    const messages: Message[] = [];
    let overrun = false;
    const memory = idle.pop() ?? mapAnonymous(BUFFER_BYTES);
    try {
      for (;;) {
        const received = trySyscall('recvfrom', this.fd, memory.address, BUFFER_BYTES, MSG_DONTWAIT, 0, 0);
        if (received === -EAGAIN) return { messages, overrun };
        if (received === -ENOBUFS) overrun = true;
        else if (received < 0) throw new SyscallError('recvfrom', [this.fd], -received);
        else messages.push(...parseMessages(Buffer.from(memory.buffer.subarray(0, received))));
      }
    } finally {
      idle.push(memory);
    }
  }

  /** `acknowledged`: after the answer to this sequence number none comes. */
  #send(datagram: Buffer, { dump, acknowledged }: { dump: boolean; acknowledged?: number }): Promise<Message[]> {
    return withBuffer(datagram.length, async (memory) => {
      datagram.copy(memory.buffer);
      const sent = await waitSyscall('sendto', this.fd, memory.address, datagram.length, 0, 0, 0);
      if (sent < 0) throw new SyscallError('sendto', [this.fd, datagram.length], -sent);
      const messages: Message[] = [];
      for (;;) {
        // The kernel goes on with a dump inside recvfrom, and takes its locks again.
        const receive = dump ? waitSyscall : trySyscall;
        const received = await receive('recvfrom', this.fd, memory.address, BUFFER_BYTES, MSG_DONTWAIT, 0, 0);
        if (received === -EAGAIN) return messages;
        if (received < 0) throw new SyscallError('recvfrom', [this.fd], -received);
        messages.push(...parseMessages(Buffer.from(memory.buffer.subarray(0, received))));
        // Saves the look that would find nothing. A dump goes alone.
        const last = messages.at(-1);
        if (last?.type === NLMSG_DONE ? dump : last?.type === NLMSG_ERROR && last.sequence === acknowledged) return messages;
      }
    });
  }

  /** One exchange at a time: replies carry a sequence number, but two readers would take each other's. */
  #queue<T>(act: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(act);
    this.#turn = result.catch(() => undefined);
    return result;
  }
}
