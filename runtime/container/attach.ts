// Owns Attach: clients that see what a running container writes, from the moment they come, and write to its stdin. The log comes first:
// a client that reads too slowly is let go of, it holds up neither the log nor the container.
import type { Writable } from 'node:stream';
import type { RuntimeContext } from '../context.ts';
import { resourceExhausted } from '../errors.ts';
import { endStdin, openStdin } from '../process/container.ts';
import type { StreamSession } from '../streaming/session.ts';
import type { Container } from './container.ts';

/** How far behind a client may be. */
const MAX_BEHIND_BYTES = 8 << 20;

/** Resolves when the container has ended and everything has been handed over, or when the client is gone. */
export async function attach(context: RuntimeContext, container: Container, session: StreamSession): Promise<void> {
  const { ended } = container;
  const stops: (() => void)[] = [];
  try {
    const detached = new Promise<void>((resolve, reject) => {
      stops.push(
        context.pump.listen(container.id, (stream, bytes) => {
          const target = stream === 'stdout' ? session.stdout : session.stderr;
          if (target === undefined || target.destroyed) return;
          // The bytes are lent: a copy goes into the client's queue.
          if (!target.write(Buffer.from(bytes)) && isBehind(target))
            reject(resourceExhausted(`the client is more than ${MAX_BEHIND_BYTES >> 20} MiB behind the container's output`));
        }),
      );
      if (session.signal.aborted) resolve();
      const gone = () => resolve();
      session.signal.addEventListener('abort', gone, { once: true });
      stops.push(() => session.signal.removeEventListener('abort', gone));
    });
    stops.push(connectInput(context, container, session));
    await Promise.race([ended, detached]);
  } finally {
    for (const stop of stops.reverse()) stop();
  }
}

function isBehind(target: Writable): boolean {
  return target.writableLength > MAX_BEHIND_BYTES;
}

/** Gives the disconnection. The client's end of stdin is the container's only where the container asked for that (stdinOnce). */
function connectInput(context: RuntimeContext, container: Container, { stdin, onResize }: StreamSession): () => void {
  const { terminal } = container;
  const { stdin: open, stdinOnce } = container.record.config;
  const stopResize = terminal === undefined ? () => undefined : onResize((size) => terminal.resize(size));
  if (stdin === undefined || !open) {
    stdin?.resume();
    return stopResize;
  }
  const directory = context.paths.containerRun(container.id);
  const target = terminal === undefined ? openStdin(directory) : terminal.openInput();
  target.on('error', () => target.destroy());
  stdin.pipe(target, { end: false });
  let over = false;
  const end = () => {
    if (over) return;
    over = true;
    stopResize();
    stdin.unpipe(target);
    // What was written is in the pipe by now, or nobody reads it any more.
    target.end(() => target.destroy());
    if (stdinOnce && terminal === undefined && container.record.state === 'running') endStdin(directory);
  };
  stdin.once('end', end).once('close', end);
  return () => {
    end();
    target.destroy();
  };
}
