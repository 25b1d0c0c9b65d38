// Owns the client's side of exec and attach: this process' standard streams are the ones of a program in a container, until it has ended.
import type { WebSocket } from 'ws';
import { CommandError } from '../error.ts';
import { codeOfFailure, OWN_FAILURE } from './exit-code.ts';
import type { Settings } from './settings.ts';
import { CHANNEL, channelWriter, onMessages, openStream, sendTo } from './stream-client.ts';
import { enterRawMode, type WindowSize, watchWindowSize } from './terminal.ts';

export interface RemoteCommand {
  /** "/exec/default/web/app" */
  readonly path: string;
  readonly command?: readonly string[];
  readonly stdin: boolean;
  readonly tty: boolean;
  /** Said when it is connected. */
  readonly greeting?: string;
}

/** "/exec/default/web/app?command=ls&command=-l&output=1&error=1" */
export function planStreamRequest({ path, command = [], stdin, tty }: RemoteCommand): string {
  const flags = { input: stdin, output: true, error: !tty, tty };
  const query = new URLSearchParams(command.map((word): [string, string] => ['command', word]));
  for (const [name, asked] of Object.entries(flags)) if (asked) query.append(name, '1');
  return `${path}?${query}`;
}

/** Resolves to the exit code of the program. */
export async function runRemote(settings: Settings, remote: RemoteCommand): Promise<number> {
  const { stdin, tty, greeting } = remote;
  const socket = await openStream(settings, planStreamRequest(remote));
  // Now: the first output may come with the answer.
  const ended = receive(socket);
  if (greeting !== undefined) process.stderr.write(`${greeting}\n`);
  const leaveRawMode = tty && stdin ? await enterRawMode() : () => undefined;
  const stopWatching = tty ? watchWindowSize((size) => sendTo(socket, CHANNEL.resize, renderSize(size))) : () => undefined;
  try {
    if (stdin) process.stdin.pipe(channelWriter(socket, CHANNEL.stdin));
    return readStatus(await ended);
  } finally {
    stopWatching();
    process.stdin.unpipe();
    process.stdin.pause();
    leaveRawMode();
    socket.terminate();
  }
}

function renderSize({ columns, rows }: WindowSize): Buffer {
  return Buffer.from(JSON.stringify({ Width: columns, Height: rows }));
}

/** Gives the Status that the program's end is told with. It comes after its last output. */
function receive(socket: WebSocket): Promise<string> {
  let status = '';
  onMessages(socket, (channel, bytes) => {
    if (channel === CHANNEL.stdout) return process.stdout;
    if (channel === CHANNEL.stderr) return process.stderr;
    if (channel === CHANNEL.error) status += bytes.toString('utf8');
    return undefined;
  });
  return new Promise((resolve) => socket.once('close', () => resolve(status)));
}

interface Status {
  readonly status?: string;
  readonly reason?: string;
  readonly message?: string;
  readonly details?: { readonly causes?: readonly { readonly reason?: string; readonly message?: string }[] };
}

/** metav1.Status, as protocol v4 has it: an exit code, or a CommandError when there is none. */
export function readStatus(text: string): number {
  if (text === '') throw new CommandError('the connection was lost before the command had ended', OWN_FAILURE);
  const { status, reason, message = 'the command did not run', details } = parseStatus(text);
  if (status === 'Success') return 0;
  const told = details?.causes?.find((cause) => cause.reason === 'ExitCode')?.message;
  const code = told === undefined || !/^\d+$/.test(told) ? undefined : Number(told);
  if (reason === 'NonZeroExitCode' && code !== undefined) return code;
  const sentence = message.replace(/^Internal error occurred: /, '');
  throw new CommandError(sentence, code ?? codeOfFailure(sentence));
}

function parseStatus(text: string): Status {
  try {
    return JSON.parse(text) as Status;
  } catch {
    return { message: text };
  }
}
