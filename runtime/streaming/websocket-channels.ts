// A remote command over WebSocket: the first byte of a message names the channel. v5 adds [255, channel], the half-close; the base64
// protocols have a digit and base64 text instead of bytes.
import { Readable, Writable } from 'node:stream';
import type { RawData, WebSocket } from 'ws';
import type { Channels, Wanted } from './channels.ts';
import type { StreamTimes } from './times.ts';

/** Best first. */
export const WEBSOCKET_COMMAND_PROTOCOLS = [
  'v5.channel.k8s.io',
  'v4.channel.k8s.io',
  'v4.base64.channel.k8s.io',
  'channel.k8s.io',
  'base64.channel.k8s.io',
] as const;

const CLOSE_CHANNEL = 255;
const CHANNEL = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4 } as const;
/** What may be unread of one channel before the socket waits. Little: in messages of one byte it costs a hundred times as much. */
const UNREAD_BYTES = 64 << 10;
/** Larger than any client's buffer. */
export const MAX_MESSAGE_BYTES = 4 << 20;

/** Writes and reads numbered channels of one WebSocket. */
export class ChannelSocket {
  readonly #socket: WebSocket;
  readonly #base64: boolean;
  readonly #halfCloses: boolean;
  readonly #inputs = new Map<number, Readable>();
  /** Half-closed by the client. */
  readonly #ended = new Set<Readable>();
  /** Inputs whose readers are behind: while there is one, the socket is not read from. */
  readonly #full = new Set<Readable>();
  readonly #idle: NodeJS.Timeout;
  readonly #probeMs: number;
  #probe: NodeJS.Timeout | undefined;
  readonly closed: Promise<void>;

  constructor(socket: WebSocket, protocol: string, times: StreamTimes) {
    this.#socket = socket;
    this.#base64 = protocol.includes('base64');
    this.#halfCloses = protocol === 'v5.channel.k8s.io';
    this.#probeMs = times.probeMs;
    this.#idle = setTimeout(() => socket.terminate(), times.idleMs).unref();
    socket.on('message', (data) => this.#receive(data));
    socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        clearTimeout(this.#idle);
        clearInterval(this.#probe);
        for (const input of this.#inputs.values()) input.destroy();
        resolve();
      });
    });
  }

  input(channel: number): Readable {
    const input = new Readable({ highWaterMark: UNREAD_BYTES, read: () => this.#release(input) });
    input.on('error', () => undefined).on('close', () => this.#release(input));
    this.#inputs.set(channel, input);
    return input;
  }

  output(channel: number): Writable {
    const output = new Writable({ write: (chunk: Buffer, _encoding, done) => this.send(channel, chunk, done) });
    output.on('error', () => undefined);
    void this.closed.then(() => output.destroy());
    return output;
  }

  send(channel: number, bytes: Buffer, done?: (error?: Error | null) => void): void {
    this.#idle.refresh();
    if (this.#base64) this.#socket.send(`${channel}${bytes.toString('base64')}`, { binary: false }, done);
    else this.#socket.send(Buffer.concat([Buffer.from([channel]), bytes]), { binary: true }, done);
  }

  /** Closes when the client has read all and answers. */
  async finish(): Promise<void> {
    for (const input of this.#inputs.values()) input.destroy();
    this.#socket.close(1000);
    await this.closed;
  }

  /** Pongs that nobody asked for (RFC 6455, section 5.5.3): the client sees that we live, and the kernel tells when it does not. */
  #hold(input: Readable): void {
    this.#full.add(input);
    this.#socket.pause();
    this.#probe ??= setInterval(() => this.#socket.pong(undefined, undefined, () => undefined), this.#probeMs);
  }

  #release(input: Readable): void {
    if (!this.#full.delete(input) || this.#full.size > 0) return;
    clearInterval(this.#probe);
    this.#probe = undefined;
    this.#socket.resume();
  }

  #receive(data: RawData): void {
    this.#idle.refresh();
    const message = Buffer.isBuffer(data) ? data : Buffer.concat(data as Buffer[]);
    const first = message[0];
    if (first === undefined) return;
    if (first === CLOSE_CHANNEL && this.#halfCloses) {
      const input = this.#inputs.get(message[1] ?? -1);
      if (input === undefined || this.#ended.has(input)) return;
      this.#ended.add(input);
      input.push(null);
      return;
    }
    const channel = this.#base64 ? first - 0x30 : first;
    const bytes = this.#base64 ? Buffer.from(message.toString('latin1', 1), 'base64') : message.subarray(1);
    const input = this.#inputs.get(channel);
    if (input === undefined || input.destroyed || this.#ended.has(input) || bytes.length === 0) return;
    if (!input.push(bytes)) this.#hold(input);
  }
}

export function openWebSocketChannels(socket: WebSocket, protocol: string, wanted: Wanted, times: StreamTimes): Channels {
  const channels = new ChannelSocket(socket, protocol, times);
  const gone = new AbortController();
  void channels.closed.then(() => gone.abort(new Error('the client is gone')));
  const output = (name: 'stdout' | 'stderr') => (wanted[name] ? channels.output(CHANNEL[name]) : undefined);
  // An empty message tells the client that the connection stands.
  channels.send(wanted.stdout ? CHANNEL.stdout : wanted.stderr ? CHANNEL.stderr : CHANNEL.error, Buffer.alloc(0));
  return {
    stdin: wanted.stdin ? channels.input(CHANNEL.stdin) : undefined,
    stdout: output('stdout'),
    stderr: output('stderr'),
    error: channels.output(CHANNEL.error),
    resize: wanted.tty ? channels.input(CHANNEL.resize) : undefined,
    structured: /^v[45]\./.test(protocol),
    signal: gone.signal,
    finish: () => channels.finish(),
  };
}
