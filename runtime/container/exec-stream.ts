// Owns Exec: a command in a running container whose streams are a client's.
import type { Readable, Writable } from 'node:stream';
import type { ExecRequest } from '../../cri-proto/gen/api.ts';
import type { RuntimeContext } from '../context.ts';
import type { ExecProcess } from '../process/exec.ts';
import { duplicate, openTerminalOutput, setWindowSize, TerminalInput } from '../process/terminal.ts';
import type { StreamSession } from '../streaming/session.ts';
import type { Container } from './container.ts';
import { withExec } from './exec-session.ts';
import { exitCodeOf } from './exit.ts';

/** How long children that inherited the streams may stay silent after the command itself has ended. */
const SILENCE_MS = 2000;

/** Gives the exit code, after the last byte of output has been handed to the client. A client that is gone ends the command. */
export function execStream(context: RuntimeContext, container: Container, request: ExecRequest, session: StreamSession): Promise<number> {
  const { cmd, tty, stdin } = request;
  return withExec(context, container, { cmd, tty, stdin, timeoutMs: 0, signal: session.signal }, async (process) => {
    const given = process.terminal === undefined ? connectPipes(process, session) : connectTerminal(process.terminal, session);
    const status = await process.exited;
    await given.end();
    return status === undefined ? 255 : exitCodeOf(status);
  });
}

interface Given {
  /** After the command's end: waits for the rest of the output, then lets go. */
  end(): Promise<void>;
}

function connectPipes(process: ExecProcess, session: StreamSession): Given {
  if (process.stdin !== undefined && session.stdin !== undefined) {
    process.stdin.on('error', () => undefined);
    session.stdin.pipe(process.stdin);
  }
  const outputs = [copy(process.stdout, session.stdout), copy(process.stderr, session.stderr)];
  return {
    end: async () => {
      await Promise.all(outputs.map((output) => output.ended()));
      session.stdin?.unpipe();
      process.stdin?.destroy();
    },
  };
}

function connectTerminal(master: number, session: StreamSession): Given {
  const keyboard = duplicate(master);
  const input = new TerminalInput(keyboard);
  session.stdin?.pipe(input, { end: false });
  const stop = session.onResize((size) => {
    if (!input.destroyed) setWindowSize(keyboard, size);
  });
  const output = copy(openTerminalOutput(master), session.stdout);
  return {
    end: async () => {
      await output.ended();
      stop();
      session.stdin?.unpipe();
      input.destroy();
    },
  };
}

/** Without a target the source is read all the same: a full pipe would hold up the command. */
function copy(source: Readable | undefined, target: Writable | undefined): { ended(): Promise<void> } {
  if (source === undefined) return { ended: async () => undefined };
  let over = false;
  let silence: NodeJS.Timeout | undefined;
  const resume = () => source.resume();
  target?.on('drain', resume).once('close', resume);
  let done: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    done = () => {
      over = true;
      clearTimeout(silence);
      target?.off('drain', resume).off('close', resume);
      source.destroy();
      resolve();
    };
  });
  source.once('end', done).once('close', done).on('error', done);
  source.on('data', (chunk: Buffer) => {
    silence?.refresh();
    if (target === undefined || target.destroyed || target.write(chunk)) return;
    source.pause();
  });
  return {
    ended: () => {
      // Only silence ends it, not a client that takes its time.
      if (!over) silence = setTimeout(() => (source.isPaused() ? silence?.refresh() : done()), SILENCE_MS);
      return ended;
    },
  };
}
