// Owns `exec`: a command in a running container; its streams and its exit code become ours.
import { CommandError, usageError } from '../error.ts';
import { OWN_FAILURE } from './exit-code.ts';
import type { Invocation } from './flags.ts';
import { containerOf, findPod, parsePodName, streamPath } from './pod-name.ts';
import { readSettings } from './settings.ts';

const USAGE = 'exec [-i] [-t] POD [-c CONTAINER] -- COMMAND [ARG…]';

export async function exec(invocation: Invocation): Promise<number> {
  const { flags, words, rest } = invocation;
  const target = parsePodName(words[0], flags, USAGE);
  if (words.length > 1) throw usageError(`put "--" before the command: tskubelet exec ${words[0]} -- ${words.slice(1).join(' ')}`);
  if (rest === undefined || rest.length === 0) throw usageError(`which command? usage: tskubelet ${USAGE}`);
  try {
    return await run(invocation, target, rest);
  } catch (error) {
    // A failure of ours has one code, so that no exit code of a command can be taken for it.
    throw error instanceof CommandError && error.exitCode !== 1 ? error : new CommandError('', OWN_FAILURE, error);
  }
}

async function run({ flags }: Invocation, target: ReturnType<typeof parsePodName>, command: readonly string[]): Promise<number> {
  const settings = readSettings(flags);
  const pod = await findPod(settings, target);
  const path = streamPath('exec', { ...target, container: containerOf(pod, target.container) });
  const stdin = flags.stdin ?? false;
  const noTerminal = stdin && !process.stdin.isTTY;
  if (flags.tty && noTerminal)
    process.stderr.write('tskubelet: standard input is no terminal: the command gets none either (-t is left out)\n');
  const tty = (flags.tty ?? false) && !noTerminal;
  const { runRemote } = await import('./remote-command.ts');
  return runRemote(settings, { path, command, stdin, tty });
}
