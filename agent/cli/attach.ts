// Owns `attach`: the streams of a running container's own program become ours, until it ends or we go.
import { CommandError, usageError } from '../error.ts';
import type { Invocation } from './flags.ts';
import { containerOf, findPod, parsePodName, streamPath } from './pod-name.ts';
import { readSettings } from './settings.ts';

const USAGE = 'attach [-i] [-t] POD [-c CONTAINER]';

export async function attach({ flags, words }: Invocation): Promise<number> {
  const target = parsePodName(words[0], flags, USAGE);
  if (words.length > 1) throw usageError(`one pod at a time, and the container with -c: tskubelet ${USAGE}`);
  const settings = readSettings(flags);
  const pod = await findPod(settings, target);
  const container = containerOf(pod, target.container);
  const spec = pod.spec?.containers.find(({ name }) => name === container);
  const stdin = flags.stdin ?? false;
  if (stdin && spec?.stdin !== true)
    throw new CommandError(`container "${container}" has no standard input: its manifest needs "stdin: true", or leave out -i`);
  // Whether there is a terminal was decided when the container was made.
  const tty = spec?.tty ?? false;
  if (flags.tty && !tty) process.stderr.write(`tskubelet: container "${container}" has no terminal ("tty: true"): -t is left out\n`);
  const { runRemote } = await import('./remote-command.ts');
  const keyboard = tty && stdin && process.stdin.isTTY === true;
  await runRemote(settings, {
    ...{ path: streamPath('attach', { ...target, container }), stdin, tty },
    ...(keyboard ? { greeting: 'Attached: press Enter if there is no prompt. What is typed goes to the container, Ctrl-C too.' } : {}),
  });
  return 0;
}
