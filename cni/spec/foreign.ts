// Owns plugins that are executables of others: the protocol of CNI by environment and stdin, run through the launcher with a timeout.
import fs from 'node:fs';
import path from 'node:path';
import { type CommandResult, runCommand } from '../../runtime/linux/command.ts';
import { CniError, DECODING_FAILURE, IO_FAILURE, parseError } from './error.ts';
import type { Attachment, NetworkCall, PluginCall, PluginType } from './plugin.ts';
import { parseResult, renderResult } from './result.ts';

export type Command = 'ADD' | 'DEL' | 'CHECK' | 'STATUS' | 'GC' | 'VERSION';

/** A plugin may wait for a daemon of its network, but not for ever. */
const TIMEOUT_MS = 90_000;
/** Asked again and again: whoever does not know it at once is not ready. */
const STATUS_TIMEOUT_MS = 10_000;
const MAX_DETAILS_CHARACTERS = 500;
const SEARCH_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
// No slash: an executable is looked up by its name alone.
const TYPE = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** The executable of a type, undefined when no directory has one. */
export function findExecutable(type: string, directories: readonly string[]): string | undefined {
  if (!TYPE.test(type)) return undefined;
  return directories
    .map((directory) => path.join(directory, type))
    .find((file) => {
      try {
        fs.accessSync(file, fs.constants.X_OK);
        return fs.statSync(file).isFile();
      } catch {
        return false;
      }
    });
}

function environment(command: Command, { path: directories, ...call }: NetworkCall & Partial<PluginCall>): Record<string, string> {
  return {
    PATH: process.env.PATH ?? SEARCH_PATH,
    CNI_COMMAND: command,
    CNI_PATH: directories.join(':'),
    ...(call.containerId === undefined ? {} : { CNI_CONTAINERID: call.containerId }),
    ...(call.netns === undefined ? {} : { CNI_NETNS: call.netns }),
    ...(call.ifName === undefined ? {} : { CNI_IFNAME: call.ifName }),
    ...(call.args === undefined || call.args.size === 0
      ? {}
      : { CNI_ARGS: [...call.args].map(([key, value]) => `${key}=${value}`).join(';') }),
  };
}

/** The configuration as the plugin reads it on stdin. */
function renderConfig({ config }: NetworkCall, more: Record<string, unknown> = {}): string {
  const { cniVersion, name, prevResult, runtimeConfig, fields } = config;
  return JSON.stringify({
    ...fields,
    cniVersion,
    name,
    ...(prevResult === undefined ? {} : { prevResult: renderResult(prevResult, cniVersion) }),
    ...(Object.keys(runtimeConfig).length === 0 ? {} : { runtimeConfig }),
    ...more,
  });
}

async function run(
  file: string,
  command: Command,
  call: NetworkCall & Partial<PluginCall>,
  more?: Record<string, unknown>,
): Promise<unknown> {
  const what = `${path.basename(file)} ${command}`;
  const timeoutMs = command === 'STATUS' ? STATUS_TIMEOUT_MS : TIMEOUT_MS;
  let result: CommandResult;
  try {
    result = await runCommand([file], { env: environment(command, call), stdin: renderConfig(call, more), timeoutMs });
  } catch (cause) {
    throw new CniError(IO_FAILURE, what, { cause });
  }
  const text = result.stdout.toString().trim();
  let output: unknown;
  try {
    output = text === '' ? undefined : JSON.parse(text);
  } catch {
    if (result.exitCode === 0) throw new CniError(DECODING_FAILURE, `${what} wrote no JSON: ${text.slice(0, 200)}`);
  }
  if (result.exitCode === 0) return output;
  const said = parseError(output);
  if (said !== undefined) throw new CniError(said.code, `${what}: ${[said.message, shorten(said.details)].filter(Boolean).join(': ')}`);
  const end = result.signal === 0 ? `ended with ${result.exitCode}` : `was ended by signal ${result.signal}`;
  throw new CniError(
    IO_FAILURE,
    `${what} ${end}: ${shorten(result.stderr.toString().slice(-2000)) || text.slice(0, 200) || 'it said nothing'}`,
  );
}

/** What may be pages of a log, as part of a sentence. */
const shorten = (text: string): string => text.replace(/\s+/g, ' ').trim().slice(-MAX_DETAILS_CHARACTERS);

export function foreignPlugin(file: string): PluginType {
  return {
    add: async (call) => parseResult(await run(file, 'ADD', call)),
    del: async (call) => void (await run(file, 'DEL', call)),
    check: async (call) => void (await run(file, 'CHECK', call)),
    status: async (call) => void (await run(file, 'STATUS', call)),
    gc: async (call, valid: readonly Attachment[]) => void (await run(file, 'GC', call, { 'cni.dev/valid-attachments': valid })),
  };
}
