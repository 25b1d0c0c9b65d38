// Owns how a command opens a stream through the agent: a WebSocket over <run-dir>/agent.sock, its messages led by their channel's number.
import net from 'node:net';
import { Writable } from 'node:stream';
import { WebSocket } from 'ws';
import { CommandError } from '../error.ts';
import { noDaemon } from './agent-client.ts';
import type { Settings } from './settings.ts';

export const CHANNEL = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4 } as const;
const CLOSE_CHANNEL = 255;

/** Best first; containerd and CRI-O have no v5, and with it no end of stdin. */
const PROTOCOLS = ['v5.channel.k8s.io', 'v4.channel.k8s.io'];
const HANDSHAKE_MS = 30_000;

/** The agent has refused it: its sentence. */
export class RefusedStream extends CommandError {}

/** A stream that waits: `onMessages` makes it flow. */
export function openStream(settings: Settings, path: string, protocols: readonly string[] = PROTOCOLS): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://node${path}`, [...protocols], {
      // Without what @types/ws asks of it, and with the one thing that it is for.
      createConnection: (() => net.connect(settings.agentSocket)) as never,
      perMessageDeflate: false,
      handshakeTimeout: HANDSHAKE_MS,
    });
    socket.once('open', () => {
      // Messages may come with the answer itself, before whoever waits for this promise can listen.
      socket.pause();
      resolve(socket);
    });
    socket.on('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'ENOENT' || error.code === 'ECONNREFUSED' ? noDaemon(settings) : error),
    );
    socket.once('unexpected-response', (request, response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('close', () => {
        request.destroy();
        const text = Buffer.concat(chunks).toString('utf8').trim();
        reject(new RefusedStream(text || `the agent answered with HTTP status ${response.statusCode}`));
      });
    });
  });
}

export function sendTo(socket: WebSocket, channel: number, bytes: Buffer, done?: (error?: Error | null) => void): void {
  socket.send(Buffer.concat([Buffer.from([channel]), bytes]), done);
}

/** A channel as a stream; its end is told to a server that knows of half-closes. */
export function channelWriter(socket: WebSocket, channel: number): Writable {
  const writer = new Writable({
    write: (chunk: Buffer, _encoding, done) => sendTo(socket, channel, chunk, done),
    final: (done) => (socket.readyState === WebSocket.OPEN ? socket.send(Buffer.from([CLOSE_CHANNEL, channel]), done) : done()),
  });
  // A connection that is gone says so itself.
  writer.on('error', () => undefined);
  socket.once('close', () => writer.destroy());
  return writer;
}

/** Each message with content; a slow `target` holds up the sender. */
export function onMessages(socket: WebSocket, receive: (channel: number, bytes: Buffer) => Writable | undefined): void {
  const slow = new Set<Writable>();
  socket.on('message', (data) => {
    const message = Buffer.isBuffer(data) ? data : Buffer.concat(data as Buffer[]);
    const channel = message[0];
    if (channel === undefined || message.length === 1) return;
    const bytes = message.subarray(1);
    const target = receive(channel, bytes);
    if (target === undefined || target.destroyed || target.write(bytes) || slow.has(target)) return;
    slow.add(target);
    socket.pause();
    const go = () => {
      target.off('drain', go).off('close', go);
      slow.delete(target);
      if (slow.size === 0) socket.resume();
    };
    target.on('drain', go).on('close', go);
  });
  socket.resume();
}
