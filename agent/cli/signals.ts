// Owns how a daemon is asked to end: the first signal ends it gracefully, a second one at once.
import type { Logger } from '../../runtime/logger.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const NUMBERS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;

// One Ctrl-C may come twice: from the terminal to the whole process group, and once more from an npm that passes it on.
const SAME_MS = 1_000;

export type StopSignal = (typeof SIGNALS)[number];

export interface StopRequests {
  /** Resolves at the first signal. */
  readonly first: Promise<StopSignal>;
  /** Aborted at the first signal. */
  readonly signal: AbortSignal;
}

/** `atOnce` is told to the log when a second signal cuts the graceful end short. */
export function stopRequests(logger: Pick<Logger, 'warn'>, atOnce: string): StopRequests {
  const controller = new AbortController();
  const { promise, resolve } = Promise.withResolvers<StopSignal>();
  let firstMs = 0;
  for (const name of SIGNALS)
    process.on(name, () => {
      if (controller.signal.aborted) {
        if (performance.now() - firstMs < SAME_MS) return;
        logger.warn({}, atOnce);
        process.exit(128 + NUMBERS[name]);
      }
      firstMs = performance.now();
      controller.abort();
      resolve(name);
    });
  return { first: promise, signal: controller.signal };
}
