// What a remote command has towards its client, whichever protocol carries it, and the session made of it.
import type { Readable, Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { StreamSession, TerminalSize } from './session.ts';
import { type Ending, renderStatus, renderText } from './status.ts';

/** Which streams the request asked for. */
export interface Wanted {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

export interface Channels {
  readonly stdin: Readable | undefined;
  readonly stdout: Writable | undefined;
  readonly stderr: Writable | undefined;
  readonly error: Writable;
  readonly resize: Readable | undefined;
  /** Whether the error stream carries a Status: v4 and later. */
  readonly structured: boolean;
  /** Aborted when the client is gone. */
  readonly signal: AbortSignal;
  /** All streams have ended; resolves when the connection is closed. */
  finish(): Promise<void>;
}

/**
 * Runs one exec or attach: `run` gives the exit code. Never rejects: how it went is told to the client. `stopping` ends it before its time,
 * and its reason is what the client is told: a connection that just ends would look like success to clients of SPDY.
 */
export async function serveChannels(
  channels: Channels,
  run: (session: StreamSession) => Promise<number>,
  stopping: AbortSignal,
): Promise<Ending> {
  const sizes = listenForSizes(channels.resize);
  const { stdin, stdout, stderr } = channels;
  const signal = AbortSignal.any([channels.signal, stopping]);
  const ending: Ending = await run({ stdin, stdout, stderr, signal, onResize: sizes.onResize }).then(
    (exitCode) => (stopping.aborted ? { error: stopping.reason } : { exitCode }),
    (error: unknown) => ({ error: stopping.aborted ? stopping.reason : error }),
  );
  await Promise.all([end(stdout), end(stderr)]);
  await end(channels.error, channels.structured ? renderStatus(ending) : renderText(ending));
  stdin?.destroy();
  await channels.finish();
  return ending;
}

/** Waits until the client's side has taken all, or is gone: it may be a pager. */
async function end(stream: Writable | undefined, last?: string): Promise<void> {
  if (stream === undefined || stream.destroyed) return;
  stream.end(last === '' ? undefined : last);
  await finished(stream, { readable: false }).catch(() => undefined);
}

/** Sizes come as JSON objects one after the other, cut anywhere. */
function listenForSizes(stream: Readable | undefined): Pick<StreamSession, 'onResize'> {
  const listeners = new Set<(size: TerminalSize) => void>();
  let last: TerminalSize | undefined;
  let text = '';
  stream?.on('data', (chunk: Buffer) => {
    // An object has no braces inside; what is longer than any size is noise.
    text = (text + chunk.toString('latin1')).slice(-1024);
    for (let close = text.indexOf('}'); close >= 0; close = text.indexOf('}')) {
      const size = parseSize(text.slice(0, close + 1));
      text = text.slice(close + 1);
      if (size === undefined) continue;
      last = size;
      for (const listener of listeners) listener(size);
    }
  });
  return {
    onResize: (listener) => {
      listeners.add(listener);
      if (last !== undefined) listener(last);
      return () => listeners.delete(listener);
    },
  };
}

function parseSize(text: string): TerminalSize | undefined {
  try {
    const { Width: width, Height: height } = JSON.parse(text) as { Width?: unknown; Height?: unknown };
    const fits = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0xffff;
    return fits(width) && fits(height) ? { width, height } : undefined;
  } catch {
    return undefined;
  }
}
