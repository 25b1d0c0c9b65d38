// Port-forwarding: over SPDY a pair of streams (data, error) per connection of the user's, as many as there are; over plain WebSocket
// one pair of channels per port of the request.
import type { Duplex } from 'node:stream';
import { finished } from 'node:stream/promises';
import { renderError } from '../errors.ts';
import type { StreamHandlers } from './session.ts';
import { SpdyConnection, type SpdyStream } from './spdy-connection.ts';
import type { StreamTimes } from './times.ts';
import type { ChannelSocket } from './websocket-channels.ts';

export const SPDY_PORT_FORWARD_PROTOCOL = 'portforward.k8s.io';
/** SPDY inside WebSocket messages: what kubectl and crictl call the websocket transport of port-forward. */
export const TUNNEL_PROTOCOL = `SPDY/3.1+${SPDY_PORT_FORWARD_PROTOCOL}`;
export const WEBSOCKET_PORT_FORWARD_PROTOCOLS = [TUNNEL_PROTOCOL, 'v4.channel.k8s.io', 'v4.base64.channel.k8s.io'] as const;

/** Two channels each, numbered by one byte. */
const MAX_CHANNEL_PORTS = 127;

type Dial = (port: number, signal: AbortSignal) => ReturnType<StreamHandlers['portForward']>;

interface Pair {
  data?: SpdyStream;
  error?: SpdyStream;
  readonly late: NodeJS.Timeout;
}

export async function serveSpdyPortForward(transport: Duplex, dial: Dial, times: StreamTimes): Promise<void> {
  const pairs = new Map<string, Pair>();
  const gone = new AbortController();
  const connection = new SpdyConnection(transport, {
    times,
    onStream: (stream) => {
      const { type, port, id } = parseHeaders(stream);
      const pair = pairs.get(id) ?? startPair(id);
      if (pair[type] !== undefined) throw new Error(`a second ${type} stream of request ${id}`);
      pair[type] = stream;
      if (pair.data === undefined || pair.error === undefined) return;
      clearTimeout(pair.late);
      pairs.delete(id);
      void forward(pair.data, pair.error, port, dial, gone.signal);
    },
  });
  function startPair(id: string): Pair {
    const late = setTimeout(() => {
      const pair = pairs.get(id);
      pairs.delete(id);
      pair?.error?.end(`request ${id}: no ${pair.data === undefined ? 'data' : 'error'} stream within ${times.creationMs} ms`);
      pair?.data?.destroy();
    }, times.creationMs);
    const pair: Pair = { late };
    pairs.set(id, pair);
    return pair;
  }
  await connection.closed;
  for (const { late } of pairs.values()) clearTimeout(late);
  gone.abort(new Error('the client is gone'));
}

function parseHeaders({ id, headers }: SpdyStream): { type: 'data' | 'error'; port: number; id: string } {
  const port = headers.get('port') ?? '';
  if (!/^[1-9]\d{0,4}$/.test(port) || Number(port) > 0xffff) throw new Error(`"${port}" is no port`);
  const type = headers.get('streamtype');
  if (type !== 'data' && type !== 'error') throw new Error(`"${type}" is no stream type`);
  // Clients that give no request id open the error stream and then the data stream, one pair at a time.
  return { type, port: Number(port), id: headers.get('requestid') ?? String(type === 'error' ? id : id - 2) };
}

async function forward(data: Duplex, error: SpdyStream, port: number, dial: Dial, signal: AbortSignal): Promise<void> {
  error.resume();
  try {
    await splice(data, port, dial, signal);
    error.end();
  } catch (cause) {
    error.end(renderError(cause));
    data.destroy();
  }
}

/** Both ways, each end passed on; resolves when both are done. */
async function splice(data: Duplex, port: number, dial: Dial, signal: AbortSignal): Promise<void> {
  const target = await dial(port, signal);
  const cut = () => target.destroy();
  target.on('error', () => data.destroy());
  signal.addEventListener('abort', cut, { once: true });
  try {
    if (signal.aborted || data.destroyed) return;
    // A whole end has been passed on, and may still be on its way; after a reset nothing that the target says has a reader.
    data.on('close', () => (data.readableEnded ? target.resume() : cut()));
    data.pipe(target);
    target.pipe(data);
    await Promise.all([finished(target).catch(() => undefined), finished(data).catch(() => undefined)]);
  } finally {
    signal.removeEventListener('abort', cut);
    target.destroy();
  }
}

export async function serveWebSocketPortForward(channels: ChannelSocket, ports: readonly number[], dial: Dial): Promise<void> {
  if (ports.length > MAX_CHANNEL_PORTS) throw new Error(`${ports.length} ports: a websocket has channels for ${MAX_CHANNEL_PORTS}`);
  const gone = new AbortController();
  void channels.closed.then(() => gone.abort(new Error('the client is gone')));
  await Promise.all(
    ports.map(async (port, index) => {
      const [dataChannel, errorChannel] = [index * 2, index * 2 + 1];
      const number = Buffer.alloc(2);
      number.writeUInt16LE(port);
      const input = channels.input(dataChannel);
      const output = channels.output(dataChannel);
      channels.send(dataChannel, number);
      channels.send(errorChannel, number);
      try {
        const target = await dial(port, gone.signal);
        target.on('error', () => undefined);
        gone.signal.addEventListener('abort', () => target.destroy(), { once: true });
        if (gone.signal.aborted) target.destroy();
        input.pipe(target);
        target.pipe(output);
        await finished(target, { readable: true, writable: false }).catch(() => undefined);
        target.destroy();
      } catch (cause) {
        channels.send(errorChannel, Buffer.from(renderError(cause)));
      }
    }),
  );
  await channels.finish();
}
