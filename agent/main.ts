// The one place that starts both halves, and the one that calls process.exit: parses argv, runs a command, prints its error sentence.
import path from 'node:path';
import process from 'node:process';
import { text } from 'node:stream/consumers';
import { keepCompiled } from '../runtime/compile-cache.ts';
import { nodeSuffix } from '../runtime/paths.ts';
import { runCommand } from './cli/command.ts';
import { CommandError, describeError, isProgrammerError } from './error.ts';

keepCompiled();

// A reader that went away (| head) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
});
// Nobody is left to read the log, as after the terminal was closed; the pods go on.
process.stderr.on('error', () => undefined);

function fail(error: unknown): never {
  const stack = isProgrammerError(error) ? `\n${error.stack}` : '';
  process.stderr.write(`tskubelet: ${describeError(error)}${stack}\n`);
  process.exit(error instanceof CommandError ? error.exitCode : 1);
}

process.on('uncaughtException', fail);
process.on('unhandledRejection', fail);

try {
  // Called by the name of a CNI plugin, as `cni install` links it.
  const called = path.basename(process.env.TSKUBELET_COMMAND ?? 'tskubelet');
  const isPlugin = process.env.CNI_COMMAND !== undefined && called !== 'tskubelet';
  process.exitCode = await runCommand(isPlugin ? ['cni', called] : process.argv.slice(2), {
    nodeSuffix,
    start: async (options) => (await import('../runtime/main.ts')).startRuntime(options),
    openImages: async (options) => (await import('../runtime/images-alone.ts')).openImagesAlone(options),
    serveCni: async (type) => (await import('../cni/serve.ts')).serve(type, process.env, () => text(process.stdin)),
    cniTypes: async () => (await import('../cni/serve.ts')).PLUGIN_NAMES,
    explainStart: async (dryRun) => (await import('../runtime/service/explain-start.ts')).explainStart(dryRun),
  });
} catch (error) {
  fail(error);
}
// Nothing of a finished command may keep the process: idle sockets, watches, timers. What is on its way to a pipe is written first.
process.stdout.write('', () => process.exit());
