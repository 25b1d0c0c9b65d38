// Owns the end of a daemon by an error that nobody caught: told in the log, and the process ends; the service manager starts it again.
import type pino from 'pino';
import { describeError, isProgrammerError } from '../error.ts';

/** From here on what goes wrong without being caught is in the log before the process ends. */
export function logUncaught(logger: pino.Logger): void {
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.removeAllListeners(event);
    process.on(event, (error: unknown) => {
      const stack = isProgrammerError(error) ? { stack: error.stack } : {};
      logger.fatal(stack, `tskubelet ends: ${describeError(error)}`);
      process.exit(1);
    });
  }
}
