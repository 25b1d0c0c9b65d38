// The one place that starts both halves, and the one that calls process.exit: parses argv, runs a command, prints its error sentence.
import module from 'node:module';
import process from 'node:process';
import { runCommand } from './cli/command.ts';
import { CommandError, describeError } from './error.ts';

module.enableCompileCache();

// A reader that went away (| head) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
});

try {
  process.exitCode = await runCommand(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`tskubelet: ${describeError(error)}\n`);
  process.exitCode = error instanceof CommandError ? error.exitCode : 1;
}
// Nothing of a finished command may keep the process: idle sockets, watches, timers.
process.exit();
