// A remote command over SPDY/3.1: its client opens one stream per channel, named by the header streamType.
import type { Duplex } from 'node:stream';
import type { Channels, Wanted } from './channels.ts';
import { SpdyConnection, type SpdyStream } from './spdy-connection.ts';
import type { StreamTimes } from './times.ts';

/** Best first. v1 has no half-close of stdin, v3 adds resize, v4 a Status on the error stream. */
export const SPDY_COMMAND_PROTOCOLS = ['v4.channel.k8s.io', 'v3.channel.k8s.io', 'v2.channel.k8s.io', 'channel.k8s.io'] as const;
export type SpdyCommandProtocol = (typeof SPDY_COMMAND_PROTOCOLS)[number];

/** Throws when the client does not open its streams. */
export async function openSpdyChannels(
  transport: Duplex,
  protocol: SpdyCommandProtocol,
  wanted: Wanted,
  times: StreamTimes,
): Promise<Channels> {
  const resizes = wanted.tty && (protocol === 'v4.channel.k8s.io' || protocol === 'v3.channel.k8s.io');
  const missing = new Set([
    'error',
    ...(['stdin', 'stdout', 'stderr'] as const).filter((name) => wanted[name]),
    ...(resizes ? ['resize'] : []),
  ]);
  const streams = new Map<string, SpdyStream>();
  const gone = new AbortController();
  let complete: (() => void) | undefined;
  const opened = new Promise<void>((resolve) => {
    complete = resolve;
  });
  const connection = new SpdyConnection(transport, {
    times,
    onStream: (stream) => {
      const type = stream.headers.get('streamtype') ?? '';
      if (!missing.delete(type)) throw new Error(`unexpected stream "${type}"`);
      streams.set(type, stream);
      if (missing.size === 0) complete?.();
    },
  });
  void connection.closed.then(() => gone.abort(new Error('the client is gone')));
  const late = setTimeout(() => connection.destroy(), times.creationMs);
  await Promise.race([opened, connection.closed]);
  clearTimeout(late);
  const error = streams.get('error');
  if (missing.size > 0 || error === undefined) {
    connection.destroy();
    throw new Error(`the client did not open its streams: ${[...missing].join(', ')} missing`);
  }
  // Nothing comes on these; reading lets them end.
  for (const name of ['error', 'stdout', 'stderr']) streams.get(name)?.resume();
  return {
    stdin: streams.get('stdin'),
    stdout: streams.get('stdout'),
    stderr: streams.get('stderr'),
    error,
    resize: streams.get('resize'),
    structured: protocol === 'v4.channel.k8s.io',
    signal: gone.signal,
    finish: () => connection.finish(),
  };
}
