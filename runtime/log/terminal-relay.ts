// Owns the way of a terminal's output to the FIFO that the log pump reads. splice(2) moves it inside the kernel: no byte is ever in this
// process, so none is lost with it.
import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { bytesInPipe, moveFromTerminal, openFifoToFill, setNonBlocking } from '../linux/pipe.ts';
import type { Next, Readiness, Source } from './readiness.ts';

const STEP_BYTES = 64 * 1024;
/** The FIFO is full: the log is behind. */
const FULL_PAUSE_MS = 5;
/** Nobody has the terminal open at the moment; /dev/console may be opened again. */
const CLOSED_PAUSE_MS = 200;
const POLL_MS = 5;

export class TerminalRelay implements Source {
  readonly fd: number;
  private readonly fifo: number;
  private readonly readiness: Readiness;
  private open = true;

  constructor(readiness: Readiness, master: number, fifoPath: string) {
    this.fd = master;
    this.readiness = readiness;
    setNonBlocking(master);
    this.fifo = openFifoToFill(fifoPath);
    readiness.add(this);
  }

  step(): Next {
    const moved = moveFromTerminal(this.fd, this.fifo, STEP_BYTES);
    if (moved === 'closed') return CLOSED_PAUSE_MS;
    if (moved !== undefined) return 'again';
    return bytesInPipe(this.fd) > 0 ? FULL_PAUSE_MS : 'wait';
  }

  /** After the container has ended: moves what is left. Gives up after `timeoutMs` on a FIFO that nobody empties. */
  async finish(timeoutMs: number): Promise<void> {
    if (!this.open) return;
    this.readiness.remove(this);
    const deadline = performance.now() + timeoutMs;
    while (performance.now() < deadline) {
      const moved = moveFromTerminal(this.fd, this.fifo, STEP_BYTES);
      if (moved === 'closed' || (moved === undefined && bytesInPipe(this.fd) === 0)) break;
      if (moved === undefined) await delay(POLL_MS);
    }
    this.close();
  }

  close(): void {
    if (!this.open) return;
    this.open = false;
    this.readiness.remove(this);
    fs.closeSync(this.fifo);
  }
}
