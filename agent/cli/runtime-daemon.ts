// Owns the daemon `tskubelet runtime`: our CRI runtime alone, for whoever connects to its socket.
import { usageError } from '../error.ts';
import { createLogger } from '../logger.ts';
import { VERSION } from '../version.ts';
import { startEmbeddedRuntime } from './embedded-runtime.ts';
import type { Invocation } from './flags.ts';
import { checkMachine } from './preflight.ts';
import type { RuntimeHalf } from './runtime-half.ts';
import { readNodeSettings } from './settings.ts';
import { stopRequests } from './signals.ts';
import { logUncaught } from './uncaught.ts';

export async function runRuntime({ flags, words }: Invocation, runtime: RuntimeHalf): Promise<number> {
  if (words.length > 0) throw usageError(`runtime takes no argument, and got "${words[0]}"`);
  if (flags['stop-pods-on-exit']) throw usageError("--stop-pods-on-exit is for --manifests: the pods of a runtime are its client's");
  const settings = readNodeSettings(flags);
  if (settings.foreignRuntime !== undefined) throw usageError('runtime is our own CRI runtime: leave out the socket of another one');
  checkMachine();
  const logger = createLogger(settings.logFormat, settings.logLevel);
  logUncaught(logger);
  const stop = stopRequests(logger, 'left at once: containers run on without tskubelet, and the next start finds them');
  const { socket, close } = await startEmbeddedRuntime(settings, runtime, logger);
  logger.info({}, `tskubelet ${VERSION} serves CRI at unix://${socket}; try: crictl --runtime-endpoint unix://${socket} info`);
  await stop.first;
  const left = await close();
  const rest =
    left === 0
      ? `nothing is left running; images stay in ${settings.rootDir}`
      : `${left} of its sandboxes run on, and the next start finds them`;
  logger.info({}, `ended; ${rest}`);
  return 0;
}
