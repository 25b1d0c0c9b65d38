// The seam between the streaming server (wire protocols) and what it streams (runtime/container): neither knows the other.
import type { Duplex, Readable, Writable } from 'node:stream';
import type { AttachRequest, ExecRequest } from '../../cri-proto/gen/api.ts';

export interface TerminalSize {
  /** Columns and rows, in characters. */
  readonly width: number;
  readonly height: number;
}

/** One exec or attach as its client sees it. A stream is there when the request asked for it (stderr never with tty). */
export interface StreamSession {
  /** Ends when the client half-closes it; destroyed when the client is gone. */
  readonly stdin: Readable | undefined;
  readonly stdout: Writable | undefined;
  readonly stderr: Writable | undefined;
  /** Each size that the client sends; the last one is repeated to whoever listens later. Gives an end to the listening. */
  onResize(listener: (size: TerminalSize) => void): () => void;
  /** Aborted when the client is gone or the server closes; not by a normal end. */
  readonly signal: AbortSignal;
}

export interface StreamHandlers {
  /** Runs the command; gives its exit code when it has ended and its output has been written. */
  exec(request: ExecRequest, session: StreamSession): Promise<number>;
  /** Resolves when the container has ended or the client has detached. */
  attach(request: AttachRequest, session: StreamSession): Promise<void>;
  /** A connection to that TCP port on localhost in the sandbox's network namespace. */
  portForward(podSandboxId: string, port: number, signal: AbortSignal): Promise<Duplex>;
}
