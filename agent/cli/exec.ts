// Owns `exec`: a command in a running container; its output and its exit code become ours.
import type { Writable } from 'node:stream';
import { CommandError, usageError } from '../error.ts';
import { readText, request } from './agent-client.ts';
import { codeOfFailure, OWN_FAILURE } from './exit-code.ts';
import type { Invocation } from './flags.ts';
import { containerOf, findPod, parsePodName } from './pod-name.ts';
import { readSettings } from './settings.ts';

const USAGE = 'exec POD [-c CONTAINER] -- COMMAND [ARG…]';

interface ExecAnswer {
  /** null when the command did not run. */
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly error?: string;
}

export async function exec(invocation: Invocation): Promise<number> {
  const { flags, words, rest } = invocation;
  const target = parsePodName(words[0], flags, USAGE);
  if (words.length > 1) throw usageError(`put "--" before the command: tskubelet exec ${words[0]} -- ${words.slice(1).join(' ')}`);
  if (rest === undefined || rest.length === 0) throw usageError(`which command? usage: tskubelet ${USAGE}`);
  if (flags.stdin || flags.tty)
    throw usageError(
      'exec -i and -t come with streaming, in a later version of tskubelet; without them output and exit code are passed on',
    );
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
  const path = ['exec', target.namespace, target.name, containerOf(pod, target.container)].map(encodeURIComponent).join('/');
  const response = await request(settings, `/${path}`, { method: 'POST', body: JSON.stringify({ command }), timeoutMs: 0 });
  const answer = JSON.parse(await readText(response)) as ExecAnswer;
  await write(process.stdout, answer.stdout);
  await write(process.stderr, answer.stderr);
  if (answer.exitCode !== null) return answer.exitCode;
  const sentence = answer.error ?? 'the command did not run';
  throw new CommandError(sentence, codeOfFailure(sentence));
}

function write(stream: Writable, base64: string): Promise<void> {
  return new Promise((resolve) => stream.write(Buffer.from(base64, 'base64'), () => resolve()));
}
