// Owns the side of CNI that a runtime sees of an executable: environment and stdin in, JSON on stdout, exit code (CNI spec 1.1, section 2).

import { PLUGIN_TYPES } from './plugins/types.ts';
import { type Fields, objectOf, parseConfig, versionOf } from './spec/config.ts';
import { CniError, DECODING_FAILURE, INCOMPATIBLE_VERSION, INVALID_ENVIRONMENT, invalidConfig, renderError } from './spec/error.ts';
import type { Attachment, PluginCall, PluginType } from './spec/plugin.ts';
import { atLeast, NEWEST, renderResult, VERSIONS, type Version } from './spec/result.ts';

export const PLUGIN_NAMES: readonly string[] = [...PLUGIN_TYPES.keys()];

type Environment = Readonly<Record<string, string | undefined>>;

const CONTAINER_ID = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const IFNAME_BYTES = 15;

function required(env: Environment, name: string): string {
  const value = env[name];
  if (value === undefined || value === '') throw new CniError(INVALID_ENVIRONMENT, `${name} is not set`);
  return value;
}

function containerIdOf(env: Environment): string {
  const id = required(env, 'CNI_CONTAINERID');
  if (!CONTAINER_ID.test(id))
    throw new CniError(INVALID_ENVIRONMENT, `CNI_CONTAINERID "${id}": expected letters, digits, "_", "." and "-"`);
  return id;
}

function ifNameOf(env: Environment): string {
  const name = required(env, 'CNI_IFNAME');
  if (Buffer.byteLength(name) > IFNAME_BYTES || name === '.' || name === '..' || /[/:\s]/.test(name))
    throw new CniError(INVALID_ENVIRONMENT, `CNI_IFNAME "${name}" is no name for an interface`);
  return name;
}

export function parseArgs(text: string): ReadonlyMap<string, string> {
  const pairs = text.split(';').filter((pair) => pair !== '');
  return new Map(
    pairs.map((pair) => {
      const at = pair.indexOf('=');
      if (at < 1) throw new CniError(INVALID_ENVIRONMENT, `CNI_ARGS "${pair}": expected KEY=VALUE`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

function attachmentsOf(fields: Fields): Attachment[] {
  const list = fields['cni.dev/valid-attachments'] ?? fields['cni.dev/attachments'];
  // Without the list, GC would end every container's network.
  if (!Array.isArray(list)) throw invalidConfig('GC needs cni.dev/valid-attachments');
  return list.map((one: unknown) => {
    const { containerID, ifname } = objectOf(one, 'a valid attachment');
    if (typeof containerID !== 'string' || typeof ifname !== 'string')
      throw invalidConfig('a valid attachment needs containerID and ifname');
    return { containerID, ifname };
  });
}

function needVersion(command: string, version: Version, floor: Version): void {
  if (!atLeast(version, floor))
    throw new CniError(INCOMPATIBLE_VERSION, `${command} is of CNI version ${floor}, and the configuration of ${version}`);
}

async function run(plugin: PluginType, env: Environment, value: unknown): Promise<unknown> {
  const config = parseConfig(value);
  const network = { config, path: (env.CNI_PATH ?? '').split(':').filter((directory) => directory !== '') };
  const call = (netns: string): PluginCall => ({
    ...network,
    containerId: containerIdOf(env),
    ifName: ifNameOf(env),
    netns,
    args: parseArgs(env.CNI_ARGS ?? ''),
  });
  switch (env.CNI_COMMAND) {
    case 'ADD':
      return renderResult(await plugin.add(call(required(env, 'CNI_NETNS'))), config.cniVersion);
    case 'DEL':
      return void (await plugin.del(call(env.CNI_NETNS ?? '')));
    case 'CHECK':
      needVersion('CHECK', config.cniVersion, '0.4.0');
      if (config.prevResult === undefined && config.type !== 'host-local') throw invalidConfig('CHECK needs prevResult');
      return void (await plugin.check(call(required(env, 'CNI_NETNS'))));
    case 'STATUS':
      needVersion('STATUS', config.cniVersion, '1.1.0');
      return void (await plugin.status?.(network));
    case 'GC':
      needVersion('GC', config.cniVersion, '1.1.0');
      return void (await plugin.gc?.(network, attachmentsOf(config.fields)));
    default:
      throw new CniError(INVALID_ENVIRONMENT, `CNI_COMMAND "${env.CNI_COMMAND}": expected ADD, DEL, CHECK, STATUS, GC or VERSION`);
  }
}

/** One call. `type` is the plugin that was executed, or empty for the one that the configuration names; `stdin` is read once it is needed. */
export async function serve(type: string, env: Environment, stdin: () => Promise<string>): Promise<{ exitCode: number; output: string }> {
  let version: Version = NEWEST;
  try {
    required(env, 'CNI_COMMAND');
    // VERSION is answered without a configuration too.
    if (env.CNI_COMMAND === 'VERSION') return { exitCode: 0, output: JSON.stringify({ cniVersion: NEWEST, supportedVersions: VERSIONS }) };
    let value: unknown;
    try {
      value = JSON.parse(await stdin());
    } catch (cause) {
      throw new CniError(DECODING_FAILURE, 'read the network configuration from stdin', { cause });
    }
    version = versionOf(value);
    const name = type === '' ? String((value as Fields | null)?.type) : type;
    const load = PLUGIN_TYPES.get(name);
    if (load === undefined) throw invalidConfig(`there is no plugin "${name}": ${PLUGIN_NAMES.join(', ')} are there`);
    const output = await run(await load(), env, value);
    return { exitCode: 0, output: output === undefined ? '' : JSON.stringify(output, undefined, 2) };
  } catch (error) {
    return { exitCode: 1, output: JSON.stringify(renderError(error, version), undefined, 2) };
  }
}
