// The calls that are under way: gives each its signal, ends them when the server closes, knows when none is left.
import type { ServerUnaryCall, ServerWritableStream } from '@grpc/grpc-js';
import { type CriError, cancelled, deadlineExceeded } from '../errors.ts';
import type { CallContext } from './handlers.ts';

export type GrpcCall = ServerUnaryCall<unknown, unknown> | ServerWritableStream<unknown, unknown>;

export interface OpenCall {
  readonly context: CallContext;
  /** To be called before the answer is sent: the signal is not aborted after it. */
  done(): void;
}

export class Calls {
  readonly #open = new Map<AbortController, 'unary' | 'stream'>();
  readonly #waiting = new Set<() => void>();

  open(call: GrpcCall, kind: 'unary' | 'stream'): OpenCall {
    const controller = new AbortController();
    this.#open.set(controller, kind);
    // grpc-js emits this also when the transport closes after an answer, and for a deadline too.
    call.once('cancelled', () => {
      if (this.#open.has(controller)) controller.abort(endReason(call));
    });
    return {
      context: { signal: controller.signal, peer: call.getPeer() },
      done: () => {
        this.#open.delete(controller);
        if (this.#open.size > 0) return;
        for (const resolve of this.#waiting) resolve();
        this.#waiting.clear();
      },
    };
  }

  abort(reason: CriError, kind?: 'stream'): void {
    for (const [controller, its] of this.#open) if (kind === undefined || kind === its) controller.abort(reason);
  }

  idle(): Promise<void> {
    return this.#open.size === 0 ? Promise.resolve() : new Promise((resolve) => this.#waiting.add(resolve));
  }
}

// The client's clock for the same deadline started earlier, so its own timer may cancel the call before ours has run out.
const DEADLINE_SKEW_MS = 25;

function endReason(call: GrpcCall): CriError {
  return Date.now() >= Number(call.getDeadline()) - DEADLINE_SKEW_MS
    ? deadlineExceeded("the client's deadline has passed")
    : cancelled('the client cancelled the call');
}
