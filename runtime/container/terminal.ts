// Owns the terminal of a running container: its output goes to the log, its size and its input come from attached clients. Made again
// after a restart of the daemon, while the shim has held everything.
import path from 'node:path';
import type { Writable } from 'node:stream';
import type { RuntimeContext } from '../context.ts';
import { closeTerminal, copyTerminal, setWindowSize, TerminalInput } from '../process/terminal.ts';
import type { TerminalSize } from '../streaming/session.ts';

/** For a terminal's last output when the log is behind. */
const FINISH_MS = 60_000;

export interface Terminal {
  resize(size: TerminalSize): void;
  /** The keyboard; the caller's to destroy. */
  openInput(): Writable;
  /** After the container has ended, before the end of its log. Repeatable. */
  finish(): Promise<void>;
}

export function openTerminal({ paths, pump }: RuntimeContext, id: string, shimPidfd: number): Terminal {
  const master = copyTerminal(shimPidfd);
  const relay = pump.relay(master, path.join(paths.containerRun(id), 'stdout'));
  let finished: Promise<void> | undefined;
  return {
    resize: (size) => {
      if (finished === undefined) setWindowSize(master, size);
    },
    openInput: () => new TerminalInput(copyTerminal(shimPidfd)),
    finish: () => {
      finished ??= relay.finish(FINISH_MS).finally(() => closeTerminal(master));
      return finished;
    },
  };
}
