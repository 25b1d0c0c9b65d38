// Owns what a container executes: command and arguments, environment, working directory, from the request and the image.
import { invalidArgument } from '../errors.ts';
import type { ImageConfig } from '../image/store.ts';

export const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Kubernetes' table: command replaces ENTRYPOINT, args replace CMD, a command without args drops CMD. */
export function planArgs(request: { command: readonly string[]; args: readonly string[] }, image: ImageConfig): readonly string[] {
  const args =
    request.command.length > 0
      ? [...request.command, ...request.args]
      : [...image.entrypoint, ...(request.args.length > 0 ? request.args : image.cmd)];
  if (args.length === 0) throw invalidArgument('no command specified: neither the container nor its image names one');
  return args;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** CRI carries values as bytes. */
function readValue(key: string, value: Uint8Array): string {
  if (key === '' || key.includes('=')) throw invalidArgument(`"${key}" is no name for an environment variable`);
  if (value.includes(0)) throw invalidArgument(`environment variable ${key} has a NUL byte`);
  try {
    return utf8.decode(value);
  } catch {
    throw invalidArgument(`environment variable ${key} is not UTF-8`);
  }
}

/** Image variables first, the request's override them; PATH and HOSTNAME are always there, TERM with a terminal. */
export function planEnv(
  request: readonly { key: string; value: Uint8Array }[],
  image: ImageConfig,
  { hostname, terminal }: { hostname: string; terminal: boolean },
): readonly string[] {
  const env = new Map<string, string>([['PATH', DEFAULT_PATH]]);
  if (terminal) env.set('TERM', 'xterm');
  if (hostname !== '') env.set('HOSTNAME', hostname);
  for (const variable of image.env) {
    const at = variable.indexOf('=');
    if (at > 0) env.set(variable.slice(0, at), variable.slice(at + 1));
  }
  for (const { key, value } of request) env.set(key, readValue(key, value));
  return [...env].map(([key, value]) => `${key}=${value}`);
}
